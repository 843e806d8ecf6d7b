"""Installs the real servers under .zaqar/: `python tests/zaqar/install.py`. Nothing outside that directory changes.

One virtual environment has Zaqar 23 (v2 of its API), Keystone 30 and python-zaqarclient; what Zaqar 19 (v1, v1.1) needs
in other versions lies beside it, and goes before it on the path. Redis is the one on the PATH, or Debian's package,
unpacked and not installed. What is installed already is left as it is.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent
CONSTRAINTS = HERE / 'constraints.txt'
INSTALLED = HERE.parent.parent / '.zaqar'
PYTHON = INSTALLED / 'venv/bin/python'
#: In front of what the virtual environment has, for Zaqar 19.
OLD = INSTALLED / 'zaqar-19'
REDIS = INSTALLED / 'redis'
STAMP = INSTALLED / 'installed'

NEW_PACKAGES = ['zaqar', 'keystone', 'redis', 'gunicorn', 'kombu', 'python-zaqarclient']
OLD_PACKAGES = ['zaqar==19.0.0', 'falcon==3.1.3', 'SQLAlchemy==2.0.58', 'redis==5.3.1']


def redis() -> tuple[str, str]:
    """The program, and where its libraries are."""
    found = shutil.which('redis-server', path=f'{os.environ["PATH"]}:/usr/sbin')
    if found:
        return found, ''
    libraries = ':'.join(sorted({str(path.parent) for path in REDIS.rglob('*.so*')}))
    return str(REDIS / 'usr/bin/redis-server'), libraries


def fingerprint() -> str:
    """Of what is to be installed."""
    return hashlib.sha256(CONSTRAINTS.read_bytes() + Path(__file__).read_bytes() + sys.version.encode()).hexdigest()


def installed() -> bool:
    """Whether everything is there."""
    return STAMP.exists() and STAMP.read_text() == fingerprint() and Path(redis()[0]).exists()


def install() -> None:
    """Install what is not there yet."""
    if installed():
        return
    shutil.rmtree(INSTALLED, ignore_errors=True)
    INSTALLED.mkdir()
    if not shutil.which('redis-server', path=f'{os.environ["PATH"]}:/usr/sbin'):
        unpack_redis()
    venv.create(INSTALLED / 'venv', with_pip=True)
    # One after the other: two pips beside each other take turns for the same cache.
    pip('-c', CONSTRAINTS, *NEW_PACKAGES)
    pip('--no-deps', '--target', OLD, *OLD_PACKAGES)
    STAMP.write_text(fingerprint())


def pip(*arguments: object) -> None:
    """Install packages, without a word unless it fails."""
    done = subprocess.run(
        [PYTHON, '-m', 'pip', '--disable-pip-version-check', 'install', '--quiet', *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        sys.exit(f'{done.stdout}\npip could not install {arguments}')


def unpack_redis() -> None:
    """Debian's package and what it needs, without the rights to install it, and without a service that it starts."""
    if not shutil.which('apt-get'):
        sys.exit('redis-server is missing: install Redis')
    REDIS.mkdir()
    said = download_redis()
    if said and os.getuid() == 0:  # a machine that has not looked for packages, or not lately
        apt('update')
        said = download_redis()
    if said:
        sys.exit(f'{said}\nredis-server is missing, and could not be downloaded: apt install redis-server')
    for package in sorted(REDIS.glob('*.deb')):
        subprocess.run(['dpkg-deb', '--extract', package, REDIS], check=True)
        package.unlink()


def download_redis() -> str:
    """Download the packages that are missing; what apt-get says if it cannot."""
    planned = apt('--simulate', '--no-install-recommends', 'install', 'redis-server')
    names = re.findall(r'^Inst (\S+)', planned.stdout, re.MULTILINE)
    done = planned if planned.returncode or not names else apt('download', *names, directory=REDIS)
    return done.stdout if done.returncode else ''


def apt(*arguments: str, directory: Path = HERE) -> subprocess.CompletedProcess[str]:
    """Run apt-get."""
    # As root it would hand the download to a user of its own, who may not write here.
    options = ['-o', 'APT::Sandbox::User=root', '-q']
    return subprocess.run(
        ['apt-get', *options, *arguments],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, 'LC_ALL': 'C'},
    )


if __name__ == '__main__':
    install()
