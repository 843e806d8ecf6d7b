"""The client of one server, Zaqar or Keystone: that of ``rest``, raising the errors of this package."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..messages import Headers, dump_json, parse_origin
from ..rest.client import Client, Success
from ..rest.responses import Response
from .errors import ErrorBase, NoAnswer, class_of

__all__ = ['SUCCESS', 'Wire', 'encoded']

SUCCESS = range(200, 300)


def encoded(document: object) -> bytes:
    """A document as JSON.

    :raises ValueError: (or ``TypeError``) for what cannot be written as JSON.
    """
    return dump_json(document, 'the document')


class Wire(Client):
    """Sends requests for targets below its endpoint, written as they go on the request line."""

    @property
    def authority(self) -> str:
        """What goes into ``Host``."""
        return parse_origin(self._endpoint.host).authority

    @property
    def fields(self) -> Headers:
        """The fields of every request that does not set them itself."""
        return self._core.settings.headers

    def ask(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        fields: Iterable[tuple[str, str]] = (),
        success: Success = SUCCESS,
    ) -> Response:
        """Send a request, and wait for its answer.

        :param target: path and query, quoted.
        :param body: JSON, unless the fields tell of another type.
        :raises ErrorBase: for another status, or when there was no answer.
        """
        pairs = list(fields)
        if body is not None and not any(name.lower() == 'content-type' for name, _ in pairs):
            pairs.append(('Content-Type', 'application/json'))
        try:
            return self._call(method, f'{self._endpoint.prefix}{target}', body, pairs, success, {})
        except NoAnswer as error:
            failure: Any = error.__cause__
            if failure.phase == 'authenticate' and isinstance(failure.__cause__, ErrorBase):
                raise failure.__cause__ from None  # it was Keystone that failed, and it says how
            raise

    @classmethod
    def _error_class(cls, status: int) -> type[ErrorBase]:
        return class_of(status)
