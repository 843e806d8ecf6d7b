"""Workers and submitters speak TLS to the broker, and only to one that they can trust."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
import trustme

from napixclient.cluster import ClusterError, ClusterPool
from napixclient.cluster.keys import new_key
from tests.cluster.broker import RabbitMQ, free_port
from tests.cluster.kit import Cluster


class Secured:
    """A broker that wants a certificate of its clients, and the URLs that lead to it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        ca = trustme.CA()
        ca.cert_pem.write_to_path(folder / 'ca.pem')
        trustme.CA().cert_pem.write_to_path(folder / 'stranger.pem')
        for name in 'localhost', 'client':
            leaf = ca.issue_cert(name)
            leaf.private_key_pem.write_to_path(folder / f'{name}.key')
            (folder / f'{name}.pem').write_bytes(b''.join(blob.bytes() for blob in leaf.cert_chain_pems))
        self.node = RabbitMQ(
            f'listeners.ssl.1 = 127.0.0.1:{self._port}\n'
            f'ssl_options.cacertfile = {folder}/ca.pem\n'
            f'ssl_options.certfile = {folder}/localhost.pem\n'
            f'ssl_options.keyfile = {folder}/localhost.key\n'
            'ssl_options.verify = verify_peer\n'
            'ssl_options.fail_if_no_peer_cert = true\n'
        )

    def url(self, host: str = 'localhost', **files: str) -> str:
        """Where it is; files are named without their folder."""
        query = urlencode({name: str(self._folder / file) for name, file in files.items()})
        return f'amqps://guest:guest@{host}:{self._port}//?{query}'

    @property
    def trusted(self) -> str:
        """The URL with which all is well."""
        return self.url(cacertfile='ca.pem', certfile='client.pem', keyfile='client.key')


@pytest.fixture(scope='module')
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """It is started, and ended."""
    found = Secured(tmp_path_factory.mktemp('tls'))
    try:
        found.node.start()
        yield found
    finally:
        found.node.close()


def test_over_tls(secured: Secured, tmp_path: Path) -> None:
    """Worker and submitter reach a broker over TLS, and show it their certificates."""
    cluster = Cluster(secured.node, tmp_path, url=secured.trusted)
    try:
        servers = cluster.servers(2)
        cluster.worker()
        with ClusterPool(secured.trusted, **cluster.options(timeout=30)) as pool:
            for host in servers.hosts:
                pool.request(host, 'POST', '/x', {'size': 1})
            assert [outcome.status for outcome in pool.wait()] == [200, 200]
    finally:
        cluster.close()


@pytest.mark.parametrize(
    ('host', 'files', 'why'),
    [
        ('localhost', {'cacertfile': 'stranger.pem'}, 'cannot be trusted'),
        ('localhost', {}, 'cannot be trusted'),
        ('127.0.0.1', {'cacertfile': 'ca.pem'}, 'cannot be trusted'),  # its certificate is for another name
        ('localhost', {'cacertfile': 'ca.pem'}, 'the broker at localhost'),  # it wants a certificate
    ],
)
def test_no_trust(secured: Secured, tmp_path: Path, host: str, files: dict[str, str], why: str) -> None:
    """What keeps them from trusting each other is one error at the caller, and one line of a worker."""
    url = secured.url(host, **files)
    cluster = Cluster(secured.node, tmp_path, url=url)
    try:
        with pytest.raises(ClusterError) as caught, ClusterPool(url, **cluster.options()) as pool:
            pool.request('127.0.0.1:9', 'GET', '/')
            pool.wait()
        assert why in str(caught.value)
        worker = cluster.worker(ready=False)
        if why == 'cannot be trusted':
            assert worker.wait() != 0
        assert 'Traceback' not in worker.text
    finally:
        cluster.close()
        gc.collect()  # what py-amqp leaves belongs to this test


def test_files_that_cannot_be_used(secured: Secured) -> None:
    """Files of the URL are looked at when a pool is made; an error names the parameter and the file."""
    for files, named in (
        ({'cacertfile': 'missing.pem'}, 'cacertfile'),
        ({'cacertfile': 'client.key'}, 'cacertfile'),
        ({'certfile': 'missing.pem'}, 'certfile'),
        ({'certfile': 'client.pem', 'keyfile': 'localhost.key'}, 'keyfile'),
        ({'keyfile': 'client.key'}, 'certfile is missing'),
    ):
        with pytest.raises(ValueError, match=named) as caught:
            ClusterPool(secured.url(**files), key=new_key())
        assert named == 'certfile is missing' or all(file in str(caught.value) for file in files.values())
