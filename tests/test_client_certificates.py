"""Certificates that a server asks the client for: in the handshake and later, in TLS 1.2 and 1.3; accepted and refused."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import gevent.ssl
import pytest
import trustme
import urllib3

from napixclient import Client, ClientPool, HTTPError, TLSError
from tests import kit
from tests.kit import next_id, wait_until

pytestmark = pytest.mark.usefixtures('tidy')
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


class Certificates:
    """An authority, a client that it knows, and one that another authority knows."""

    def __init__(self, folder: Path) -> None:
        self._ca, stranger = trustme.CA(), trustme.CA()
        self.ca_certs = str(folder / 'ca.pem')
        self._ca.cert_pem.write_to_path(self.ca_certs)
        self.known, self.unknown = str(folder / 'known.pem'), str(folder / 'unknown.pem')
        self._ca.issue_cert('known.example').private_key_and_cert_chain_pem.write_to_path(self.known)
        stranger.issue_cert('unknown.example').private_key_and_cert_chain_pem.write_to_path(self.unknown)

    def server(self, version: ssl.TLSVersion, later: bool = False) -> ssl.SSLContext:
        """A context that wants a certificate of the client, in the handshake or later."""
        context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = context.maximum_version = version
        self._ca.issue_cert('127.0.0.1').configure_cert(context)
        self._ca.configure_trust(context)
        context.post_handshake_auth = later
        context.verify_mode = ssl.CERT_REQUIRED
        return context


@pytest.fixture(scope='module')
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Those of this module."""
    return Certificates(tmp_path_factory.mktemp('certificates'))


@pytest.mark.parametrize('method', ['GET', 'POST', 'upload'])
@pytest.mark.parametrize('shown', ['none', 'of another authority'])
@pytest.mark.parametrize('version', VERSIONS)
def test_certificate_refused(version: ssl.TLSVersion, shown: str, method: str, certificates: Certificates) -> None:
    """A server that does not accept the client is a TLSError that tells its alert, also where it says so only later."""
    cert = certificates.unknown if shown != 'none' else None
    body = None if method == 'GET' else {'a': 1} if method == 'POST' else iter([b'x' * 10**6] * 3)
    reason = 'unknown ca' if cert else 'certificate required' if version == VERSIONS[1] else 'handshake failure'
    with kit.serve(tls=certificates.server(version)) as server:
        for _ in range(5):
            with Client(server.host, ca_certs=certificates.ca_certs, cert=cert) as client:
                with pytest.raises(TLSError, match=reason) as caught:
                    client.request('GET' if method == 'GET' else 'POST', f'/{next_id()}', body)
                assert (caught.value.phase, caught.value.status, caught.value.attempts) == ('connect', None, 1)
        assert not server.requests


@pytest.mark.parametrize(
    ('retries', 'attempts'),
    [
        (urllib3.Retry(3, other=0), 1),
        (urllib3.Retry(3, other=2), 3),
        (urllib3.Retry(2, connect=0, read=0), 3),
        (None, 1),
    ],
)
@pytest.mark.parametrize('version', VERSIONS)
def test_certificate_refused_is_tried_as_other(
    version: ssl.TLSVersion, retries: Any, attempts: int, certificates: Certificates
) -> None:
    """For Retry it is neither a failure to connect nor one to read, in whatever version of TLS."""
    with (
        kit.serve(tls=certificates.server(version)) as server,
        ClientPool(ca_certs=certificates.ca_certs, retries=retries) as pool,
    ):
        pool.request(server.host, 'GET', '/000001')
        (error,) = pool.wait(timeout=20)
        assert isinstance(error, TLSError) and error.attempts == attempts


@pytest.mark.parametrize('version', VERSIONS)
def test_certificate_accepted(version: ssl.TLSVersion, certificates: Certificates) -> None:
    """One that the server knows is shown, and the connection is kept."""
    with (
        kit.serve(tls=certificates.server(version)) as server,
        Client(server.host, ca_certs=certificates.ca_certs, cert=certificates.known) as client,
    ):
        assert [client.request('GET', '/000001').text for _ in range(3)] == ['000001'] * 3
        assert server.accepted == 1


class AsksLater(kit.Server):
    """Asks for the certificate only for some paths, as servers do that protect a part of theirs (RFC 8446 §4.6.2)."""

    def answer(self, peer: kit.Peer) -> None:
        """Tell who asked."""
        assert peer.request is not None
        tls: Any = peer.socket._sslobj
        if '/private' in peer.request.path and not tls.getpeercert(True):
            tls.verify_client_post_handshake()
            peer.send(b'HTTP/1.1 103 Early Hints\r\n\r\n')  # the question goes with the next bytes

            def shown() -> bool:
                try:
                    tls.read(1)
                except ssl.SSLWantReadError:
                    pass
                return bool(tls.getpeercert(True))

            wait_until(shown)
        name = dict(part[0] for part in (tls.getpeercert() or {}).get('subject', ()))
        peer.send(b'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n%b' % (b'known!' if name else b'nobody'))


@pytest.mark.parametrize('method', ['GET', 'POST'])
def test_certificate_asked_for_later(method: str, certificates: Certificates) -> None:
    """A server that asks after the handshake is shown the certificate, over a connection that is new or was used."""
    with (
        AsksLater(tls=certificates.server(ssl.TLSVersion.TLSv1_3, later=True)) as server,
        Client(server.host, ca_certs=certificates.ca_certs, cert=certificates.known) as client,
    ):
        assert client.request(method, '/public').text == 'nobody'
        assert client.request(method, '/private').text == 'known!'
        assert client.request(method, '/private').text == 'known!'
        assert server.accepted == 1
    with (
        AsksLater(tls=certificates.server(ssl.TLSVersion.TLSv1_3, later=True)) as server,
        Client(server.host, ca_certs=certificates.ca_certs, cert=certificates.known) as client,
    ):
        assert client.request(method, '/private').text == 'known!'


@pytest.mark.parametrize('shown', ['none', 'of another authority'])
def test_certificate_asked_for_later_and_refused(shown: str, certificates: Certificates) -> None:
    """One that is refused then is a TLSError too, whatever was answered over the connection before."""
    cert = certificates.unknown if shown != 'none' else None
    with (
        AsksLater(tls=certificates.server(ssl.TLSVersion.TLSv1_3, later=True)) as server,
        Client(server.host, ca_certs=certificates.ca_certs, cert=cert) as client,
    ):
        assert client.request('GET', '/public').text == 'nobody'
        with pytest.raises(HTTPError) as caught:
            client.request('GET', '/private')
        assert isinstance(caught.value, TLSError), caught.value
        assert client.request('GET', '/public').text == 'nobody'
