"""A FastAPI application that asks several servers at once, and tells what each said.

python examples/fastapi_fan_out.py --port 8006 --hosts 127.0.0.1:8001,127.0.0.1:8004
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse

from napixclient.aio import AsyncPool


def make_app(hosts: str) -> FastAPI:
    """The application; `hosts` are asked for a virtual machine each."""
    pool = AsyncPool(timeout=10)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await pool.close()

    app = FastAPI(lifespan=lifespan)

    @app.get('/')
    async def fan_out() -> JSONResponse:
        for host in hosts.split(','):
            pool.request(host, 'POST', '/vms/', {'size': 1})
        answers = {answer.request.host: answer for answer in await pool.wait()}  # those of this task alone
        failed = any(answer.status != 201 for answer in answers.values())
        return JSONResponse({host: answer.status for host, answer in answers.items()}, 502 if failed else 201)

    return app


if __name__ == '__main__':
    from serving import options

    given = options(__doc__, hosts='127.0.0.1:8001,127.0.0.1:8004')
    listener = socket.create_server(('127.0.0.1', given.port))
    print(f'127.0.0.1:{listener.getsockname()[1]}', flush=True)
    uvicorn.Server(uvicorn.Config(make_app(given.hosts), log_level='warning')).run([listener])
