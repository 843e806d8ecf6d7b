"""urllib3 in a process patched by gevent: a greenlet per request, the cap by a blocking pool of two connections."""

from gevent import monkey

monkey.patch_all()

import gevent  # noqa: E402
from urllib3 import PoolManager  # noqa: E402

from benchmarks.work import HEADER, Answer, Figures, Work, main  # noqa: E402


def run(work: Work) -> Figures:
    manager = PoolManager(num_pools=work.hosts, maxsize=work.simultaneous, block=True)
    greenlets = [gevent.spawn(get, manager, url) for url in work.turns(work.urls)]
    gevent.joinall(greenlets, raise_error=True)
    return work.check(greenlet.value for greenlet in greenlets)


def get(manager: PoolManager, url: str) -> Answer:
    response = manager.request('GET', url, retries=False)
    return response.status, response.headers[HEADER], response.json()


if __name__ == '__main__':
    main(run)
