"""urllib3 in 16 threads, which share a manager: the cap by a blocking pool of two connections."""

import threading

from urllib3 import PoolManager

from benchmarks.work import HEADER, Answer, Figures, Outcome, Work, main

THREADS = 16


def run(work: Work) -> Figures:
    manager = PoolManager(num_pools=work.hosts, maxsize=work.simultaneous, block=True)
    answers = work.unanswered()
    threads = [threading.Thread(target=ask, args=[manager, work, answers, number]) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return work.check(answers)


def ask(manager: PoolManager, work: Work, answers: list[Outcome], first: int) -> None:
    for number, url in list(enumerate(work.turns(work.urls)))[first::THREADS]:
        answers[number] = get(manager, url)


def get(manager: PoolManager, url: str) -> Answer:
    response = manager.request('GET', url, retries=False)
    return response.status, response.headers[HEADER], response.json()


if __name__ == '__main__':
    main(run)
