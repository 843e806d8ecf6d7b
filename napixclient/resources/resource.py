"""One host that speaks JSON, and its answers."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from .. import messages
from .._http.options import Options, Simultaneous
from .._http.pending import PendingResponse
from .._options import Unpack, lists, refuse_unknown
from ..authenticators import Credentials
from ..checks import is_whole
from ..client import Client
from ..errors import HTTPError, RemoteError
from ..messages import Body, CallOptions, ContentOptions, Fields, Params, error_of

__all__ = ['Resource', 'Response', 'outcome_of']

#: Bytes of an error document that are read, where a file was to be downloaded.
_LONGEST_ERROR = 65536
_R = TypeVar('_R', bound='Response')
_ends_in_port = re.compile(r':[0-9]+/?\Z').search


class Response(messages.Response):
    """A complete answer of any status. It is true if it is a success (2xx), and calling it returns its body.

    It has ``status``, ``reason``, ``body`` and everything else that :class:`napixclient.Response` has.
    """

    __slots__ = ('_url', 'error')
    #: The error that calling the response raises; ``None`` for a success.
    error: HTTPError | None
    _url: str

    @classmethod
    def of(cls, answer: messages.Response, error: HTTPError | None = None) -> Response:
        """The same answer.

        :param error: the error that it stands for, if that is known already.
        """
        self = cls.from_response(answer)
        self._url = answer.url
        if error is None and not self:
            error = error_of(answer, RemoteError)
        self.error = error
        return self

    @property
    def url(self) -> str:
        """The URL that answered."""
        return self._url

    def raise_for_status(self: _R) -> _R:
        """The response itself, if its status is below 400; else :attr:`error` is raised."""
        if self.status >= 400 and self.error is not None:
            raise self.error.with_traceback(None)
        return self

    def __bool__(self) -> bool:
        return 200 <= self.status < 300

    def __call__(self) -> Any:
        """The decoded body.

        :raises RemoteError: if the answer is not a success.
        """
        if self.error is not None:
            raise self.error.with_traceback(None)
        return self.body


def outcome_of(pending: PendingResponse, kind: type[Response] = Response) -> Response | HTTPError:
    """The outcome of a finished request: a response of any status, or the error if there is none."""
    outcome = pending.outcome
    if isinstance(outcome, RemoteError):
        assert outcome.response is not None
        return kind.of(outcome.response, outcome)
    assert outcome is not None
    return outcome if isinstance(outcome, HTTPError) else kind.of(outcome)


@lists(CallOptions, ContentOptions)
class AskOptions(CallOptions, ContentOptions, total=False):
    """The options of a request.

    :param headers: a mapping or pairs of header fields. Default: ``None``.
    :param params: a mapping or pairs to add to the query, or a query that is written already. Default: ``None``.
    :param tag: anything; it comes back as ``answer.request.tag``. Default: ``None``.
    """

    headers: Fields | None
    params: Params | None
    tag: object


@lists(Options)
class Resource:
    """One host that speaks JSON.

    >>> from napixclient.resources import Resource
    >>> resource = Resource('server.example')
    >>> resource.get('/captains')
    ['/captains/1', '/captains/2']
    >>> resource('GET', '/captains/1')
    {'name': 'Nemo'}

    Greenlets may share it, except for :meth:`request` and :meth:`getresponse`, which are two steps of one call.

    :param host: ``name``, ``name:8002``, ``[::1]:80``, ``http://name`` or ``https://name:8443``.
    :param port: the port, if ``host`` does not name it.
    :param authenticator: a callable ``Request -> Request``, ``{'login': …, 'key': …}``, or ``None``.
    :param simultaneous: requests in flight at most, or ``'auto'``.
    :param options: those of :class:`napixclient.Options`:
    :raises ValueError: if the host, the port or an option is invalid.
    :raises TypeError: if there is no such option.
    """

    #: The class of the answers. A subclass may set it to a class derived from :class:`Response`.
    response_class: type[Response] = Response

    def __init__(
        self,
        host: str,
        port: int | None = None,
        *,
        authenticator: Credentials | None = None,
        simultaneous: Simultaneous = 2,
        **options: Unpack[Options],
    ) -> None:
        refuse_unknown(Resource, options, Options.__optional_keys__)
        if port is not None:
            host = _with_port(host, port)
        #: The client that sends its requests.
        self.client: Client = Client(host, authenticator, simultaneous, **options)
        self._pending: PendingResponse | None = None
        self._owns_client = True
        self._keeps: object = None

    @classmethod
    def of_client(cls, client: Client, owner: object = None) -> Resource:
        """A resource that uses a client of somebody else's: closing the resource does not close the client.

        :param owner: what closes the client's connections when nobody holds it any more; the resource does.
        """
        self = cls.__new__(cls)
        self.client = client
        self._pending = None
        self._owns_client = False
        self._keeps = owner
        return self

    @property
    def host(self) -> str:
        """The host as it was written."""
        return self.client.host

    # -- one step --------------------------------------------------------------------------------------------------

    @lists(AskOptions)
    def __call__(self, method: str, path: str, body: Body | None = None, **options: Unpack[AskOptions]) -> Any:
        """Send a request and return the decoded body of the answer.

        :param options: those of a request:
        :raises RemoteError: if the answer is not a success (2xx).
        :raises HTTPError: if there is no answer.
        :raises ValueError: if a part of the request cannot be sent.
        """
        return self._answer(self._submit(method, path, body, options))()

    def get(self, path: str, /, **params: object) -> Any:
        """GET, with these parameters added to the query."""
        return self('GET', path, params=params)

    def delete(self, path: str, /, **params: object) -> Any:
        """DELETE, with these parameters added to the query."""
        return self('DELETE', path, params=params)

    def post(self, path: str, /, **body: object) -> Any:
        """POST, with these members as its JSON."""
        return self('POST', path, body)

    def put(self, path: str, /, **body: object) -> Any:
        """PUT, with these members as its JSON."""
        return self('PUT', path, body)

    def patch(self, path: str, /, **body: object) -> Any:
        """PATCH, with these members as its JSON."""
        return self('PATCH', path, body)

    def download(self, path: str, filename: str | os.PathLike[str]) -> int:
        """GET a body of any size into a file, which appears once it is complete; return the number of bytes.

        :raises RemoteError: if the answer is not a success (2xx).
        :raises HTTPError: if there is no answer, or it breaks off.
        :raises OSError: if the file cannot be written.
        """
        with self.client.request('GET', path, stream=True) as answer:
            if 200 <= answer.status < 300:
                return answer.save(filename)
            refusal = messages.Response.from_response(answer, answer.read(_LONGEST_ERROR))
        raise error_of(refusal, RemoteError)

    # -- two steps -------------------------------------------------------------------------------------------------

    @lists(AskOptions)
    def request(self, method: str, path: str, body: Body | None = None, **options: Unpack[AskOptions]) -> None:
        """Send a request; :meth:`getresponse` returns its answer.

        :param options: those of a request:
        :raises RuntimeError: if the answer to the last request was not taken.
        """
        if self._pending is not None:
            raise RuntimeError('the answer to the last request was not taken: call getresponse() first')
        self._pending = self._submit(method, path, body, options)

    def getresponse(self) -> Response:
        """Wait for the answer to the request that was sent, whatever its status.

        :raises HTTPError: if there is no answer.
        :raises RuntimeError: if no request was sent.
        """
        pending = self._pending
        if pending is None:
            raise RuntimeError('nothing was asked: call request() first')
        try:
            return self._answer(pending)
        finally:
            self._pending = None

    def _submit(self, method: str, path: str, body: Body | None, options: AskOptions) -> PendingResponse:
        refuse_stream(options)
        try:
            return self.client.submit(method, path, body, **options)
        except TypeError:  # which may be one of the body's
            refuse_unknown(Resource.request, options, AskOptions.__optional_keys__)
            raise

    def _answer(self, pending: PendingResponse) -> Response:
        """Wait for the answer; an interruption cancels the request."""
        try:
            pending.wait()
        except BaseException:
            pending.cancel()
            raise
        outcome = outcome_of(pending, self.response_class)
        if isinstance(outcome, HTTPError):
            raise outcome.with_traceback(None)
        return outcome

    # -- ends ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Cancel what is under way and close the connections. May be called again.

        A resource of a mapping uses the mapping's connections: it only cancels what :meth:`request` sent.
        """
        if self._pending is not None:
            self._pending.cancel()
        if self._owns_client:
            self.client.close()

    def __enter__(self) -> Resource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f'<{type(self).__name__} {self.client.origin}>'


def refuse_stream(options: Mapping[str, object]) -> None:
    """:raises ValueError: if the answer would be handed out before its body."""
    if options.get('stream'):
        raise ValueError('answers are read whole here; Resource.download() writes one to a file as it comes')


def _with_port(host: Any, port: Any) -> Any:
    if not is_whole(port) or not 0 < port < 65536:
        raise ValueError(f'port is a number from 1 to 65535, not {port!r}')
    if not isinstance(host, str):
        return host  # the client says what a host is
    if _ends_in_port(host):
        raise ValueError(f'the host {host!r} has a port already; leave port={port} out')
    return f'{host.rstrip("/")}:{port}'
