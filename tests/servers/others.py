"""Other clients at the same work: `python others.py CLIENT WORK`, with what to do as JSON in the first line of stdin.

Runs in the environment of Python's servers. It prints `begun` when some answers have come, and at the end a JSON object:
for each id what came, a status or the text of a failure. A connection that is refused is tried again, as with napixclient.
CLIENT is `aiohttp` or `pycurl`; WORK is `closing`, where each request says that it is the last one of its connection;
`keep`, two POSTs over each connection, so many seconds apart; `reload`, POSTs until stdin ends; or `hosts`, so many POSTs.
"""

import asyncio
import io
import itertools
import json
import sys
import threading
import time

TRIES, PAUSE = 100, 0.1
#: Answers after which it has begun.
ENOUGH = 20


def body_of(work):
    """Whether it is a POST."""
    return None if work == 'closing' else b'x' * 20


class Came(dict):
    """What came, by id. It prints `begun` when there is something."""

    def __setitem__(self, request, what):
        super().__setitem__(request, what)
        if len(self) == ENOUGH:
            self.begin()

    def begin(self):
        """It has begun, or is over."""
        print('begun', flush=True)


class Aiohttp:
    """aiohttp, with connections of one session."""

    def __init__(self, work, told):
        self.work, self.told, self.came = work, told, Came()

    async def ask(self, session, host, request):
        """One request; what came."""
        import aiohttp

        kind = 'POST' if body_of(self.work) else 'GET'
        headers = {'Connection': 'close'} if self.work == 'closing' else {}
        for _ in range(TRIES):
            try:
                async with session.request(
                    kind, f'http://{host}/id/{request}', data=body_of(self.work), headers=headers,
                    proxy=self.told['proxy'],
                ) as answer:  # fmt: skip
                    text = await answer.text()
                    self.came[request] = answer.status if text == request else f'{answer.status} with another body'
                    return
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(PAUSE)
            except Exception as exc:
                self.came[request] = f'{type(exc).__name__} {exc}'
                return
        self.came[request] = 'refused'

    async def run(self, ended):
        """All of the work."""
        import aiohttp

        told = self.told
        connector = aiohttp.TCPConnector(limit=0, limit_per_host=0 if self.work == 'keep' else told['simultaneous'])
        async with aiohttp.ClientSession(connector=connector) as session:
            hosts, ids = told['hosts'], iter(told['ids'])

            async def twice(gap):
                # A session of its own, so that the second request has only that connection.
                async with aiohttp.ClientSession() as own:
                    await self.ask(own, hosts[0], next(ids))
                    await asyncio.sleep(gap)
                    await self.ask(own, hosts[0], next(ids))

            async def again(host):
                for request in ids:
                    if ended.is_set():
                        return
                    await self.ask(session, host, request)

            if self.work == 'keep':
                await asyncio.gather(*(twice(gap) for gap in told['gaps']))
            else:
                await asyncio.gather(*(again(host) for host in hosts for _ in range(told['simultaneous'])))


class Curl:
    """libcurl, a handle and so a connection for each thread."""

    def __init__(self, work, told):
        self.work, self.told, self.came = work, told, Came()

    def ask(self, handle, host, request):
        """One request; what came."""
        import pycurl

        for _ in range(TRIES):
            answer = io.BytesIO()
            handle.setopt(pycurl.URL, f'http://{host}/id/{request}')
            handle.setopt(pycurl.WRITEDATA, answer)
            try:
                handle.perform()
            except pycurl.error as exc:
                if exc.args[0] in (pycurl.E_COULDNT_CONNECT, pycurl.E_COULDNT_RESOLVE_PROXY, 97):
                    time.sleep(PAUSE)
                    continue
                self.came[request] = f'{exc.args[0]} {exc.args[1]}'
                return
            status = handle.getinfo(pycurl.RESPONSE_CODE)
            self.came[request] = status if answer.getvalue() == request.encode() else f'{status} with another body'
            return
        self.came[request] = 'refused'

    def handle(self):
        """A new handle."""
        import pycurl

        handle = pycurl.Curl()
        handle.setopt(pycurl.NOSIGNAL, 1)
        handle.setopt(pycurl.TIMEOUT, 30)
        handle.setopt(pycurl.NOPROXY, '')
        if self.told['proxy']:
            handle.setopt(pycurl.PROXY, self.told['proxy'])
        if body_of(self.work):
            handle.setopt(pycurl.POSTFIELDS, body_of(self.work))
        else:
            handle.setopt(pycurl.HTTPHEADER, ['Connection: close'])
        return handle

    def run(self, ended):
        """All of the work."""
        told = self.told
        ids, taking = iter(told['ids']), threading.Lock()

        def take():
            with taking:
                return next(ids, None)

        def twice(gap):
            handle, first, second = self.handle(), take(), take()
            self.ask(handle, told['hosts'][0], first)
            time.sleep(gap)
            self.ask(handle, told['hosts'][0], second)

        def again(host):
            handle = self.handle()
            for request in iter(take, None):
                if ended.is_set():
                    return
                self.ask(handle, host, request)

        if self.work == 'keep':
            threads = [threading.Thread(target=twice, args=(gap,)) for gap in told['gaps']]
        else:
            each = range(told['simultaneous'])
            threads = [threading.Thread(target=again, args=(host,)) for host in told['hosts'] for _ in each]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def main():
    """Do the work, and tell."""
    client, work = sys.argv[1:]
    told = json.loads(sys.stdin.readline())
    if work == 'reload':
        prefix = told['ids'][0]
        told['ids'] = (f'{prefix}-{number}' for number in itertools.count())
    ended = threading.Event()
    if work == 'reload':
        threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    runner = (Aiohttp if client == 'aiohttp' else Curl)(work, told)
    if client == 'aiohttp':
        asyncio.run(runner.run(ended))
    else:
        runner.run(ended)
    if len(runner.came) < ENOUGH:
        runner.came.begin()
    print(json.dumps(runner.came))


if __name__ == '__main__':
    main()
