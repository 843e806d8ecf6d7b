"""pyreqwest (Rust's reqwest) on uvloop. It has no cap per host: two tasks per origin take turns instead."""

import asyncio
from collections.abc import Iterator

import uvloop
from pyreqwest.client import Client, ClientBuilder

from benchmarks.work import HEADER, Figures, Outcome, Work, main


def run(work: Work) -> Figures:
    return work.check(uvloop.run(ask(work)))


async def ask(work: Work) -> list[Outcome]:
    answers = work.unanswered()
    async with ClientBuilder().no_proxy().build() as client:
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
        response = await client.get(url).build().send()
        answers[number] = response.status, response.get_header(HEADER), await response.json()


if __name__ == '__main__':
    main(run)
