"""Renews the pictures of the service's page in _static: python docs/screenshots.py (needs chromium and chromedriver)."""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))

from napixclient import Client  # noqa: E402
from napixclient.testing import serve  # noqa: E402
from napixclient.wsgi import ExceptionsCatcher  # noqa: E402
from tests.service.browser import Browser  # noqa: E402
from tests.service.serving import serving  # noqa: E402

WIDE = (1200, 800)
PHONE = (390, 780)


def filer(environ: Any, start_response: Any) -> list[bytes]:
    """The last server of the chain."""
    raise OSError('volume group vg-13 is offline')


def host(storage: Client, draw: random.Random) -> Callable[..., list[bytes]]:
    """Any of the servers that are asked: most are well, one in 23 is not, one in 17 asks for a volume in vain."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        third, fourth = map(int, environ['HTTP_HOST'].partition(':')[0].split('.')[2:])
        number = third * 250 + fourth
        gevent.sleep(draw.lognormvariate(-0.4 if environ['PATH_INFO'] == '/status' else -3, 0.7))
        if number % 17 == 5:
            storage.request('POST', '/volumes/', {'size': 10})
        if number % 23 == 7:
            start_response('503 Service Unavailable', [('Content-Type', 'text/plain')])
            return [b'draining']
        start_response('200 OK', [('Content-Type', 'application/json')])
        return [b'{"version": "%s", "state": "healthy"}' % (b'2.3.7' if number % 9 == 0 else b'2.4.1')]

    return app


def main() -> None:
    """Take them all."""
    draw = random.Random(7)
    with (
        tempfile.TemporaryDirectory() as name,
        serve(ExceptionsCatcher(filer)) as back,
        Client(back.host) as storage,
        serve(ExceptionsCatcher(host(storage, draw)), address='0.0.0.0') as server,
        serving(Path(name) / 'runs.sqlite') as service,
        Browser(Path(name) / 'profile') as browser,
    ):
        browser.devtools('Emulation.setScrollbarsHidden', hidden=True)

        def show(hosts: str, url: str, size: tuple[int, int], scheme: str) -> None:
            browser.resize(*size)
            browser.prefer(color_scheme=scheme, reduced_motion='reduce')
            id = service.start({'hosts': f'{hosts}:{server.port}', 'request': {'url': url}})['id']
            browser.open('about:blank')
            browser.open(f'{service.url}#/runs/{id}')

        def done() -> None:
            browser.until('document.getElementById("state")?.dataset.state === "done"', seconds=60)
            gevent.sleep(0.6)  # until all of it is drawn

        def keep(name: str) -> None:
            (DOCS / '_static' / f'service-{name}.png').write_bytes(browser.screenshot())

        show('127.0.0.[1-100]', '/status', WIDE, 'light')
        browser.until('document.querySelector(".ok dd")?.textContent > 30')
        gevent.sleep(0.4)
        keep('watch')
        done()
        browser.run(
            '[...document.querySelectorAll("#answers .badge")].find(badge => badge.textContent === "502").click()'
        )
        browser.click('.chain-button')
        gevent.sleep(0.3)
        keep('chain')
        show('127.0.[0-19].[1-250]', '/version', WIDE, 'dark')
        done()
        keep('many')
        show('127.0.0.[1-10]', '/version', PHONE, 'light')
        done()
        keep('phone')
        browser.resize(WIDE[0], 860)
        browser.open(service.url)
        browser.write('#field-hosts', 'web[1-100].example:8002 db[1-3].example:8002')
        browser.write('#field-url', '/status')
        browser.until('document.querySelector("#runs a")')
        keep('compose')


if __name__ == '__main__':
    main()
