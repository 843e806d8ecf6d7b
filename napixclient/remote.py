"""What a server said about its failure: reads error answers. Imports messages and errors."""

from __future__ import annotations

from typing import Any

from .errors import MAX_TEXT, HTTPError, RemoteError, one_line
from .messages import Response

__all__ = ['error_of']


def error_of(response: Response, kind: type[HTTPError] = RemoteError) -> HTTPError:
    """The error that an answer of 400 or above stands for.

    ``remote_error`` is the decoded object when the server sent a JSON object, else ``"404 NOT FOUND" the body``.
    """
    body = response.body
    said: Any = body if isinstance(body, dict) else _as_text(response, body)
    error = kind(_summary(response, said), request=response.request, response=response, remote_error=said,
                 phase='read', elapsed=response.elapsed)
    error.attempts = response.attempts
    return error


def _as_text(response: Response, body: Any) -> str:
    text = body if isinstance(body, str) else '' if body is None else response.text
    if len(text) > MAX_TEXT:
        text = text[:MAX_TEXT] + '…'
    return f'{_status_line(response)} {text}'.rstrip()


def _summary(response: Response, said: Any) -> str:
    """One line for the reader of a log: what the status line, and the document if there is one, tell."""
    if isinstance(said, str):
        return one_line(said)
    parts = [part for part in (said.get('error_class'), said.get('error_text')) if isinstance(part, str) and part]
    return one_line(f'{_status_line(response)} {": ".join(parts)}'.rstrip())


def _status_line(response: Response) -> str:
    return f'"{response.status} {response.reason}"' if response.reason else f'"{response.status}"'
