"""zapros' AsyncClient: two tasks per origin, which keeps its connections."""

import asyncio
from collections.abc import Iterator

from zapros import AsyncClient

from benchmarks.work import HEADER, Figures, Outcome, Work, main


def run(work: Work) -> Figures:
    return work.check(asyncio.run(ask(work)))


async def ask(work: Work) -> list[Outcome]:
    answers = work.unanswered()
    async with AsyncClient() as client:
        await asyncio.gather(
            *[
                worker(client, url, share, answers)
                for url, share in zip(work.urls, work.shares(), strict=True)
                for _ in range(work.simultaneous)
            ]
        )
    return answers


async def worker(client: AsyncClient, url: str, share: Iterator[int], answers: list[Outcome]) -> None:
    for number in share:
        response = await client.get(url)
        answers[number] = response.status, response.headers[HEADER], response.json


if __name__ == '__main__':
    main(run)
