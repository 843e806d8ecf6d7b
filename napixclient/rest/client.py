"""The base class of REST clients."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from gevent.local import local

from .. import messages
from .._http.options import SharedOptions, Simultaneous
from .._http.redirecting import without_credentials
from .._http.streaming import StreamedResponse
from .._options import Unpack, lists, refuse_unknown
from ..authenticators import Credentials
from ..checks import count_or_auto, whole_number
from ..client import Client as Core
from ..messages import (
    FORM,
    CallOptions,
    Headers,
    dump_json,
    form_of,
    given_files,
    is_form,
    multipart_of,
    parse_origin,
    plain_request,
)
from .concurrency import Allowance, SilentEvent, run_all, still_running
from .errors import ClientError, ErrorFactory
from .logs import DEBUG, log_outcome, log_outcome_later, log_request, recv, send
from .quoting import Fields, Params, endpoint_of, fields_of, query_of, quoted_path, value_of
from .responses import Response, answered

__all__ = ['Client', 'ClientOptions', 'Follower', 'Success']

#: What a call takes as ``success``: a status, a collection or range of them, or ``None``.
Success = int | Collection[int] | None
_JSON = 'Content-Type', 'application/json'
_FORM = 'Content-Type', FORM
_T = TypeVar('_T')


@lists(SharedOptions)
class ClientOptions(SharedOptions, total=False):
    """The options of :class:`Client`.

    :param verify: ``bool``, ``False`` to accept any certificate. Default: ``True``.
    """

    verify: bool


@lists(CallOptions)
class FormOptions(CallOptions, total=False):
    """What :meth:`Client.request` takes by keyword beside its own.

    :param files: a mapping or pairs of names and files, sent as a multipart form with the fields of ``data``; see
        :class:`napixclient.RequestOptions`. Default: ``None``.
    :param stream: ``bool``, hand the answer out at its head: its :attr:`Response.stream` is read in pieces. Default:
        ``False``.
    """

    files: object
    stream: bool


@lists(FormOptions)
class VerbOptions(CallOptions, total=False):
    """What a verb of :class:`Client` takes by keyword.

    :param params: a mapping or pairs for the query; texts, bytes or numbers, or a list of them. Default: ``None``.
    :param headers: a mapping or pairs, instead of the client's own fields of these names. Default: ``None``.
    :param json: sent as JSON, of whatever type it is, with that Content-Type if ``headers`` has none. Default:
        ``None``.
    :param data: a mapping or a list of pairs, sent as a form; or sent as it is: a text (as UTF-8), bytes, a file, or an
        iterable of bytes. Default: ``None``.
    :param success: the status that is a success, or a collection or range of them; ``None`` for any status, and not
        to wait. Default: 200.
    """

    params: Params | None
    headers: Fields | None
    json: object
    data: object
    files: object
    stream: bool
    success: Success


@lists(ClientOptions)
class Client:
    """Base class for clients of REST services: the methods of a client call the verbs of this class.

    >>> from napixclient.rest import Client
    >>> class Captains(Client):
    ...     def list(self):
    ...         return self.get('/captains').json
    >>> Captains('http://server.example').list()
    ['/captains/1', '/captains/2']

    A call leaves no state in the client, so any number of greenlets may use it. Like a :class:`napixclient.Client`, it
    belongs to the thread and the process that made it.

    :param endpoint_url: where the service is, ``https://host:port/some/api``; paths are joined to it. On a Unix socket
        ``unix:///run/x.sock``, or with a path ``http+unix://%2Frun%2Fx.sock/some/api``.
    :param token: sent with each call as ``X-Auth-Token``.
    :param authenticator: as for :class:`napixclient.Client`: a callable ``Request -> Request``,
        ``{'login': …, 'key': …}``, or ``None``. It may be combined with a token.
    :param base_headers: fields for every call that does not set them itself.
    :param max_concurrency: calls in flight at most, or ``'auto'`` to learn from the answers how many the service can
        take, from 2 to 64.
    :param log_bodies: log bodies too, where calls are logged.
    :param options: those of :class:`ClientOptions`:
    :raises ValueError: if the endpoint, the token, a field or an option is invalid.
    :raises TypeError: if there is no such option.
    """

    def __init__(
        self,
        endpoint_url: str,
        token: str | None = None,
        *,
        authenticator: Credentials | None = None,
        base_headers: Fields | None = None,
        max_concurrency: Simultaneous = 10,
        log_bodies: bool = False,
        **options: Unpack[ClientOptions],
    ) -> None:
        for name, ours in ('headers', 'base_headers'), ('simultaneous', 'max_concurrency'):
            if name in options:
                raise TypeError(f'{name} is called {ours} here')
        refuse_unknown(Client, options, ClientOptions.__optional_keys__)
        self._endpoint = endpoint_of(endpoint_url)
        #: Where the service is, as it was given.
        self.endpoint_url = endpoint_url
        self._max_concurrency = count_or_auto(max_concurrency, 'max_concurrency')
        self._log_bodies = log_bodies
        fields = dict(fields_of(base_headers or ()))
        if token is not None:
            fields = {name: value for name, value in fields.items() if name.lower() != 'x-auth-token'}
            fields['X-Auth-Token'] = _token(token)
        self._options = options
        self._core = Core(self._endpoint.host, authenticator, max_concurrency, headers=fields, **options)
        self._errors = ErrorFactory(self._error_class, (self._core.authenticator, self._core.settings))
        self._limits = local()

    # -- verbs -----------------------------------------------------------------------------------------------------

    def get(self, path: str = '', **options: Unpack[VerbOptions]) -> Response:
        """``GET``; see :meth:`request`."""
        return self.request('GET', path, **options)

    def head(self, path: str = '', **options: Unpack[VerbOptions]) -> Response:
        """``HEAD``; see :meth:`request`."""
        return self.request('HEAD', path, **options)

    def post(self, path: str = '', **options: Unpack[VerbOptions]) -> Response:
        """``POST``; see :meth:`request`."""
        return self.request('POST', path, **options)

    def put(self, path: str = '', **options: Unpack[VerbOptions]) -> Response:
        """``PUT``; see :meth:`request`."""
        return self.request('PUT', path, **options)

    def patch(self, path: str = '', **options: Unpack[VerbOptions]) -> Response:
        """``PATCH``; see :meth:`request`."""
        return self.request('PATCH', path, **options)

    def delete(self, path: str = '', **options: Unpack[VerbOptions]) -> Response:
        """``DELETE``; see :meth:`request`."""
        return self.request('DELETE', path, **options)

    def options(self, path: str = '', **options: Unpack[VerbOptions]) -> Response:
        """``OPTIONS``; see :meth:`request`."""
        return self.request('OPTIONS', path, **options)

    def copy(self, path: str = '', **options: Unpack[VerbOptions]) -> Response:
        """``COPY`` (RFC 4918 §9.8); see :meth:`request`."""
        return self.request('COPY', path, **options)

    def move(self, path: str = '', **options: Unpack[VerbOptions]) -> Response:
        """``MOVE`` (RFC 4918 §9.9); see :meth:`request`."""
        return self.request('MOVE', path, **options)

    @lists(FormOptions)
    def request(
        self,
        method: str,
        path: str = '',
        *,
        params: Params | None = None,
        headers: Fields | None = None,
        json: object = None,
        data: object = None,
        success: Success = 200,
        **options: Unpack[FormOptions],
    ) -> Response:
        """Make a call, and wait for its answer.

        :param path: joined to the endpoint with one slash; ``''`` is the endpoint itself. All characters are data,
            ``%``, ``?`` and ``#`` too.
        :param params: a mapping or pairs for the query; a value is a text, bytes or a number, or a list of these.
        :param headers: a mapping or pairs; they replace the client's own fields of these names.
        :param json: any value, which is sent as JSON, with that Content-Type if ``headers`` has none.
        :param data: a mapping or a list of pairs, which is sent as a form; or sent as it is: a text (as UTF-8), bytes,
            a file, or an iterable of bytes.
        :param success: the status that means success, or a collection or range of statuses. ``None`` accepts any
            status and does not wait: the response is lazy.
        :param options: those of any request:
        :raises ClientError: if the status is another one, or there is no answer.
        :raises ValueError: if a part of the call cannot be sent as it is; nothing is sent then.
        :raises TypeError: if there is no such option.
        """
        if success.__class__ is not int and success is not None:
            _check_success(success)
        if options and not FormOptions.__optional_keys__.issuperset(options):
            refuse_unknown(Client.request, options, FormOptions.__optional_keys__)
        fields = None if headers is None else fields_of(headers)
        files = given_files(options.pop('files', None))
        if files is not None:
            options['multipart'] = _multipart(json, data, files, options)
            data = None
        elif json is not None or data is not None:
            data, fields = _body(json, data, fields)
        return self._call(method, self._target(path, params), data, fields, success, options)

    def _target(self, path: str, params: Params | None) -> str:
        """Path and query as they go on the request line."""
        endpoint = self._endpoint
        if path == '':
            target = endpoint.path
        else:
            quoted = quoted_path(path)
            target = f'{endpoint.prefix}{quoted}' if quoted[0] == '/' else f'{endpoint.prefix}/{quoted}'
        if params:
            query = query_of(params)
            if query:
                return f'{target}?{query}'
        return target

    def _call(
        self, method: str, target: str, body: Any, fields: Any, success: Success, options: Mapping[str, Any]
    ) -> Response:
        core = self._core
        pending = (
            core.submit(method, target, body, fields, **options)
            if options
            else core.send(plain_request(core.host, method, target, body, fields))
        )
        if send.isEnabledFor(DEBUG):
            log_request(pending.request, core.settings, core.authenticator, self._log_bodies)
        if success is None:
            if recv.isEnabledFor(DEBUG):
                log_outcome_later(pending, self._log_bodies)
            return Response(pending, self._errors)
        try:
            answer = answered(pending, self._errors)
        except BaseException:
            pending.cancel()
            raise
        finally:
            if recv.isEnabledFor(DEBUG) and (outcome := pending.value or pending.exception) is not None:
                log_outcome(pending.request, outcome, self._log_bodies)
        response = Response(None, self._errors, answer)
        if answer.status == success if isinstance(success, int) else answer.status in success:
            return response
        if isinstance(answer, StreamedResponse):  # which may never end: the error is not to read it
            answer.close()
            response = Response(None, self._errors, messages.Response.from_response(answer, b''))
        raise self._errors.refused(response)

    @classmethod
    def _error_class(cls, status: int) -> type[ClientError]:
        """The class of the error for a status, 0 without an answer. A subclass may override it."""
        return ClientError

    # -- side by side ----------------------------------------------------------------------------------------------

    def async_run(
        self,
        method: Callable[..., _T],
        kwarg_list: Iterable[Mapping[str, object]],
        *,
        max_concurrency: Simultaneous | None = None,
        return_errors: bool = False,
    ) -> list[_T]:
        """Call a method many times, side by side in greenlets; return the results in the order of ``kwarg_list``.

        :param method: called once for each member of ``kwarg_list``, with these keywords.
        :param max_concurrency: calls at a time in this run, or ``'auto'`` to learn how many; by default the client's,
            which bounds its requests in any case.
        :param return_errors: return an error instead of the result. Otherwise the first error is raised, after the
            calls under way are cancelled.
        :raises ValueError: if ``max_concurrency`` is invalid.
        :raises TypeError: if a member of ``kwarg_list`` is not a mapping.
        """
        allowance = Allowance(
            self._max_concurrency if max_concurrency is None else count_or_auto(max_concurrency, 'max_concurrency'),
            self._max_concurrency,
        )
        return run_all(method, kwarg_list, allowance, return_errors)

    def _init_thread_limit(self, limit: int | None = None) -> None:
        """Start to learn how many threads are best for this greenlet.

        :param limit: how many to start with.
        """
        if limit is not None:
            whole_number(limit, 'limit')
        self._limits.allowance = Allowance('auto', self._max_concurrency, limit)

    def _watch_thread_limit(self, threads: Sequence[SilentEvent[_T]]) -> list[SilentEvent[_T]]:
        """Wait until one more thread may run, and return the threads that still run.

        :param threads: the threads that were started, without those that had ended at the last call.
        """
        if not hasattr(self._limits, 'allowance'):
            self._init_thread_limit()
        return still_running(self._limits.allowance, threads)

    # -- ends ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Cancel what is under way and close the connections. May be called again."""
        self._core.close()

    def __enter__(self: _T) -> _T:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f'<{type(self).__name__} {self.endpoint_url}: {self._core!r}>'


class Follower:
    """Follows the links in the answers of a client's service.

    Once a link has led to another origin, no token, authenticator or secret field is sent any more.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._stranger: Client | None = None  # asks the other origin

    def follow(self, host: str, target: str, options: Mapping[str, object]) -> Response:
        """GET the target of a link.

        :param target: path and query as they go on the request line.
        :param options: as :meth:`Client.request` takes them; ``params`` are left to the link.
        """
        origin = parse_origin(host)
        left: dict[str, Any] = {**options}
        headers, success = left.pop('headers', None), left.pop('success', 200)
        fields: Any = None if headers is None else fields_of(headers)
        if self._stranger is None and origin == self._client._core.origin:
            return self._client._call('GET', target, None, fields, success, left)
        if self._stranger is None or origin != self._stranger._core.origin:
            self.close()
            self._stranger = self._client_of(host)
        if fields is not None:
            fields = without_credentials(Headers(fields))
        return self._stranger._call('GET', target, None, fields, success, left)

    def broken(self, message: str, response: Response) -> ClientError:
        """The error for an answer that cannot be used.

        :param message: why.
        """
        return self._client._errors.broken(message, response)

    def close(self) -> None:
        """Close the connections to another origin."""
        stranger, self._stranger = self._stranger, None
        if stranger is not None:
            stranger.close()

    def _client_of(self, host: str) -> Client:
        """A client of the same kind for another origin, which does not learn who asks."""
        ours = self._client
        stranger = Client(
            host,
            base_headers=without_credentials(ours._core.settings.headers),
            max_concurrency=ours._max_concurrency,
            log_bodies=ours._log_bodies,
            **ours._options,
        )
        stranger._errors = ours._errors
        return stranger


def _token(token: object) -> str:
    if not isinstance(token, str) or not token:
        raise ValueError('token is a text that is not empty, or None')
    return value_of('X-Auth-Token', token)


def _check_success(success: object) -> None:
    if (
        isinstance(success, bool)
        or not isinstance(success, (int, Collection))
        or isinstance(success, (str, bytes))
        or (not isinstance(success, (int, range)) and not all(isinstance(one, int) for one in success))
    ):
        raise ValueError(f'success is a status such as 200, a collection or range of them, or None, not {success!r}')


def _body(
    json: object, data: object, fields: list[tuple[str, str]] | None
) -> tuple[object, list[tuple[str, str]] | None]:
    """The body of a call, and its fields."""
    if json is None and not is_form(data):
        return data, fields
    if json is not None and data is not None:
        raise ValueError('json and data exclude each other')
    body, field = (form_of(data), _FORM) if json is None else (dump_json(json, 'json'), _JSON)
    if fields is None:
        return body, [field]
    if not any(name.lower() == 'content-type' for name, _ in fields):
        fields.append(field)
    return body, fields


def _multipart(json: object, data: object, files: object, options: CallOptions) -> list[tuple[str, Any]]:
    if json is not None or options.get('multipart') is not None:
        raise ValueError(f'{"multipart" if json is None else "json"} and files exclude each other')
    return multipart_of(data, files)
