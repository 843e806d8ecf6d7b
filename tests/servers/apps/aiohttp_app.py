"""The application for aiohttp's server, alone or behind others: `python aiohttp_app.py PORT KEEP_ALIVE_SECONDS`."""

import asyncio
import sys

import ledger
from aiohttp import web


async def handle(request):
    """Answer as `ledger` says, and write it down."""
    kind, name = ledger.parts(request.path)
    ledger.begin(name)
    body = b'' if kind == 'refuse' else await request.read()
    await asyncio.sleep(ledger.WORK_SECONDS)
    status, fields, content = ledger.answer(kind, name, body)
    ledger.end(name)
    return web.Response(status=status, headers=fields, body=None if status == 204 else content)


if __name__ == '__main__':
    # Behind others nothing is refused here because of its size.
    app = web.Application(client_max_size=1 << 30, handler_args={'max_field_size': 1 << 20, 'max_line_size': 1 << 20})
    app.router.add_route('*', '/{tail:.*}', handle)
    web.run_app(app, host='127.0.0.1', port=int(sys.argv[1]), keepalive_timeout=float(sys.argv[2]), print=None)
