"""The options of one request: their types, and what each means."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypedDict

from urllib3 import Retry
from urllib3 import Timeout as Timeouts
from urllib3.fields import RequestField

from .._options import lists

__all__ = [
    'Body',
    'CallOptions',
    'ContentOptions',
    'Fields',
    'Params',
    'RequestOptions',
    'RequestParts',
    'WholeOptions',
]


class Readable(Protocol):
    """A file."""

    def read(self, size: int, /) -> bytes | str:
        """So many bytes at most; none at its end."""


#: What a body is made of: a mapping or a list goes as JSON, the rest as it is.
Body = Iterable[object] | Readable
#: Header fields; the values are texts, bytes or numbers.
Fields = Mapping[str, object] | Iterable[tuple[str, object]]
#: Parameters of a query; a list as a value repeats its name.
Params = str | Mapping[str, object] | Iterable[tuple[str, object]]
#: Fields of a form: texts, bytes, numbers, files, ``(file name, value[, content type[, headers]])``.
Multipart = Mapping[str, object] | Iterable[tuple[str, object] | RequestField]


class CallOptions(TypedDict, total=False):
    """The options of any request, whoever sends it.

    :param timeout: ``float``, seconds in all, or :class:`urllib3.Timeout`. Default: that of the client.
    :param retries: :class:`urllib3.Retry`, an ``int``, or ``False`` for none at all. Default: that of the client.
    :param retry_on: a callable that is given an outcome, a :class:`Response` or an :class:`HTTPError`, and returns
        whether the request is tried again, instead of the statuses and failures that ``retries`` names. Those still
        say how often (without them three times), after which pause, and which methods. Default: that of the client.
    :param max_body: ``int``, the largest body that is accepted, in bytes, as sent and as decoded. Default: that of the
        client.
    :param multipart: a mapping or pairs, the fields of a form (RFC 7578) instead of a body: texts, bytes, numbers,
        files, or ``(file name, value[, content type[, headers]])``, where the value may be an iterable of bytes. Files
        and iterables are read while they are sent. Default: ``None``.
    :param redirect: ``bool``, follow redirects (RFC 9110 §15.4), ten at most; credentials never follow to another
        origin. Default: that of the client.
    :param expect: ``bool``, have the server agree before the body is sent (``Expect: 100-continue``, RFC 9110
        §10.1.1); after a second without an answer the body is sent all the same. Default: ``False``.
    :param decode: ``bool``, undo content codings (RFC 9110 §8.4); ``False`` for the body as it came. Default: that of
        the client.
    """

    timeout: float | Timeouts | None
    retries: Retry | int | bool | None
    retry_on: Callable[[Any], object] | None
    max_body: int | None
    multipart: Multipart | None
    redirect: bool | None
    expect: bool
    decode: bool | None


class ContentOptions(TypedDict, total=False):
    """What other libraries call the body of a request; one of these is given instead of ``body``.

    :param json: any value of JSON but ``None``, sent as JSON. Default: ``None``.
    :param data: a mapping or a list of pairs, sent as a form; all else is sent as it is. Default: ``None``.
    :param files: a mapping or pairs of names and files, sent as a multipart form with the fields of ``data``; a file is
        an open file, a text, bytes, or ``(file name, file[, content type[, headers]])``; an empty mapping or list is as
        ``None``. Default: ``None``.
    """

    json: object
    data: object
    files: Mapping[str, object] | Iterable[tuple[str, object]] | None


@lists(CallOptions, ContentOptions)
class WholeOptions(CallOptions, ContentOptions, total=False):
    """The options of a request whose answer is read whole.

    :param params: a mapping or pairs to add to the query, or a query that is written already. Default: ``None``.
    :param tag: anything; it comes back as ``answer.request.tag``. Default: ``None``.
    """

    params: Params | None
    tag: object


@lists(CallOptions, ContentOptions)
class RequestOptions(CallOptions, ContentOptions, total=False):
    """The options of a request: what :class:`Request` and all that make one take by keyword.

    :param params: a mapping or pairs to add to the query, or a query that is written already. Default: ``None``.
    :param tag: anything; it comes back as ``answer.request.tag``. Default: ``None``.
    :param stream: ``bool``, hand the answer out at its head, to be read in pieces. Default: ``False``.
    """

    params: Params | None
    tag: object
    stream: bool


class RequestParts(CallOptions, ContentOptions, total=False):
    """All that a request is made of."""

    params: Params | None
    tag: object
    stream: bool
    host: str
    method: str
    url: str
    body: Body | None
    headers: Fields | None
