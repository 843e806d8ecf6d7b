"""wreq (Rust) on uvloop. It has no cap per host: two tasks per origin take turns instead."""

import asyncio
from collections.abc import Iterator

import uvloop
from wreq import Client

from benchmarks.work import HEADER, Figures, Outcome, Work, main


def run(work: Work) -> Figures:
    return work.check(uvloop.run(ask(work)))


async def ask(work: Work) -> list[Outcome]:
    answers = work.unanswered()
    client = Client(no_proxy=True, pool_max_idle_per_host=work.simultaneous)
    await asyncio.gather(
        *[
            worker(client, url, share, answers)
            for url, share in zip(work.urls, work.shares(), strict=True)
            for _ in range(work.simultaneous)
        ]
    )
    return answers


async def worker(client: Client, url: str, share: Iterator[int], answers: list[Outcome]) -> None:
    for number in share:
        response = await client.get(url)
        answers[number] = response.status.as_int(), bytes(response.headers[HEADER]).decode(), await response.json()


if __name__ == '__main__':
    main(run)
