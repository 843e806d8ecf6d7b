"""Installs the servers: `python -m tests.servers.install [--quick]`. As root by apt-get; those of Python into .servers/.

What cannot be installed is no failure: its rows say that it is not there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = ROOT / '.servers'
PYTHON = INSTALLED / 'venv/bin/python'
#: By Debian's package: what it is looked for by.
PACKAGES = {
    'nginx-light': 'nginx',
    'haproxy': 'haproxy',
    'apache2-bin': 'apache2',
    'tinyproxy': 'tinyproxy',
    'microsocks': 'microsocks',
    'lighttpd': 'lighttpd',
    'varnish': 'varnishd',
    'caddy': 'caddy',
    'squid': 'squid',
    'dante-server': 'danted',
    'nodejs': 'node',
    'golang-go': 'go',
    'tomcat10': '/usr/share/tomcat10/bin/bootstrap.jar',
    'jetty9': '/usr/share/jetty9/start.jar',
    'default-jdk-headless': 'javac',
}
#: Those of the quick run.
QUICK = ('nginx-light', 'haproxy', 'apache2-bin', 'tinyproxy', 'microsocks')
OF_PYTHON = (
    *('gunicorn', 'gevent', 'uvicorn', 'httptools', 'hypercorn', 'granian', 'waitress', 'cheroot', 'twisted'),
    *('aiohttp', 'werkzeug', 'django', 'pycurl'),
)
QUICK_OF_PYTHON = ('gunicorn', 'uvicorn', 'httptools', 'aiohttp', 'pycurl')


def found(program: str) -> str | None:
    """The path of a program or file; Debian keeps servers in /usr/sbin, which is not on everybody's PATH."""
    if program.startswith('/'):
        return program if os.path.exists(program) else None
    return shutil.which(program, path=f'{os.environ.get("PATH", os.defpath)}:/usr/sbin:/sbin')


def install(quick: bool) -> None:
    """Install what is missing and can be had."""
    _install_packages([name for name in (QUICK if quick else PACKAGES) if not found(PACKAGES[name])])
    _install_of_python(QUICK_OF_PYTHON if quick else OF_PYTHON)


def _install_packages(missing: list[str]) -> None:
    if not missing:
        return
    if os.getuid() or not shutil.which('apt-get'):
        print(f'not installed: {" ".join(missing)} (as root this would install them by apt-get)')
        return
    # Debian starts what it installs, on ports that may be in use: nothing of that is wanted, and no failure of it counts.
    environment = {**os.environ, 'DEBIAN_FRONTEND': 'noninteractive', 'RUNLEVEL': '1'}
    said = _run(['apt-get', 'update', '-qq'], environment)
    for package in missing:
        said = _run(['apt-get', 'install', '-y', '-qq', '--no-install-recommends', package], environment)
        if said:
            print(f'not installed: {package}: {said}')


def _install_of_python(packages: tuple[str, ...]) -> None:
    stamp = INSTALLED / 'installed'
    wanted = hashlib.sha256(f'{packages} {sys.version}'.encode()).hexdigest()
    complete = hashlib.sha256(f'{OF_PYTHON} {sys.version}'.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() in (wanted, complete):
        return
    if not PYTHON.exists():
        shutil.rmtree(INSTALLED, ignore_errors=True)
        venv.create(INSTALLED / 'venv', with_pip=True)
    pip = [str(PYTHON), '-m', 'pip', '--disable-pip-version-check', 'install', '--quiet']
    if _run([*pip, *packages]):
        for package in packages:  # one that cannot be had leaves the others
            said = _run([*pip, package])
            if said:
                print(f'not installed: {package}: {said}')
    stamp.write_text(wanted)


def _run(command: list[str], environment: dict[str, str] | None = None) -> str:
    """The last line of what a command says, '' where it succeeds."""
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return (done.stdout.strip().rpartition('\n')[2] or 'it failed') if done.returncode else ''


if __name__ == '__main__':
    install('--quick' in sys.argv[1:])
