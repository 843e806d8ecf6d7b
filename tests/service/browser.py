"""Headless Chromium, driven over WebDriver (W3C) with our own client: no hub is blocked, in any kind of process.

Needs Debian's ``chromium`` and ``chromium-driver``, or others that are in the path.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import gevent
import gevent.subprocess

from napixclient import Client, RemoteError

__all__ = ['KEYS', 'MISSING', 'Browser']

#: Why there is no browser, or an empty text.
MISSING = ', '.join(program for program in ('chromium', 'chromedriver') if shutil.which(program) is None)
#: Keys without a character (WebDriver §17.4.2).
KEYS = {
    'Enter': '\ue007',
    'Tab': '\ue004',
    'Escape': '\ue00c',
    'Left': '\ue012',
    'Right': '\ue014',
    'Up': '\ue013',
    'Down': '\ue015',
    'Home': '\ue011',
    'End': '\ue010',
    'Shift': '\ue008',
    'Control': '\ue009',
    'Backspace': '\ue003',
}
SECONDS = 30.0
_STARTS = 3

_FLAGS = (
    'headless',
    'no-sandbox',
    'disable-gpu',
    'disable-quic',
    'no-first-run',
    'disable-background-networking',
    'disable-component-update',
    'disable-sync',
    'disable-dev-shm-usage',
    'disable-extensions',
    'no-default-browser-check',
    'host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1',
)


class Browser:
    """A window of a browser of its own; a context manager that ends it.

    :param profile: a directory for what it keeps, of this browser alone.
    """

    def __init__(self, profile: Path, width: int = 1280, height: int = 900) -> None:
        port = self._start(profile)
        try:
            self._client = Client(f'127.0.0.1:{port}', timeout=60)
            flags = [*_FLAGS, f'user-data-dir={profile}', f'window-size={width},{height}']
            options = {
                'browserName': 'chrome',
                'goog:loggingPrefs': {'browser': 'ALL'},
                'goog:chromeOptions': {'binary': shutil.which('chromium'), 'args': [f'--{flag}' for flag in flags]},
            }
            session = self._ask('POST', '/session', {'capabilities': {'alwaysMatch': options}})
            self._base = f'/session/{session["sessionId"]}'
            self.resize(width, height)
        except BaseException:
            self._end()
            raise

    def _start(self, profile: Path) -> int:
        """Start the driver; it ends at once where its port of IPv4 is taken in IPv6, and then tries another."""
        for _ in range(_STARTS):
            self._driver: Any = gevent.subprocess.Popen(
                ['chromedriver', '--port=0'],
                stdin=gevent.subprocess.DEVNULL,
                stdout=gevent.subprocess.PIPE,
                stderr=gevent.subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, 'HOME': str(profile)},
            )
            try:
                with gevent.Timeout(SECONDS):
                    for line in self._driver.stdout:
                        match = re.search(rb'started successfully on port (\d+)', line)
                        if match:
                            return int(match[1])
            except BaseException:
                self._end()
                raise
            self._end()
        raise RuntimeError('chromedriver does not start')

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *exc_info: object) -> None:
        try:
            self._ask('DELETE', self._base)
        finally:
            self._end()

    def _end(self) -> None:
        """The driver and the browser are a group of processes of their own."""
        try:
            os.killpg(self._driver.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._driver.wait()
        self._driver.stdout.close()
        if hasattr(self, '_client'):
            self._client.close()

    def _ask(self, method: str, url: str, document: Any = None) -> Any:
        body = document if method == 'GET' or document is not None else {}
        return self._client.request(method, url, None if method in ('GET', 'DELETE') else body).json()['value']

    def command(self, method: str, url: str, document: Any = None) -> Any:
        """A command of the session."""
        return self._ask(method, self._base + url, document)

    def devtools(self, command: str, **parameters: Any) -> Any:
        """A command of the DevTools protocol."""
        return self.command('POST', '/goog/cdp/execute', {'cmd': command, 'params': parameters})

    # -- the window ------------------------------------------------------------------------------------------------

    def resize(self, width: int, height: int, ratio: float = 1.0) -> None:
        """The size of the page, in CSS pixels."""
        self.devtools(
            'Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=ratio, mobile=False
        )

    def prefer(self, **features: str) -> None:
        """Media features: ``prefer(color_scheme='dark')``."""
        self.devtools(
            'Emulation.setEmulatedMedia',
            features=[
                {'name': f'prefers-{name.replace("_", "-")}', 'value': value} for name, value in features.items()
            ],
        )

    def open(self, url: str) -> None:
        """Go to an address; when this returns the page has loaded."""
        self.command('POST', '/url', {'url': url})

    def reload(self) -> None:
        """As the button does."""
        self.command('POST', '/refresh')

    def screenshot(self) -> bytes:
        """What is seen, as PNG."""
        return base64.b64decode(self.command('GET', '/screenshot'))

    def complaints(self) -> list[str]:
        """What the console has been told since the last time: errors and warnings."""
        return [
            entry['message']
            for entry in self.command('POST', '/se/log', {'type': 'browser'})
            if entry['level'] in ('SEVERE', 'WARNING')
        ]

    # -- the page --------------------------------------------------------------------------------------------------

    def run(self, script: str, *args: Any) -> Any:
        """What a function's body returns in the page."""
        return self.command('POST', '/execute/sync', {'script': script, 'args': list(args)})

    def until(self, script: str, *args: Any, seconds: float = SECONDS) -> Any:
        """What an expression gives, once that is true.

        :raises AssertionError: when it does not become true in time.
        """
        end = time.monotonic() + seconds
        while True:
            found = self.run(f'return {script}', *args)
            if found:
                return found
            if time.monotonic() > end:
                focus = self.run('return document.activeElement.outerHTML.slice(0, 200)')
                raise AssertionError(
                    f'in {seconds:g} s not: {script} {json.dumps(args)}\nthe focus is on {focus}\n{self.text()[:2000]}'
                )
            gevent.sleep(0.05)

    def text(self, selector: str = 'body') -> str:
        """What can be read in an element; an empty text where there is none."""
        return str(
            self.run(
                'const found = document.querySelector(arguments[0]); return found ? found.innerText : ""', selector
            )
        )

    def _element(self, selector: str) -> str:
        found = self.until('document.querySelector(arguments[0])', selector)
        return str(next(iter(found.values())))

    def click(self, selector: str) -> None:
        """Press on an element, as a pointer does: it must be seen, and nothing may lie over it.

        Where it moves or is drawn anew at that moment, it is looked for again.
        """
        end = time.monotonic() + SECONDS
        while True:
            try:
                self.command('POST', f'/element/{self._element(selector)}/click')
                return
            except RemoteError as exc:
                if exc.status not in (400, 404) or time.monotonic() > end:
                    raise
            time.sleep(0.05)

    def write(self, selector: str, text: str) -> None:
        """Replace what is written in a field."""
        element = self._element(selector)
        self.command('POST', f'/element/{element}/clear')
        self.command('POST', f'/element/{element}/value', {'text': text})

    def keys(self, *keys: str) -> None:
        """Type into what has the focus: texts, and names of keys; ``Shift+Tab`` holds one down."""
        actions: list[dict[str, str]] = []
        for key in keys:
            parts = key.split('+') if len(key) > 1 and '+' in key[1:] else [key]
            chord = [KEYS.get(part, part) for part in parts]
            if len(chord) == 1 and len(chord[0]) > 1:
                for char in chord[0]:
                    actions += [{'type': 'keyDown', 'value': char}, {'type': 'keyUp', 'value': char}]
                continue
            actions += [{'type': 'keyDown', 'value': char} for char in chord]
            actions += [{'type': 'keyUp', 'value': char} for char in reversed(chord)]
        self.command('POST', '/actions', {'actions': [{'type': 'key', 'id': 'keyboard', 'actions': actions}]})
