"""What all tests share: a bound on each test's time, the oracle, an authority for TLS, hypothesis' profiles."""

from __future__ import annotations

import gc
import importlib.util
import os
import resource
import signal
import socket
from collections.abc import Generator, Iterator
from typing import Any

import gevent
import gevent.subprocess
import hypothesis
import pytest

from tests import kit

TEST_SECONDS = 60
GAP = 0.1  # seconds that the hub may be held

#: What can be missing where less was installed than `make test` does. Nothing runs without hypothesis and trustme.
OF_EXTRAS = (
    *('backports', 'bottle', 'brotli', 'celery', 'click', 'ClusterShell', 'cryptography', 'django'),
    *('fastapi', 'flask', 'geventwebsocket', 'gunicorn', 'kombu', 'msgpack'),
    *('opentelemetry', 'prometheus_client', 'rich', 'socksio', 'sqlalchemy', 'uvicorn', 'websockets'),
)
ALL_EXTRAS = "pip install -e '.[all,test]' installs them all"

# The same examples in every run under CI; a failure prints how to get its example again.
hypothesis.settings.register_profile('default', deadline=None, database=None, print_blob=True)
hypothesis.settings.register_profile('ci', hypothesis.settings.get_profile('default'), derandomize=True)
hypothesis.settings.load_profile('ci' if os.environ.get('CI') else 'default')


def pytest_report_header() -> list[str]:
    """Say in which kind of process this run is, and what it lacks."""
    header = [f'gevent {gevent.__version__}, process {"patched" if kit.is_patched() else "not patched"}']
    if lacking := [name for name in OF_EXTRAS if importlib.util.find_spec(name) is None]:
        header.append(f'what needs one of these is skipped or fails: {", ".join(lacking)}; {ALL_EXTRAS}')
    return header


class SkipWhatIsMissing:
    """Skips modules and directories that import a package of an extra that is not installed, and says how to have it.

    It is a plugin, as the hooks of a conftest are not called for a directory whose own conftest cannot be imported.
    """

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Generator[None, Any, Any]:
        """Turn that error into a skip, and leave all others."""
        report = yield
        error = report.call.excinfo.value if report.failed else None
        while error is not None and not isinstance(error, ModuleNotFoundError):
            error = error.__cause__ or getattr(error, 'cause', None)
        package = (getattr(error, 'name', None) or '').partition('.')[0]
        if package in OF_EXTRAS:
            report.outcome = 'skipped'
            report.longrepr = str(collector.path), 0, f'Skipped: {package} is not installed; {ALL_EXTRAS}'
        return report


def pytest_configure(config: pytest.Config) -> None:
    """Called by pytest."""
    config.pluginmanager.register(SkipWhatIsMissing())
    if (
        signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    ):  # a shell's `&`: what we start would not hear of Ctrl-C either
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """A test that hangs while the hub turns ends here; faulthandler ends one that holds the hub."""
    with gevent.Timeout(TEST_SECONDS):
        return (yield)


@pytest.fixture(scope='session', autouse=True)
def warm() -> None:
    """Make what gevent makes once (its resolver, its threads, its child watcher), so that it does not look like a leak.

    There is room for a thousand hosts and their servers. What lives by now is taken out of the garbage collector's
    sight, so that its pauses are the library's own.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    gevent.get_hub().resolver.getaddrinfo('localhost', 80, 0, socket.SOCK_STREAM)
    gevent.subprocess.Popen(['true']).wait()
    gc.collect()
    gc.freeze()


@pytest.fixture
def tidy(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Descriptors, greenlets and watchers are given back, and nothing is printed."""
    gc.collect()
    gc.freeze()  # only what this test makes is looked at: a fifth of the time of a run
    before = kit.Leaks.now()
    yield
    before.assert_back()
    assert capfd.readouterr() == ('', '')


@pytest.fixture
def oracle(tidy: None) -> Iterator[kit.Ticker]:
    """What holds for every fault: tidy, and the hub is never held."""
    with kit.Ticker() as ticker:
        yield ticker
    assert ticker.gap < kit.limit(GAP), f'something held the hub for {ticker.gap:.3f} s'


@pytest.fixture(scope='session')
def authority(tmp_path_factory: pytest.TempPathFactory) -> kit.Authority:
    """The certificate authority of this run."""
    return kit.Authority(tmp_path_factory.mktemp('authority'))
