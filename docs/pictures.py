"""Makes the pictures of the live table: `python docs/pictures.py`, in a checkout with the extras `all` and `test`.

It runs the real `napix` on a terminal of its own, against servers that it starts itself, and draws what stands there:
each frame as it was written, one after the other. The names of the hosts lead to these servers (`picture_names.py`).
"""

from __future__ import annotations

import codecs
import os
import random
import sys
import time
from html import escape
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import gevent  # noqa: E402
import gevent.socket  # noqa: E402
import gevent.subprocess  # noqa: E402

from napixclient.testing import serve  # noqa: E402
from tests.cli.programs import environment, terminal  # noqa: E402
from tests.cli.screen import Screen  # noqa: E402

#: The width and height of a character, and the colours of a terminal.
WIDE, HIGH = 8.43, 18
COLOURS = {31: '#f7768e', 32: '#9ece6a', 33: '#e0af68', 90: '#414868'}
PAPER, INK = '#1a1b26', '#c0caf5'
#: The longest that the last frame stays, and the shortest that any does, in seconds.
LAST, SHORTEST = 3.0, 0.1


class Style(NamedTuple):
    """How a character looks."""

    colour: str = INK
    bold: bool = False
    dim: bool = False

    def changed(self, numbers: str) -> Style:
        """After an escape sequence with these numbers."""
        style = self
        for number in map(int, numbers.split(';') if numbers else ['0']):
            style = (
                Style()
                if number == 0
                else style._replace(bold=True)
                if number == 1
                else style._replace(dim=True)
                if number == 2
                else style._replace(colour=COLOURS.get(number, INK))
            )
        return style


class Painted(Screen):
    """A terminal that knows the colours of what stands on it."""

    def __init__(self, columns: int, lines: int) -> None:
        super().__init__(columns, lines)
        self.style = Style()
        self.styles: list[list[Style]] = [[] for _ in range(lines)]

    def _obey(self, mark: str, number: str, letter: str) -> None:
        if letter == 'm':
            self.style = self.style.changed(number)
        super()._obey(mark, number, letter)

    def _write(self, char: str) -> None:
        super()._write(char)
        if char not in '\r\n':
            line = self.styles[self.row]
            line += [Style()] * (self.column - len(line))
            line[self.column - 1] = self.style

    def _down(self) -> None:
        if self.row + 1 == len(self.rows):
            self.styles.append([])
            self.styles.pop(0)
        super()._down()

    def picture(self) -> list[list[tuple[int, str, Style]]]:
        """The lines, each as pieces of one look: column, text, style."""
        return [list(_pieces(row.rstrip(), styles)) for row, styles in zip(self.rows, self.styles, strict=True)]


def _pieces(row: str, styles: list[Style]):
    start = 0
    for at in range(1, len(row) + 1):
        style = styles[start] if start < len(styles) else Style()
        if at == len(row) or (styles[at] if at < len(styles) else Style()) != style:
            if row[start:at].strip():
                yield start, row[start:at], style
            start = at


def record(words: list[str], columns: int, lines: int, port: int) -> list[tuple[float, list]]:
    """Run `napix`; what stood on its terminal, and when."""
    screen = Painted(columns, lines)
    screen.feed(f'$ napix {" ".join(word if word.isalnum() or word[0] in "/-" else repr(word) for word in words)}\n')
    env = environment(GEVENT_RESOLVER='docs.picture_names.Names', PORT_OF_THE_PICTURES=str(port))
    frames, began = [(0.0, screen.picture())], time.monotonic()
    with terminal(columns, lines) as (master, slave):
        process = gevent.subprocess.Popen(
            [sys.executable, '-m', 'napixclient', *words],
            env=env,
            cwd=ROOT,
            stdin=gevent.subprocess.DEVNULL,
            stdout=slave,
            stderr=slave,
        )
        text, decoder = '', codecs.getincrementaldecoder('utf-8')()
        while process.poll() is None or text:
            try:
                gevent.socket.wait_read(master, timeout=0.05, timeout_exc=TimeoutError())
                text += decoder.decode(os.read(master, 1 << 20)).replace('\r\n', '\n')
            except TimeoutError:
                if process.poll() is not None:
                    screen.feed(text)
                    text = ''
                continue
            whole, mark, text = text.rpartition('\x1b[?2026l')
            screen.feed(whole + mark)
            if mark:
                frames.append((time.monotonic() - began, screen.picture()))
        frames.append((time.monotonic() - began, screen.picture()))
    return frames


def drawn(frames: list[tuple[float, list]], columns: int, lines: int) -> str:
    """An SVG in which the frames follow each other for ever; one frame is a picture."""
    kept = [frames[0]]
    for frame in frames[1:]:
        if frame[1] != kept[-1][1]:
            if frame[0] - kept[-1][0] < SHORTEST and len(kept) > 1:
                kept.pop()
            kept.append(frame)
    whole = kept[-1][0] + LAST
    width, height = columns * WIDE + 24, lines * HIGH + 24
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'font-family="ui-monospace,Menlo,Consolas,DejaVu Sans Mono,monospace" font-size="14">',
        f'<rect width="100%" height="100%" rx="8" fill="{PAPER}"/>',
    ]
    if len(kept) > 1:
        out.append('<style>g{visibility:hidden}')
        for number, (at, _) in enumerate(kept):
            end = kept[number + 1][0] if number + 1 < len(kept) else whole
            first, last = 100 * at / whole, 100 * end / whole
            out.append(
                f'#f{number}{{animation:f{number} {whole:.2f}s infinite step-end}}@keyframes f{number}'
                f'{{0%{{visibility:{"visible" if not at else "hidden"}}}{first:.3f}%{{visibility:visible}}'
                f'{last:.3f}%{{visibility:hidden}}}}'
            )
        # Who wants less motion sees the last frame, and so does who prints.
        out.append(
            '@media print,(prefers-reduced-motion:reduce)'
            f'{{g{{animation:none!important}}#f{len(kept) - 1}{{visibility:visible}}}}</style>'
        )
    for number, (_, rows) in enumerate(kept):
        out.append(f'<g id="f{number}">')
        for row, pieces in enumerate(rows):
            for column, text, style in pieces:
                look = ''.join(
                    [
                        f' fill="{style.colour}"',
                        ' font-weight="bold"' if style.bold else '',
                        ' opacity=".6"' if style.dim else '',
                    ]
                )
                out.append(
                    f'<text x="{12 + column * WIDE:.1f}" y="{26 + row * HIGH}"{look} xml:space="preserve" '
                    f'textLength="{len(text) * WIDE:.1f}">{escape(text)}</text>'
                )
        out.append('</g>')
    return '\n'.join([*out, '</svg>\n'])


def main() -> None:
    """Make them all."""
    chance = random.Random(8)

    def few(method, path, headers, body):
        number = int(headers['host'][3])
        gevent.sleep((0.6, 1.1, 1.5, 2.6, 3.4)[number - 1])
        return (
            (503, {'Content-Type': 'text/plain'}, 'out of order')
            if number == 3
            else {'name': f'web{number}', 'load': number / 4}
        )

    def many(method, path, headers, body):
        gevent.sleep(chance.expovariate(1.5))
        return (
            (503, {'Content-Type': 'text/plain'}, 'out of order')
            if chance.random() < 0.03
            else {'name': headers['host'], 'load': round(chance.random(), 2)}
        )

    pictures = ROOT / 'docs' / '_static'
    with serve(few) as server:
        frames = record(['get', 'web[1-5].example', '/status'], 80, 14, server.port)
        (pictures / 'napix-few.svg').write_text(drawn(frames, 80, 14))
        (pictures / 'napix-few-still.svg').write_text(drawn(frames[2 * len(frames) // 3 :][:1], 80, 14))

    def some(method, path, headers, body):
        gevent.sleep(chance.lognormvariate(-3.5, 0.6))
        return (503, {'Content-Type': 'text/plain'}, 'out of order') if headers['host'] == 'web3' else {'load': 1}

    with serve(some) as server:
        frames = record(['get', 'web[1-40]', '/status', '--repeat', '25', '--summary', '-q'], 100, 33, server.port)
        (pictures / 'napix-summary.svg').write_text(drawn(frames[-1:], 100, 33))
    with serve(many) as server:
        frames = record(['get', 'web[1-5000]', '/status'], 120, 30, server.port)
        middle = frames[len(frames) // 2]
        (pictures / 'napix-many.svg').write_text(drawn([middle], 120, 30))


if __name__ == '__main__':
    main()
