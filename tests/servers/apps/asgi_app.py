"""The ASGI application, for the servers of that kind."""

import asyncio

import ledger


async def app(scope, receive, send):
    """Answer as `ledger` says, and write it down."""
    if scope['type'] == 'lifespan':
        while True:
            kind = (await receive())['type'].partition('.')[2]
            await send({'type': f'lifespan.{kind}.complete'})
            if kind == 'shutdown':
                return
    kind, request = ledger.parts(scope['path'])
    ledger.begin(request)
    body = b'' if kind == 'refuse' else await _body(receive)
    await asyncio.sleep(ledger.WORK_SECONDS)
    status, fields, content = ledger.answer(kind, request, body)
    if status != 204:
        fields = [*fields, ('Content-Length', str(len(content)))]
    ledger.end(request)
    headers = [(name.lower().encode(), value.encode()) for name, value in fields]
    await send({'type': 'http.response.start', 'status': status, 'headers': headers})
    await send({'type': 'http.response.body', 'body': b'' if scope['method'] == 'HEAD' else content})


async def _body(receive):
    parts = []
    while True:
        message = await receive()
        parts.append(message.get('body', b''))
        if not message.get('more_body'):
            return b''.join(parts)
