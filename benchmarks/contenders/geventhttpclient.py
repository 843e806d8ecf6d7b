"""geventhttpclient: an HTTPClient per origin, a greenlet per request; or, with mode 'workers', two per origin."""

import json
from collections.abc import Iterator

import gevent
from gevent.ssl import PROTOCOL_TLS_CLIENT, SSLContext
from geventhttpclient import HTTPClient

from benchmarks.work import HEADER, PATH, Figures, Outcome, Work, main


def run(work: Work) -> Figures:
    tls = {}
    if work.ca:
        context = SSLContext(PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(work.ca)
        tls = {'ssl': True, 'ssl_context_factory': lambda cafile: context}
    clients = [HTTPClient(address, work.port, concurrency=work.simultaneous, **tls) for address in work.addresses]
    if work.mode == 'workers':
        answers = work.unanswered()
        gevent.joinall(
            [
                gevent.spawn(worker, client, share, answers)
                for client, share in zip(clients, work.shares(), strict=True)
                for _ in range(work.simultaneous)
            ]
        )
        return work.check(answers)
    greenlets = [gevent.spawn(get, client) for client in work.turns(clients)]
    gevent.joinall(greenlets)
    return work.check(greenlet.value for greenlet in greenlets)


def get(client: HTTPClient) -> Outcome:
    try:
        response = client.get(PATH)
        return response.status_code, response.get(HEADER), json.loads(response.read())
    except Exception as failure:  # whatever it raises, that request failed; the failures are counted
        return failure


def worker(client: HTTPClient, share: Iterator[int], answers: list[Outcome]) -> None:
    for number in share:
        answers[number] = get(client)


if __name__ == '__main__':
    main(run)
