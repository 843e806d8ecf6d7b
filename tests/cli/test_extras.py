"""What is said where the extras are not installed, in environments that are made for it."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from napixclient import __version__
from tests import kit
from tests.cli.programs import environment

#: What the library itself needs, and brings along.
LIBRARY = ('gevent', 'greenlet', 'zope', 'urllib3', 'httptools', 'exceptiongroup', 'typing_extensions.py')


class Fresh:
    """An environment that has this project, and no packages but those that are lent to it."""

    def __init__(self, directory: Path) -> None:
        venv.create(directory, with_pip=False, symlinks=True)
        self.python = directory / 'bin' / 'python'
        version = f'python{sys.version_info[0]}.{sys.version_info[1]}'
        self.packages = directory / 'lib' / version / 'site-packages'
        (self.packages / 'napixclient.pth').write_text(f'{kit.ROOT}\n')

    def lend(self, *names: str) -> None:
        """Let it have these packages of the environment that runs the tests."""
        for name in names:
            package = Path(sysconfig.get_path('platlib')) / name
            if package.exists():  # on some versions of Python some are not needed
                (self.packages / name).symlink_to(package)

    def napix(self, *arguments: str) -> kit.Finished:
        """Run the command as its script does."""
        script = 'import sys; from napixclient.cli import main; sys.exit(main())'
        done = subprocess.run(
            [self.python, '-c', script, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=self.packages,
            env=environment(),
            stdin=subprocess.DEVNULL,
        )
        return kit.Finished(done.returncode, done.stdout, done.stderr)


def line(command: str, missing: str, extra: str) -> str:
    """What is said."""
    return f"napix: {command} needs {missing}, which is not installed: pip install 'napixclient[{extra}]'\n"


@pytest.mark.parametrize('lent', [(), LIBRARY], ids=['nothing at all', 'the library'])
def test_without_the_command(lent: tuple[str, ...], tmp_path: Path) -> None:
    """Without the extra there is one line that says what to install, whatever was asked; no traceback."""
    fresh = Fresh(tmp_path / 'fresh')
    fresh.lend(*lent)
    for arguments in (['--version'], ['--help'], ['get', 'a', '/'], ['demo'], ['completion', 'bash'], []):
        code, out, err = fresh.napix(*arguments)
        missing = 'gevent' if not lent and arguments in (['get', 'a', '/'], ['demo'], []) else 'click'
        assert (code, out, err) == (2, '', line('napix', missing, 'cli')), arguments
    for command, extra in ('serve', 'service'), ('worker', 'cluster'), ('cluster', 'cluster'):
        code, out, err = fresh.napix(command)
        assert (code, out, err) == (2, '', line(f'napix {command}', 'click' if lent else 'gevent', extra))


def test_without_the_service(tmp_path: Path) -> None:
    """The command alone does what it can, and says what else a command of it needs."""
    fresh = Fresh(tmp_path / 'fresh')
    fresh.lend(*LIBRARY, 'click')
    assert fresh.napix('--version') == (0, f'napix {__version__}\n', '')
    assert fresh.napix('get', 'http://127.0.0.1:1/').code == 3
    for command, missing, extra in (
        ('serve', 'geventwebsocket', 'service'),
        ('worker', 'celery', 'cluster'),
        ('cluster', 'celery', 'cluster'),
    ):
        for words in [command], [command, '--help'], ['help', command]:
            assert fresh.napix(*words) == (2, '', line(f'napix {command}', missing, extra))
    assert fresh.napix('get', '@web', '/') == (2, '', line('napix', 'ClusterShell', 'cli'))
