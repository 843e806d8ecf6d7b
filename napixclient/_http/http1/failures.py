"""The errors of a request in flight: what a broken connection, an answer or the source of an upload stands for."""

from __future__ import annotations

from typing import Protocol

from gevent import ssl

from ...errors import HTTPError, Phase, ProtocolError, TLSError, TruncatedBody
from ...masking import mask

__all__ = ['error_of_break', 'error_of_parser', 'error_of_source', 'note_what_arrived']

#: What names of alerts about certificates have in them (RFC 8446 §6.2).
_OF_CERTIFICATES = ('CERTIFICATE', 'UNKNOWN_CA', 'ACCESS_DENIED', 'DECRYPT_ERROR')


def error_of_break(exc: OSError | None, phase: Phase, answering: bool, served: int) -> HTTPError:
    """The error for a request whose connection broke, or was closed by the server.

    :param exc: how it broke, ``None`` for the server's close.
    :param answering: whether the head of the answer had come.
    :param served: answers that came over the connection before.
    """
    why = 'closed the connection' if exc is None else f'broke the connection: {exc.strerror or exc}'
    error: HTTPError
    if not answering and _is_refusal(exc, served):
        error = TLSError(f'the server refused the TLS handshake: {exc}', phase='connect')
    elif answering and phase != 'authenticate':
        error = TruncatedBody(f'the server {why} before the end of the body', phase='read')
    else:
        error = ProtocolError(f'the server {why} before it had answered', phase=phase)
    error.__cause__ = exc
    return error


class Socket(Protocol):
    """The connection's own end of TCP."""

    def refused(self) -> int:
        """Bytes that were written and that the peer has not acknowledged, but answered with a RST."""


def note_what_arrived(error: HTTPError, exc: OSError | None, written: float, socket: Socket, first: bool) -> None:
    """Have the error of a broken connection say so where not a byte of the request can have been read.

    TCP's FIN says up to where its sender had received (RFC 9293 §3.10.7.4), but not that it reads no more. That is what
    a RST says which follows it and answers the request (§3.10.7.1). With both, only a program that reads on after it
    has given up answering, and breaks off at once, can have read the request; none is known.

    A RST alone says nothing: it is also what becomes of a close with a request unread, and of one that was read a
    moment ago, and TCP_INFO is the same of both. Nor does an end of TLS without its goodbye, which is reported in the
    same way. What TLS writes is longer than the request, so that the beginning of its first record may be acknowledged
    where this is true, but not the whole of it; and nobody can read less.

    :param exc: how it broke, ``None`` for the server's close.
    :param written: bytes of the request that went out, more than there can be where not all did at once.
    :param first: whether it was not tried before, so that no earlier attempt can have been carried out.
    """
    if written and (exc is not None or socket.refused() < written):
        return
    error.unprocessed = True
    error.message += ', and before the request had reached it'
    if first:
        error.message += ': not carried out as far as TCP can tell, safe to ask again'


def error_of_parser(exc: BaseException) -> HTTPError:
    """The error for a request whose answer cannot be read.

    :param exc: what the parser raised.
    """
    error = exc
    if not isinstance(error, HTTPError):
        error = ProtocolError(f'cannot read the answer: {exc}' if isinstance(exc, Exception) else 'interrupted')
        error.__cause__ = exc
    error.phase = 'read'
    return error


def error_of_source(exc: BaseException) -> HTTPError:
    """The error for a request whose body cannot be read from the caller's file or iterable.

    :param exc: what that raised.
    """
    error = HTTPError(f'the body could not be read: {type(exc).__name__}: {mask(str(exc))}', phase='send')
    error.__cause__ = exc
    return error


def _is_refusal(exc: OSError | None, served: int) -> bool:
    """Whether TLS broke with an alert of the server's that belongs to the handshake.

    In TLS 1.3 the client has sent its request by the time in which the server looks at its certificate (RFC 8446 §2).

    :param served: answers that came before; behind them only a certificate that was asked for later can be the cause.
    """
    reason = (exc.reason or '') if isinstance(exc, ssl.SSLError) else ''
    return 'ALERT' in reason and (not served or any(word in reason for word in _OF_CERTIFICATES))
