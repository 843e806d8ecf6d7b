"""napixclient where it shares a hub in a thread of its own: from asyncio, from uvloop, and from 16 threads."""

import asyncio
import threading

from benchmarks.work import HEADER, PATH, Figures, Outcome, Work, main
from napixclient import HTTPError, Response
from napixclient.aio import AsyncPool
from napixclient.threads import SharedPool

THREADS = 16


def run(work: Work) -> Figures:
    if work.mode == 'threads':
        return work.check(from_threads(work))
    if work.mode == 'uvloop':
        import uvloop

        return work.check(uvloop.run(from_a_loop(work)))
    return work.check(asyncio.run(from_a_loop(work)))


async def from_a_loop(work: Work) -> list[Outcome]:
    async with AsyncPool(simultaneous=work.simultaneous) as pool:
        for origin in work.turns(work.origins):
            pool.request(origin, 'GET', PATH)
        return [decoded(answer) for answer in await pool.wait()]


def from_threads(work: Work) -> list[Outcome]:
    answers = work.unanswered()
    origins = list(work.turns(work.origins))

    def ask(first: int) -> None:
        for origin in origins[first::THREADS]:
            pool.request(origin, 'GET', PATH)
        answers[first::THREADS] = [decoded(answer) for answer in pool.wait()]

    with SharedPool(simultaneous=work.simultaneous) as pool:
        threads = [threading.Thread(target=ask, args=[number]) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return answers


def decoded(answer: Response | HTTPError) -> Outcome:
    if not isinstance(answer, Response):
        return answer
    return answer.status, answer.headers[HEADER], answer.body


if __name__ == '__main__':
    main(run)
