"""One host, JSON: asking it, and what it answered."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from .. import messages
from .._http.options import Options, Simultaneous
from .._http.pending import PendingResponse
from .._options import Unpack, lists, refuse_unknown
from ..authenticators import Credentials
from ..client import Client
from ..errors import HTTPError, RemoteError
from ..messages import Body, CallOptions, Fields, Params
from ..remote import error_of

__all__ = ['Resource', 'Response', 'outcome_of']

#: Bytes that are read of what a server says instead of the file that was to be downloaded.
_LONGEST_ERROR = 65536
_ends_in_port = re.compile(r':[0-9]+/?\Z').search


class Response(messages.Response):
    """A complete answer of any status: true when it is a success (2xx), and to call it evaluates it.

    Beside ``status``, ``reason`` and ``body`` it has all that :class:`napixclient.Response` has.
    """

    __slots__ = ('_error', '_url')
    _error: HTTPError | None
    _url: str

    @classmethod
    def of(cls, answer: messages.Response, error: HTTPError | None = None) -> Response:
        """The same answer.

        :param error: what it stands for, where that is known already.
        """
        self = cls(answer.request, answer.status, answer.head, answer.data, answer.elapsed, answer.attempts)
        if type(answer._body) is bytes:  # still coded
            self._body = answer._body
        self._url = answer.url
        if error is None and not self:
            error = error_of(answer, RemoteError)
        self._error = error
        return self

    @property
    def url(self) -> str:
        """The URL that answered."""
        return self._url

    def __bool__(self) -> bool:
        return 200 <= self.status < 300

    def __call__(self) -> Any:
        """The evaluated body.

        :raises RemoteError: when it is no success.
        """
        if self._error is not None:
            raise self._error.with_traceback(None)
        return self.body


def outcome_of(pending: PendingResponse, kind: type[Response] = Response) -> Response | HTTPError:
    """The outcome of a request that has one: a response of any status, or the error for which there is none."""
    outcome = pending.outcome
    if isinstance(outcome, RemoteError):
        assert outcome.response is not None
        return kind.of(outcome.response, outcome)
    assert outcome is not None
    return outcome if isinstance(outcome, HTTPError) else kind.of(outcome)


@lists(CallOptions)
class AskOptions(CallOptions, total=False):
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

    It may be shared by greenlets, but for :meth:`request` and :meth:`getresponse`, which are two steps of one.

    :param host: ``name``, ``name:8002``, ``[::1]:80``, ``http://name`` or ``https://name:8443``.
    :param port: the port, where the host does not have it.
    :param authenticator: a callable ``Request -> Request``, ``{'login': …, 'key': …}``, or ``None``.
    :param simultaneous: requests in flight at most, or ``'auto'``.
    :param options: those of :class:`napixclient.Options`:
    :raises ValueError: for a host, a port or an option that makes no sense.
    :raises TypeError: for an option that there is not.
    """

    #: What answers are made; a class of one's own may be derived from :class:`Response`.
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
        self._client = Client(host, authenticator, simultaneous, **options)
        self._asked: PendingResponse | None = None
        self._is_one_of_many = False

    @classmethod
    def _of_client(cls, client: Client) -> Resource:
        self = cls.__new__(cls)
        self._client = client
        self._asked = None
        self._is_one_of_many = True
        return self

    @property
    def host(self) -> str:
        """The host as it was written."""
        return self._client.host

    # -- one step --------------------------------------------------------------------------------------------------

    @lists(AskOptions)
    def __call__(self, method: str, path: str, body: Body | None = None, **options: Unpack[AskOptions]) -> Any:
        """Send a request and return the evaluated body of its answer.

        :param options: those of a request:
        :raises RemoteError: when the answer is no success (2xx).
        :raises HTTPError: when there is no answer.
        :raises ValueError: for a part that cannot be sent.
        """
        return self._answer(self._submit(method, path, body, options))()

    def get(self, path: str, /, **params: Any) -> Any:
        """GET, with these parameters added to the query."""
        return self('GET', path, params=params)

    def delete(self, path: str, /, **params: Any) -> Any:
        """DELETE, with these parameters added to the query."""
        return self('DELETE', path, params=params)

    def post(self, path: str, /, **body: Any) -> Any:
        """POST, with these members as its JSON."""
        return self('POST', path, body)

    def put(self, path: str, /, **body: Any) -> Any:
        """PUT, with these members as its JSON."""
        return self('PUT', path, body)

    def patch(self, path: str, /, **body: Any) -> Any:
        """PATCH, with these members as its JSON."""
        return self('PATCH', path, body)

    def download(self, path: str, filename: str | os.PathLike[str]) -> int:
        """GET a body of any size into a file, which appears when it is whole; returns the number of bytes.

        :raises RemoteError: when the answer is no success (2xx).
        :raises HTTPError: when there is none, or it breaks off.
        :raises OSError: when the file cannot be written.
        """
        answer: Any = self._client.request('GET', path, stream=True)
        with answer:
            if 200 <= answer.status < 300:
                return answer.save(filename)  # type: ignore[no-any-return]
            said = messages.Response(
                answer.request, answer.status, answer.head, answer.read(_LONGEST_ERROR), answer.elapsed, answer.attempts
            )
        raise error_of(said, RemoteError)

    # -- two steps -------------------------------------------------------------------------------------------------

    @lists(AskOptions)
    def request(self, method: str, path: str, body: Body | None = None, **options: Unpack[AskOptions]) -> None:
        """Send a request; :meth:`getresponse` has its answer.

        :param options: those of a request:
        :raises RuntimeError: when the answer to the last one was not taken.
        """
        if self._asked is not None:
            raise RuntimeError('the answer to the last request was not taken: call getresponse() first')
        self._asked = self._submit(method, path, body, options)

    def getresponse(self) -> Response:
        """Wait for the answer to the request that was sent, whatever its status.

        :raises HTTPError: when there is none.
        :raises RuntimeError: when nothing was asked.
        """
        pending = self._asked
        if pending is None:
            raise RuntimeError('nothing was asked: call request() first')
        try:
            return self._answer(pending)
        finally:
            self._asked = None

    def _submit(self, method: str, path: str, body: Body | None, options: AskOptions) -> PendingResponse:
        refuse_stream(options)
        try:
            return self._client.submit(method, path, body, **options)
        except TypeError:  # which may be one of the body's
            refuse_unknown(Resource.request, options, AskOptions.__optional_keys__)
            raise

    def _answer(self, pending: PendingResponse) -> Response:
        """Wait for the answer; who is interrupted meanwhile has no use for it."""
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
        """Cancel what is under way and close the connections. May be repeated.

        Of a mapping's resource, whose connections are the mapping's, it only cancels what :meth:`request` sent.
        """
        if self._asked is not None:
            self._asked.cancel()
        if not self._is_one_of_many:
            self._client.close()

    def __enter__(self) -> Resource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f'<{type(self).__name__} {self._client.origin}>'


def refuse_stream(options: Mapping[str, object]) -> None:
    """:raises ValueError: for an answer that would be handed out at its head."""
    if options.get('stream'):
        raise ValueError('answers are read whole here; Resource.download() writes one to a file as it comes')


def _with_port(host: Any, port: Any) -> Any:
    if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
        raise ValueError(f'port is a number from 1 to 65535, not {port!r}')
    if not isinstance(host, str):
        return host  # the client says what a host is
    if _ends_in_port(host):
        raise ValueError(f'the host {host!r} has a port already; leave port={port} out')
    return f'{host.rstrip("/")}:{port}'
