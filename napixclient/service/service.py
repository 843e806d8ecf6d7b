"""The service, assembled from its parts."""

from __future__ import annotations

import importlib
import logging
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic
from typing import Any

import gevent

from .._options import refuse_unknown
from ..allow import Allow
from ..masking import mask
from ..profiles import authenticator_of_profile, read_profile
from ..secret_names import add_secret_names
from ..wsgi import ExceptionsCatcher
from ..wsgi.environ import App, Environ, StartResponse
from .access import Credentials, HostCheck, is_loopback
from .again_api import AgainApi
from .api import Api
from .cluster_api import ClusterApi
from .database import StoreError, open_database
from .flight import Cluster
from .framing import BadBody
from .lease import RENEW_SECONDS
from .metrics import Metrics
from .nonces import KeptNonces
from .page import Page
from .runs import Runs
from .saga_api import SagaApi
from .saga_store import SagaStore
from .sagas import Sagas
from .store import Store
from .watching import Heartbeat

__all__ = ['Config', 'Service', 'create_app', 'load_app', 'read_secret']

log: logging.Logger = logging.getLogger('napixclient.service')
#: Seconds between two looks for runs that are to be forgotten.
SWEEP_EVERY = 600.0


@dataclass(frozen=True)
class Config:
    """How the service is run; the options of ``napix serve``. Times in seconds, sizes in bytes.

    :param host: the address that is listened on.
    :param names: further values of ``Host`` that are served.
    :param mounts: path → WSGI application.
    :param profile: the profile of the configuration whose credentials sagas show to servers.
    :param via: the broker of a cluster whose workers ask; ``via_key``, ``zone`` and ``lanes`` are of it.
    :param secret_names: further names of fields, parameters and members whose values are neither kept nor shown.
    :raises ValueError: for what makes no sense, or is not safe.
    """

    store: str
    host: str = '127.0.0.1'
    allow: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    token: str | None = None
    login: str | None = None
    key: str | None = None
    mounts: tuple[tuple[str, App], ...] = ()
    header_timeout: float = 10.0
    slow_timeout: float = 10.0
    ping_every: float = 20.0
    ping_timeout: float = 40.0
    drain_timeout: float = 10.0
    max_body: int = 16 << 20
    max_requests: int = 100_000
    max_runs: int = 20
    max_connections: int = 1000
    max_answer: int = 1 << 20
    connections_per_run: int | None = None
    keep_days: float = 30.0
    keep_bytes: int = 1 << 30
    secret_names: tuple[str, ...] = ()
    profile: str | None = None
    via: str | None = None
    via_key: str | None = None
    zone: str | None = None
    lanes: int | None = None

    def __post_init__(self) -> None:
        add_secret_names(self.secret_names)
        if (self.login is None) is not (self.key is None):
            raise ValueError('--login and --key go together')
        if self.token == '' or self.login == '' or self.key == '':
            raise ValueError('--token, --login and --key must not be empty')
        if not self.guarded and not is_loopback(self.host):
            raise ValueError(f'{self.host} can be reached from elsewhere: give --token @FILE, or --login and --key')

        for name in ('via_key', 'zone', 'lanes'):
            if getattr(self, name) is not None and self.via is None:
                flag = name.replace('_', '-')
                raise ValueError(f'--{flag} is of a cluster: name its broker with --via URL')

    @property
    def guarded(self) -> bool:
        """Whether callers must prove who they are."""
        return self.token is not None or self.login is not None


class Service:
    """The application, and what goes on behind it. Make it in the process that serves, after any fork.

    :raises StoreError: when the store cannot be opened.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        allow = Allow(config.allow, loopback=is_loopback(config.host))
        self.metrics: Metrics = Metrics()
        via = _via_of(config)
        database = open_database(config.store)
        self._store = Store(database, uuid.uuid4().hex)
        self.runs: Runs = Runs(
            self._store,
            allow,
            max_runs=config.max_runs,
            max_answer=config.max_answer,
            connections_of_run=config.connections_per_run,
            metrics=self.metrics,
            via=via,
        )
        self.sagas: Sagas = _sagas_of(config, SagaStore(database, self._store.owner), allow, self.runs)
        page = Page()
        self._api = api = Api(
            self.runs,
            page,
            max_body=config.max_body,
            max_requests=config.max_requests,
            slow_seconds=config.slow_timeout,
            heartbeat=Heartbeat(config.ping_every, config.ping_timeout),
            metrics=self.metrics,
        )
        api.add_routes(
            [*SagaApi(self.sagas, api).routes, *AgainApi(self.runs, api).routes, *ClusterApi(via, api).routes]
        )
        app: App = _Mounts(api, dict(config.mounts)) if config.mounts else api
        if config.guarded:
            app = _guarded(app, config, page, KeptNonces(database))
        #: The WSGI application.
        self.app: ExceptionsCatcher = ExceptionsCatcher(
            HostCheck(app, config.host, config.names), statuses={StoreError: 503, BadBody: 400}
        )
        self._greenlets: list[Any] = []
        self._failing: set[str] = set()  # what is looked after, and does not go well

    def start(self) -> None:
        """Go on with what was left, and begin to look after the store."""
        self._try('taking over', self.runs.take_over)
        self._try('taking over sagas', self.sagas.take_over)
        self._greenlets = [
            gevent.spawn(self._look_after, *what)
            for what in (
                (RENEW_SECONDS, 'renewing', self.runs.renew),
                (RENEW_SECONDS, 'taking over', self.runs.take_over),
                (RENEW_SECONDS, 'renewing sagas', self.sagas.renew),
                (RENEW_SECONDS, 'taking over sagas', self.sagas.take_over),
                (SWEEP_EVERY, 'forgetting', self._sweep),
            )
        ]

    def _look_after(self, seconds: float, what: str, work: Callable[[], None]) -> None:
        while True:
            self._try(what, work)
            gevent.sleep(seconds)

    def _try(self, what: str, work: Callable[[], None]) -> None:
        """Do it; that the store fails is logged when it begins to, and no more until it has not."""
        try:
            work()
            self._failing.discard(what)
        except StoreError as exc:
            if what not in self._failing:
                log.error('the store fails at %s: %s', what, mask(str(exc)))
            self._failing.add(what)
        except Exception:
            log.exception('the store could not be looked after')

    def _sweep(self) -> None:
        count = self._store.sweep(self.config.keep_days * 86400, self.config.keep_bytes)
        self.sagas.store.sweep(self.config.keep_days * 86400)
        if count:
            log.info('%d old runs were forgotten', count)

    def drain(self) -> None:
        """Take no new runs, and let those under way finish, for as long as is configured."""
        self.sagas.draining = True
        began = monotonic()
        self.runs.drain(self.config.drain_timeout)
        self.sagas.drain(max(self.config.drain_timeout - (monotonic() - began), 0))

    def close(self) -> None:
        """End everything. What is not finished goes on at the next start."""
        gevent.killall(self._greenlets)
        self.runs.stop()
        self.sagas.stop()
        self._api.close()
        self._store.close()


def _via_of(config: Config) -> Cluster | None:
    """The cluster that asks, if one does.

    :raises ValueError: for what makes no sense, and where the extra is not installed.
    """
    if config.via is None:
        return None
    try:
        from .via import Via
    except ImportError as exc:
        raise ValueError(f"--via needs {exc.name}: pip install 'napixclient[cluster]'") from exc
    return Via(config.via, config.via_key, config.zone, config.lanes, config.max_answer)


def _sagas_of(config: Config, store: SagaStore, allow: Allow, runs: Runs) -> Sagas:
    profile = config.profile
    authenticator = None if profile is None else authenticator_of_profile(read_profile(profile))
    return Sagas(store, allow, runs.open_pool, authenticator, config.max_runs)


def _guarded(app: App, config: Config, page: Page, nonces: KeptNonces) -> Credentials:
    keys = {} if config.login is None or config.key is None else {config.login: config.key}
    return Credentials(app, config.token, keys, lambda path: path == '/healthz' or path in page, nonces)


class _Mounts:
    """Other applications below paths of their own."""

    def __init__(self, app: App, mounts: dict[str, App]) -> None:
        self._app = app
        self._mounts = mounts

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get('PATH_INFO', '')
        for prefix, app in self._mounts.items():
            if path == prefix or path.startswith(f'{prefix}/'):
                environ['SCRIPT_NAME'] = environ.get('SCRIPT_NAME', '') + prefix
                environ['PATH_INFO'] = path[len(prefix) :]
                environ.pop('napix.session', None)
                return app(environ, start_response)
        return self._app(environ, start_response)


def create_app(*, token: str | None = None, key: str | None = None, **options: Any) -> App:
    """The application, for a server of one's own: gunicorn with :class:`napixclient.service.gunicorn.Worker`.

    Call it in the process that serves, once. By default runs may ask this machine and nobody else.

    :param token: as ``napix serve --token``; ``@FILE`` reads it from a file. So does ``key``.
    :param options: those of :class:`Config`; ``store`` is needed.
    :raises ValueError: for what makes no sense; ``StoreError`` where the store cannot be opened.
    :raises TypeError: for an option that there is not.
    """
    refuse_unknown(create_app, options, frozenset(Config.__dataclass_fields__))
    service = Service(Config(token=read_secret(token), key=read_secret(key), **options))
    service.start()
    return service.app


def read_secret(value: str | None) -> str | None:
    """What is given, or the content of the file that is named with ``@``.

    :raises ValueError: when the file cannot be read.
    """
    if value is None or not value.startswith('@'):
        return value
    try:
        with open(value[1:], encoding='utf-8') as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else 'it is not a text in UTF-8'
        raise ValueError(f'cannot read {value[1:]}: {reason}') from exc


_OURS = ('runs', 'sagas', 'cluster', 'healthz', 'metrics', 'openapi.json')


def load_app(text: str) -> tuple[str, App]:
    """Read ``/path=module:app`` and import the application.

    :raises ValueError: for another form, a path of ours, or what cannot be imported or called.
    """
    prefix, _, target = text.partition('=')
    module, _, name = target.partition(':')
    if not prefix.startswith('/') or prefix.endswith('/') or not module or not name:
        raise ValueError(f'not /PATH=MODULE:APP: {text!r}')
    if prefix.split('/')[1] in _OURS:
        raise ValueError(f'{prefix} is a path of the service itself')
    try:
        app: Any = importlib.import_module(module)
        for part in name.split('.'):
            app = getattr(app, part)
    except (ImportError, AttributeError) as exc:
        raise ValueError(f'cannot mount {target}: {exc}') from exc
    if not callable(app):
        raise ValueError(f'cannot mount {target}: it is no WSGI application')
    return prefix, app
