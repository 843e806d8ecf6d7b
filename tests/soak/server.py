"""The server of the soak: an nginx that answers with the method and the path that it was asked for."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import trustme

from benchmarks.nginx import PREAMBLE, TEMPORARY, executable, free_port, wait_until_up
from benchmarks.processes import end

# It closes each connection after a thousand requests, so that this is part of the run.
CONFIG = (
    PREAMBLE
    + """\
events {{
    worker_connections 1024;
}}
http {{
    access_log off;
    default_type text/plain;
    keepalive_requests 1000;
    keepalive_timeout 600s;
"""
    + TEMPORARY
    + """\
    gzip_types text/plain;
    gzip_min_length 1;
    server {{
        listen 127.0.0.1:{plain};
        listen 127.0.0.1:{tls} ssl;
        ssl_certificate {directory}/server.pem;
        ssl_certificate_key {directory}/server.pem;
        location /plain/ {{
            return 200 '{line}';
        }}
        location /packed/ {{
            gzip on;
            return 200 '{lines}';
        }}
    }}
}}
"""
)
LINE = '$request_method $request_uri\n'


class Hosts(NamedTuple):
    """Where it listens, as a client takes it, and the file of certificates to verify it by."""

    plain: str
    tls: str
    ca_certs: str


@contextmanager
def nginx(directory: Path) -> Iterator[Hosts]:
    """Run it in this directory; it is ended by its handle."""
    plain, tls = free_port(), free_port()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / 'ca.pem')
    authority.issue_cert('127.0.0.1').private_key_and_cert_chain_pem.write_to_path(directory / 'server.pem')
    config = directory / 'nginx.conf'
    config.write_text(CONFIG.format(directory=directory, plain=plain, tls=tls, line=LINE, lines=LINE * 20))
    process = subprocess.Popen(
        [executable(), '-p', str(directory), '-c', str(config), '-e', str(directory / 'error.log')],
        stdin=subprocess.DEVNULL,
        text=True,
    )
    try:
        wait_until_up(process, '127.0.0.1', plain, directory / 'error.log')
        yield Hosts(f'127.0.0.1:{plain}', f'https://127.0.0.1:{tls}', str(directory / 'ca.pem'))
    finally:
        end(process)
