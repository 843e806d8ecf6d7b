"""urllib3: threads that share a pool manager; `stream` in pieces of its default size; a file as the body."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from urllib3 import PoolManager

from benchmarks.bodies import UNDER_WAY, main, urls
from benchmarks.work import Work


def large(work: Work) -> list[bytes]:
    manager = PoolManager(num_pools=work.hosts, maxsize=work.simultaneous, block=True)
    with ThreadPoolExecutor(UNDER_WAY) as threads:
        return list(threads.map(partial(get, manager), work.turns(urls(work))))


def get(manager: PoolManager, url: str) -> bytes:
    return manager.request('GET', url, retries=False).data


def streaming(work: Work) -> Iterator[bytes]:
    url = urls(work)[0]
    yield from PoolManager().request('GET', url, preload_content=False).stream()


def upload(work: Work) -> int:
    with open(work.file, 'rb') as file:
        headers = {'Content-Length': str(work.size)}  # without it the file goes in chunks
        return PoolManager().request('POST', work.urls[0], body=file, headers=headers).status


if __name__ == '__main__':
    main(globals())
