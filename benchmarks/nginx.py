"""The server: an nginx of our own on loopback, in a temporary directory, pinned to one core."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.processes import end, pinned
from benchmarks.work import HEADER, addresses

# One address a line instead of a wildcard: nothing outside this machine can reach it. $server_addr in the body
# lets the contenders check that an answer belongs to its request; the body is 58 to 60 bytes long.
CONFIG = """\
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{
    worker_connections {connections};
}}
http {{
    access_log off;
    default_type application/json;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    tcp_nodelay on;
    client_body_temp_path {directory};
    proxy_temp_path {directory};
    fastcgi_temp_path {directory};
    uwsgi_temp_path {directory};
    scgi_temp_path {directory};
    server {{
{listen}
        add_header {header} $request_id;
        return 200 '{{"name":"hypervisor","cpus":8,"free":8,"host":"$server_addr"}}';
    }}
}}
"""


class NginxMissing(Exception):
    """There is no nginx on this machine."""


def executable() -> str:
    """The path of nginx. Debian keeps it in /usr/sbin, which is not on everybody's PATH."""
    path = shutil.which('nginx') or shutil.which('nginx', path='/usr/sbin:/usr/local/sbin')
    if path is None:
        raise NginxMissing('nginx is not installed: the benchmark needs it (apt install nginx-light)')
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


@contextmanager
def nginx(hosts: int, core: int) -> Iterator[int]:
    """Run an nginx that answers on the first `hosts` loopback addresses; yields the port."""
    path = executable()
    port = free_port()
    with tempfile.TemporaryDirectory(prefix='benchmark-nginx-') as name:
        directory = Path(name)
        listen = '\n'.join(f'        listen {address}:{port};' for address in addresses(hosts))
        # Every listener counts as a connection too.
        connections = max(1024, 3 * hosts + 512)
        config = CONFIG.format(directory=directory, listen=listen, header=HEADER, connections=connections)
        (directory / 'nginx.conf').write_text(config)
        command = [path, '-p', name, '-c', str(directory / 'nginx.conf'), '-e', str(directory / 'error.log')]
        with pinned(core):
            server = subprocess.Popen(command, stdin=subprocess.DEVNULL, text=True)
        try:
            wait_until_up(server, addresses(hosts)[-1], port, directory / 'error.log')
            yield port
        finally:
            end(server)


def wait_until_up(server: subprocess.Popen[str], address: str, port: int, log: Path, patience: float = 20.0) -> None:
    """Return when nginx accepts connections; RuntimeError if it has ended, or has not begun after `patience` s."""
    give_up = time.monotonic() + patience
    while time.monotonic() < give_up:
        if server.poll() is not None:
            break
        try:
            socket.create_connection((address, port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f'nginx did not start:\n{log.read_text() if os.path.exists(log) else ""}')
