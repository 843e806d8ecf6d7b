"""aiohttp: a task per request and `limit`; `iter_any`; a file as the body."""

import asyncio
from collections.abc import AsyncIterator, Iterator

from aiohttp import ClientSession, ClientTimeout, TCPConnector

from benchmarks.bodies import UNDER_WAY, main, urls
from benchmarks.work import Work


def session(work: Work) -> ClientSession:
    connector = TCPConnector(limit=UNDER_WAY, limit_per_host=work.simultaneous)
    return ClientSession(connector=connector, timeout=ClientTimeout(total=None))


def large(work: Work) -> list[bytes]:
    return asyncio.run(get_all(work))


async def get_all(work: Work) -> list[bytes]:
    async with session(work) as client:
        return await asyncio.gather(*[get(client, url) for url in work.turns(urls(work))])


async def get(client: ClientSession, url: str) -> bytes:
    async with client.get(url) as response:
        return await response.read()


def streaming(work: Work) -> Iterator[bytes]:
    with asyncio.Runner() as runner:
        pieces = receive(work)
        while piece := runner.run(anext(pieces, b'')):
            yield piece


async def receive(work: Work) -> AsyncIterator[bytes]:
    async with session(work) as client:
        async with client.get(urls(work)[0]) as response:
            async for piece in response.content.iter_any():
                yield piece


def upload(work: Work) -> int:
    return asyncio.run(send(work))


async def send(work: Work) -> int:
    async with session(work) as client:
        with open(work.file, 'rb') as file:
            async with client.post(work.urls[0], data=file) as response:
                return response.status


if __name__ == '__main__':
    main(globals())
