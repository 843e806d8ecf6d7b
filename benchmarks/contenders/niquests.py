"""niquests' AsyncSession: two tasks per origin, pools of two connections.

It brings a fork of urllib3 in files of the same name, so it runs in an environment of its own.
"""

import asyncio
from collections.abc import Iterator

from niquests import AsyncSession

from benchmarks.work import HEADER, Figures, Outcome, Work, main


def run(work: Work) -> Figures:
    return work.check(asyncio.run(ask(work)))


async def ask(work: Work) -> list[Outcome]:
    answers = work.unanswered()
    async with AsyncSession(pool_connections=work.hosts, pool_maxsize=work.simultaneous) as session:
        session.trust_env = False
        await asyncio.gather(
            *[
                worker(session, url, share, answers)
                for url, share in zip(work.urls, work.shares(), strict=True)
                for _ in range(work.simultaneous)
            ]
        )
    return answers


async def worker(session: AsyncSession, url: str, share: Iterator[int], answers: list[Outcome]) -> None:
    for number in share:
        response = await session.get(url)
        answers[number] = response.status_code, response.headers[HEADER], response.json()


if __name__ == '__main__':
    main(run)
