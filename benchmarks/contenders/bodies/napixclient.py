"""napixclient: ClientPool.request and wait; a streamed answer; a POST of an open file."""

from collections.abc import Iterator

from benchmarks.bodies import UNDER_WAY, main
from benchmarks.nginx import body_path
from benchmarks.work import Work
from napixclient import Client, ClientPool


def large(work: Work) -> list[bytes]:
    pool = ClientPool(max_connections=UNDER_WAY)
    for origin in work.turns(work.origins):
        pool.request(origin, 'GET', body_path(work.size))
    return [answer.data for answer in pool.wait()]


def streaming(work: Work) -> Iterator[bytes]:
    with Client(work.origins[0]).request('GET', body_path(work.size), stream=True) as answer:
        yield from answer.iter_bytes()


def upload(work: Work) -> int:
    with open(work.file, 'rb') as file:
        return Client(work.origins[0]).request('POST', '/', file).status


if __name__ == '__main__':
    main(globals())
