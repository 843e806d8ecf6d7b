"""Serves the files of the page, which it reads once."""

from __future__ import annotations

from hashlib import sha256
from importlib.resources import files
from typing import Any

from ..wsgi.environ import Environ, StartResponse

__all__ = ['Page']

_MEDIA = {
    'html': 'text/html; charset=utf-8',
    'js': 'text/javascript; charset=utf-8',
    'css': 'text/css; charset=utf-8',
    'svg': 'image/svg+xml',
    'png': 'image/png',
    'txt': 'text/plain; charset=utf-8',
}
#: No resources of other origins, nothing inline, and no framing.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class _File:
    """A file of the page, held in memory."""

    def __init__(self, name: str, data: bytes) -> None:
        self._data = data
        self._tag = f'"{sha256(data).hexdigest()[:32]}"'
        self._media = _MEDIA[name.rpartition('.')[2]]

    def serve(self, environ: Environ, start_response: StartResponse) -> list[bytes]:
        """Answer with the file, or 304 if the client has it."""
        fields = [
            ('ETag', self._tag),
            ('Cache-Control', 'no-cache'),
            ('X-Content-Type-Options', 'nosniff'),
            ('Content-Security-Policy', _POLICY),
            ('Referrer-Policy', 'no-referrer'),
        ]
        if environ.get('HTTP_IF_NONE_MATCH') == self._tag:
            start_response('304 Not Modified', fields)
            return []
        start_response('200 OK', [('Content-Type', self._media), ('Content-Length', str(len(self._data))), *fields])
        return [self._data]


class Page:
    """The page at ``/``, and its files."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        directory = files(__package__).joinpath('page')
        if directory.is_dir():
            self._add('/', directory)
            if '/index.html' in self._files:
                self._files['/'] = self._files.pop('/index.html')

    def _add(self, path: str, directory: Any) -> None:
        for entry in directory.iterdir():
            if entry.is_dir():
                self._add(f'{path}{entry.name}/', entry)
            elif entry.name.rpartition('.')[2] in _MEDIA:
                self._files[path + entry.name] = _File(entry.name, entry.read_bytes())

    def find(self, path: str) -> _File | None:
        """The file for a path."""
        return self._files.get(path)

    def __contains__(self, path: str) -> bool:
        return path in self._files
