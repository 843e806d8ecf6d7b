"""The server: an nginx of our own on loopback, in a temporary directory, pinned to one core."""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.processes import end, pinned
from benchmarks.work import HEADER, addresses

#: How each configuration begins: nginx stays in the foreground, and writes to a directory of its own.
PREAMBLE = """\
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
"""
#: Within http: the same directory for its temporary files.
TEMPORARY = """\
    client_body_temp_path {directory};
    proxy_temp_path {directory};
    fastcgi_temp_path {directory};
    uwsgi_temp_path {directory};
    scgi_temp_path {directory};
"""
# One address a line instead of a wildcard: nothing outside this machine can reach it. $server_addr in the body
# lets the contenders check that an answer belongs to its request; the body is 58 to 60 bytes long.
CONFIG = (
    PREAMBLE
    + """\
events {{
    worker_connections {connections};
}}
http {{
{keeping}    default_type application/json;
    tcp_nodelay on;
    sendfile on;
"""
    + TEMPORARY
    + """\
    add_header {header} $request_id;
{servers}
}}
"""
)
KEPT = """\
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
"""
#: Each connection ends with its answer; and a line for each request tells whether a session of TLS was resumed.
CLOSED = """\
    log_format resumed $ssl_session_reused;
    access_log {log} resumed;
    keepalive_timeout 0;
"""
SERVER = """\
    server {{
{lines}
        location / {{
            return 200 '{{"name":"hypervisor","cpus":8,"free":8,"host":"$server_addr"}}';
        }}
        location = {large} {{
            return 200 '{document}';
        }}
        location /bodies/ {{
            root {directory};
        }}
    }}"""
#: The path of a document of some 3 KB: nginx reads no longer parameter.
LARGE = '/large'
#: What a large body begins and ends with.
MARK = b'napix!'
DOCUMENT = json.dumps([{'name': f'vm-{number}', 'state': 'running', 'memory': number << 20} for number in range(60)])


class Server(NamedTuple):
    """Where a server listens, the file of certificates to verify it by ('' without TLS), and where it logs requests."""

    port: int
    ca: str
    log: Path

    def logged(self) -> list[str]:
        """For each request so far `r` where its connection resumed a session of TLS, else `.`; where it logs them."""
        return self.log.read_text().split() if self.log.exists() else []


def body_path(size: int) -> str:
    """The path of a body of so many bytes."""
    return f'/bodies/{size}'


def make_body(path: Path, size: int) -> None:
    """Write a file of so many bytes: zeros between two marks, which take no room on a disk."""
    path.parent.mkdir(exist_ok=True)
    with path.open('wb') as file:
        file.write(MARK)
        file.truncate(size)
        file.seek(-len(MARK), os.SEEK_END)
        file.write(MARK)


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


def _server(lines: str, directory: Path) -> str:
    return SERVER.format(lines=lines, large=LARGE, document=DOCUMENT, directory=directory)


@contextmanager
def nginx(hosts: int, core: int, tls: bool = False, closes: bool = False, body: int = 0) -> Iterator[Server]:
    """Run an nginx that answers on the first `hosts` loopback addresses.

    :param closes: whether each connection ends with its answer.
    :param body: the size of a file that it serves, in bytes.
    """
    path = executable()
    port = free_port()
    with tempfile.TemporaryDirectory(prefix='benchmark-nginx-') as name:
        directory = Path(name)
        servers, ca = with_certificates(directory, hosts, port) if tls else (one_server(directory, hosts, port), '')
        # Every listener counts as a connection too.
        connections = max(1024, 3 * hosts + 512)
        log = directory / 'resumed.log'
        config = CONFIG.format(
            directory=directory,
            servers=servers,
            header=HEADER,
            connections=connections,
            keeping=CLOSED.format(log=log) if closes else KEPT,
        )
        (directory / 'nginx.conf').write_text(config)
        if body:
            make_body(Path(f'{directory}{body_path(body)}'), body)
        command = [path, '-p', name, '-c', str(directory / 'nginx.conf'), '-e', str(directory / 'error.log')]
        with pinned(core):
            server = subprocess.Popen(command, stdin=subprocess.DEVNULL, text=True)
        try:
            wait_until_up(server, addresses(hosts)[-1], port, directory / 'error.log')
            yield Server(port, ca, log)
        finally:
            end(server)


def one_server(directory: Path, hosts: int, port: int) -> str:
    """The configuration of a server that listens on all addresses."""
    return _server('\n'.join(f'        listen {address}:{port};' for address in addresses(hosts)), directory)


def with_certificates(directory: Path, hosts: int, port: int) -> tuple[str, str]:
    """The configuration of servers that speak TLS, each with a certificate of its own; and the file to verify them by.

    Certificates are signed by one authority, keys are ECDSA P-256. Session tickets are as nginx has them: on.
    """
    import trustme  # only here: it is not needed without TLS

    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    ca = directory / 'ca.pem'
    authority.cert_pem.write_to_path(str(ca))
    servers = []
    for address in addresses(hosts):
        certificate = directory / f'{address}.pem'
        authority.issue_cert(address, key_type=trustme.KeyType.ECDSA).private_key_and_cert_chain_pem.write_to_path(
            str(certificate)
        )
        lines = [
            f'listen {address}:{port} ssl;',
            'ssl_protocols TLSv1.3;',
            f'ssl_certificate {certificate};',
            f'ssl_certificate_key {certificate};',
        ]
        servers.append(_server('\n'.join(f'        {line}' for line in lines), directory))
    return '\n'.join(servers), str(ca)


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
