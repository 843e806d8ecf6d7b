"""The errors of a request in flight: what a broken connection, an answer or the source of an upload stands for."""

from __future__ import annotations

from gevent import ssl

from ...errors import HTTPError, Phase, ProtocolError, TLSError, TruncatedBody
from ...masking import mask

__all__ = ['error_of_break', 'error_of_parser', 'error_of_source', 'say_unprocessed']

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


def say_unprocessed(error: HTTPError, first: bool) -> None:
    """Have the error of a broken connection say that the server had closed before the request had reached it.

    :param first: whether it was not tried before, so that no earlier attempt can have been carried out.
    """
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
