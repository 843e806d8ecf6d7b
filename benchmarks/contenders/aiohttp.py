"""aiohttp as people write it: a task per request, the cap by limit_per_host.

With mode 'workers', two tasks per origin take turns. Names are looked up in threads; with mode 'aiodns', by c-ares.
"""

import asyncio
import ssl
from collections.abc import Iterator

from aiohttp import AsyncResolver, ClientSession, ClientTimeout, TCPConnector, ThreadedResolver

from benchmarks.work import HEADER, Answer, Figures, Outcome, Work, main


def run(work: Work) -> Figures:
    return work.check(asyncio.run(ask(work)))


async def ask(work: Work) -> list[Outcome]:
    tls = ssl.create_default_context(cafile=work.ca) if work.ca else True
    resolver = AsyncResolver() if work.mode == 'aiodns' else ThreadedResolver()
    connector = TCPConnector(limit=work.connections, limit_per_host=work.simultaneous, ssl=tls, resolver=resolver)
    async with ClientSession(connector=connector, timeout=ClientTimeout(total=None)) as session:
        if work.mode != 'workers':
            return await asyncio.gather(*[get(session, url) for url in work.turns(work.urls)])
        answers = work.unanswered()
        await asyncio.gather(
            *[
                worker(session, url, share, answers)
                for url, share in zip(work.urls, work.shares(), strict=True)
                for _ in range(work.simultaneous)
            ]
        )
        return answers


async def get(session: ClientSession, url: str) -> Answer:
    async with session.get(url) as response:
        return response.status, response.headers[HEADER], await response.json()


async def worker(session: ClientSession, url: str, share: Iterator[int], answers: list[Outcome]) -> None:
    for number in share:
        answers[number] = await get(session, url)


if __name__ == '__main__':
    main(run)
