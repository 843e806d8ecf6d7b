"""The TLS context of a configuration: that of the caller, or one that is made of its options."""

from __future__ import annotations

from gevent import ssl

__all__ = ['TLSContext']


class TLSContext:
    """What ``verify``, ``ssl_context``, ``ca_certs``, ``cert`` and ``ssl_minimum_version`` say, checked once.

    :raises ValueError: for a value that makes no sense, and for two that exclude each other.
    """

    def __init__(
        self,
        verify: bool,
        given: ssl.SSLContext | None,
        ca_certs: str | None,
        cert: str | tuple[str, str] | None,
        minimum_version: ssl.TLSVersion | None,
    ) -> None:
        if not isinstance(verify, bool):
            raise ValueError(f'verify is True or False, not {verify!r}; a file of certificates goes to ca_certs')
        if minimum_version is not None and not isinstance(minimum_version, ssl.TLSVersion):
            raise ValueError(f'ssl_minimum_version is a member of ssl.TLSVersion, not {minimum_version!r}')
        self._verify = verify
        self._ca_certs = ca_certs
        self._cert = cert
        self._minimum_version = minimum_version
        self._context = given
        named = ca_certs is not None or cert is not None or minimum_version is not None
        if given is not None:
            if not isinstance(given, ssl.SSLContext):
                raise ValueError(
                    'ssl_context is a gevent.ssl.SSLContext: that of the standard library would block '
                    'every other greenlet during its handshake'
                )
            if named or not verify:
                raise ValueError(
                    'ssl_context excludes verify, ca_certs, cert and ssl_minimum_version: set them on the context'
                )
        elif named:
            self.get()  # now, so that a file that cannot be read is told where it was named

    def get(self) -> ssl.SSLContext:
        """The one context, made on first use: reading the system's certificates takes 20 ms.

        :raises ValueError: when a file of certificates cannot be read.
        """
        if self._context is None:
            self._context = self._new()
        return self._context

    def _new(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = self._minimum_version or ssl.TLSVersion.TLSv1_2
        context.post_handshake_auth = True  # a server may ask for a certificate later (RFC 8446 §4.6.2)
        if not self._verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        try:
            if self._ca_certs is not None:
                context.load_verify_locations(self._ca_certs)
            elif self._verify:
                context.load_default_certs()
            if self._cert is not None:
                files = (self._cert, None) if isinstance(self._cert, str) else tuple(self._cert)
                if len(files) != 2:
                    raise TypeError('cert is the path of a file, or a pair of them')
                context.load_cert_chain(files[0], files[1], _refuse_encrypted)
        except (OSError, ssl.SSLError, TypeError) as exc:
            raise ValueError(
                f'cannot load the certificates of ca_certs={self._ca_certs!r}, cert={self._cert!r}: {exc}'
            ) from exc
        return context


def _refuse_encrypted() -> str:
    """OpenSSL would ask for the password on the terminal, and every greenlet would wait for it."""
    raise ValueError('cert: its key is encrypted; there is no way to give its password, but ssl_context')
