"""What all tests share: a bound on each test's time, the oracle, an authority for TLS, hypothesis' profiles."""

from __future__ import annotations

import gc
import os
import resource
import socket
from collections.abc import Iterator

import gevent
import gevent.subprocess
import hypothesis
import pytest

from tests import kit

TEST_SECONDS = 60
GAP = 0.1  # seconds that the hub may be held

# The same examples in every run under CI; a failure prints how to get its example again.
hypothesis.settings.register_profile('default', deadline=None, database=None, print_blob=True)
hypothesis.settings.register_profile('ci', hypothesis.settings.get_profile('default'), derandomize=True)
hypothesis.settings.load_profile('ci' if os.environ.get('CI') else 'default')


def pytest_report_header() -> str:
    """Say in which kind of process this run is."""
    return f'gevent {gevent.__version__}, process {"patched" if kit.is_patched() else "not patched"}'


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
