"""The short ways to ask: the verbs of HTTP as methods, and one request for many hosts; the same for all pools."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, Literal, TypeVar, overload

from ._http.pending import Outcome
from ._http.streaming import StreamedResponse
from ._options import Unpack
from .messages import (
    Body,
    CallOptions,
    ContentOptions,
    Fields,
    Params,
    Request,
    RequestOptions,
    Response,
    Source,
    WholeOptions,
    request_with,
    split_url,
)

__all__ = ['ClientVerbs', 'PoolVerbs', 'VerbOptions', 'by_host', 'requests_to']

#: What a body may be, and what a request returns whose answer is read whole, or streamed.
_Body = TypeVar('_Body')
_Whole = TypeVar('_Whole')
_Streamed = TypeVar('_Streamed')


class WholeVerbOptions(CallOptions, ContentOptions, total=False):
    """Those of :class:`WholeOptions`, and ``headers``."""

    headers: Fields | None
    params: Params | None
    tag: object


class VerbOptions(CallOptions, ContentOptions, total=False):
    """Those of :class:`RequestOptions`, and ``headers``."""

    headers: Fields | None
    params: Params | None
    tag: object
    stream: bool


class ClientVerbs(ABC):
    """The verbs of the client of one host: ``get(url)`` is ``request('GET', url)``."""

    @abstractmethod
    def request(
        self,
        method: str,
        url: str,
        body: Body | None = None,
        headers: Fields | None = None,
        **options: Unpack[RequestOptions],
    ) -> Response:
        """Send a request and wait for its answer."""

    @overload
    def get(
        self, url: str, *, body: Body | None = None, stream: Literal[True], **options: Unpack[WholeVerbOptions]
    ) -> StreamedResponse: ...

    @overload
    def get(
        self, url: str, *, body: Body | None = None, stream: bool = False, **options: Unpack[WholeVerbOptions]
    ) -> Response: ...

    def get(self, url: str, *, body: Body | None = None, **options: Unpack[VerbOptions]) -> Response:
        """``GET``; see :meth:`request`."""
        return self.request('GET', url, body, **options)

    @overload
    def post(
        self, url: str, body: Body | None = None, *, stream: Literal[True], **options: Unpack[WholeVerbOptions]
    ) -> StreamedResponse: ...

    @overload
    def post(
        self, url: str, body: Body | None = None, *, stream: bool = False, **options: Unpack[WholeVerbOptions]
    ) -> Response: ...

    def post(self, url: str, body: Body | None = None, **options: Unpack[VerbOptions]) -> Response:
        """``POST``; see :meth:`request`."""
        return self.request('POST', url, body, **options)

    def put(self, url: str, body: Body | None = None, **options: Unpack[VerbOptions]) -> Response:
        """``PUT``; see :meth:`request`."""
        return self.request('PUT', url, body, **options)

    def patch(self, url: str, body: Body | None = None, **options: Unpack[VerbOptions]) -> Response:
        """``PATCH``; see :meth:`request`."""
        return self.request('PATCH', url, body, **options)

    def delete(self, url: str, *, body: Body | None = None, **options: Unpack[VerbOptions]) -> Response:
        """``DELETE``; see :meth:`request`."""
        return self.request('DELETE', url, body, **options)

    def head(self, url: str, *, body: Body | None = None, **options: Unpack[VerbOptions]) -> Response:
        """``HEAD``; see :meth:`request`."""
        return self.request('HEAD', url, body, **options)

    def options(self, url: str, *, body: Body | None = None, **options: Unpack[VerbOptions]) -> Response:
        """``OPTIONS``; see :meth:`request`."""
        return self.request('OPTIONS', url, body, **options)


class PoolVerbs(ABC, Generic[_Body, _Whole, _Streamed]):
    """The verbs of a pool: ``get(host, url)`` is ``request(host, 'GET', url)``; ``get('http://name/path')`` as well."""

    @abstractmethod
    def request(
        self,
        host: str,
        method: str,
        url: str,
        body: _Body | None = None,
        headers: Fields | None = None,
        **options: Unpack[RequestOptions],
    ) -> _Whole | _Streamed:
        """Send a request."""

    @overload
    def get(
        self,
        host: str,
        url: str | None = None,
        *,
        body: _Body | None = None,
        stream: Literal[True],
        **options: Unpack[WholeVerbOptions],
    ) -> _Streamed: ...

    @overload
    def get(
        self,
        host: str,
        url: str | None = None,
        *,
        body: _Body | None = None,
        stream: bool = False,
        **options: Unpack[WholeVerbOptions],
    ) -> _Whole: ...

    def get(
        self, host: str, url: str | None = None, *, body: _Body | None = None, **options: Unpack[VerbOptions]
    ) -> _Whole | _Streamed:
        """``GET``; see :meth:`request`. Without ``url`` the host is a whole URL."""
        return self.request(*_place(host, 'GET', url), body, **options)

    @overload
    def post(
        self,
        host: str,
        url: str | None = None,
        body: _Body | None = None,
        *,
        stream: Literal[True],
        **options: Unpack[WholeVerbOptions],
    ) -> _Streamed: ...

    @overload
    def post(
        self,
        host: str,
        url: str | None = None,
        body: _Body | None = None,
        *,
        stream: bool = False,
        **options: Unpack[WholeVerbOptions],
    ) -> _Whole: ...

    def post(
        self, host: str, url: str | None = None, body: _Body | None = None, **options: Unpack[VerbOptions]
    ) -> _Whole | _Streamed:
        """``POST``; see :meth:`request`. Without ``url`` the host is a whole URL."""
        return self.request(*_place(host, 'POST', url), body, **options)

    def put(
        self, host: str, url: str | None = None, body: _Body | None = None, **options: Unpack[VerbOptions]
    ) -> _Whole | _Streamed:
        """``PUT``; see :meth:`request`. Without ``url`` the host is a whole URL."""
        return self.request(*_place(host, 'PUT', url), body, **options)

    def patch(
        self, host: str, url: str | None = None, body: _Body | None = None, **options: Unpack[VerbOptions]
    ) -> _Whole | _Streamed:
        """``PATCH``; see :meth:`request`. Without ``url`` the host is a whole URL."""
        return self.request(*_place(host, 'PATCH', url), body, **options)

    def delete(
        self, host: str, url: str | None = None, *, body: _Body | None = None, **options: Unpack[VerbOptions]
    ) -> _Whole | _Streamed:
        """``DELETE``; see :meth:`request`. Without ``url`` the host is a whole URL."""
        return self.request(*_place(host, 'DELETE', url), body, **options)

    def head(
        self, host: str, url: str | None = None, *, body: _Body | None = None, **options: Unpack[VerbOptions]
    ) -> _Whole | _Streamed:
        """``HEAD``; see :meth:`request`. Without ``url`` the host is a whole URL."""
        return self.request(*_place(host, 'HEAD', url), body, **options)

    def options(
        self, host: str, url: str | None = None, *, body: _Body | None = None, **options: Unpack[VerbOptions]
    ) -> _Whole | _Streamed:
        """``OPTIONS``; see :meth:`request`. Without ``url`` the host is a whole URL."""
        return self.request(*_place(host, 'OPTIONS', url), body, **options)


def requests_to(
    taker: Callable[..., object],
    hosts: Iterable[str],
    method: str,
    url: str,
    body: object,
    headers: Fields | None,
    options: WholeOptions,
) -> dict[str, Request]:
    """The same request to each of these hosts, in their order; one that is named twice is asked once.

    :param taker: the public method whose options these are.
    :raises ValueError: for hosts that are one text, a part that cannot be sent, a body that can be read only once, and
        ``stream``: nobody could read so many answers side by side.
    """
    if isinstance(hosts, (str, bytes)):
        raise ValueError(f'hosts are several: [{hosts!r}], not {hosts!r}')
    given: Any = body
    first = request_with(taker, 'host', method, url, given, headers, options)
    if first.stream:
        raise ValueError('map hands out whole answers: ask for one that streams with request()')
    named = dict.fromkeys(hosts)
    if len(named) > 1 and not first.rereadable:
        raise ValueError('a body that can be read only once cannot go to several hosts: give it as bytes')
    if isinstance(first.payload, Source):  # each reads it for itself
        return {host: request_with(taker, host, method, url, given, headers, options) for host in named}
    return {host: first.replace(host=host) for host in named}


def by_host(requests: Mapping[str, Request], outcomes: Iterable[Outcome]) -> dict[str, Outcome]:
    """The outcomes of these requests, which may come in any order, in theirs."""
    found = {outcome.request.host: outcome for outcome in outcomes}
    return {host: found[host] for host in requests}


def _place(host: str, method: str, url: str | None) -> tuple[str, str, str]:
    """Host, method and url of a request; without a url the host is a whole URL."""
    if url is None:
        host, url = split_url(host)
    elif not isinstance(url, str):
        raise TypeError(
            f'a url is a text such as "/path", not {type(url).__name__}; behind a whole URL the body is given by name: '
            f'{method.lower()}("http://name/path", body=…)'
        )
    return host, method, url
