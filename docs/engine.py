"""Draws the engine for the page on how it works: `python docs/engine.py` writes _static/engine.svg.

What is drawn is the text below: boxes with the names of classes, and the numbered hops of a request.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import NamedTuple

PICTURE = Path(__file__).parent / '_static' / 'engine.svg'
WIDTH, HEIGHT, HIGH = 930, 610, 44


class Box(NamedTuple):
    """A class, and in a few words what it does."""

    name: str
    does: str
    x: int
    y: int
    wide: int = 160


class Group(NamedTuple):
    """What there is one of, for each of something."""

    title: str
    x: int
    y: int
    wide: int
    high: int


class Arrow(NamedTuple):
    """An arrow along some points, and its number; 0 for one that has none."""

    number: int
    points: tuple[tuple[int, int], ...]

    @property
    def middle(self) -> tuple[float, float]:
        """That of its longest part, for the number."""
        parts = zip(self.points, self.points[1:], strict=False)
        (x, y), (right, below) = max(
            parts, key=lambda part: abs(part[0][0] - part[1][0]) + abs(part[0][1] - part[1][1])
        )
        return (x + right) / 2, (y + below) / 2


GROUPS = (
    Group('one for each origin: OriginPool', 230, 110, 420, 330),
    Group('one for each pool: PoolCore', 690, 110, 220, 330),
    Group('one for each connection: Connection', 230, 480, 680, 110),
)
BOXES = (
    Box('Client', 'one host', 250, 30),
    Box('ClientPool', 'many hosts', 470, 30),
    Box('Origins', 'the directory of pools', 710, 30, 180),
    Box('Batch', 'what a wait hands out', 20, 150),
    Box('PendingResponse', 'the one outcome', 20, 375),
    Box('RequestQueue', 'what waits', 250, 150),
    Box('Throttle', 'cap and rate', 470, 150),
    Box('InFlight', 'has a connection', 250, 225),
    Box('Growth', 'opens connections', 470, 225),
    Box('Preparer', 'writes the request', 250, 300),
    Box('Reuse', 'is this one still good?', 470, 300),
    Box('Completion', 'acts on verdicts', 250, 375),
    Box('Outcomes', 'gives verdicts', 470, 375),
    Box('Slots', 'the one ledger', 710, 150, 180),
    Box('Dialer', 'so many at a time', 710, 225, 180),
    Box('Connector', 'name, proxy, TLS', 710, 300, 180),
    Box('Clock', 'deadlines, the sweep', 710, 375, 180),
    Box('Transport', 'socket, watchers', 245, 520, 120),
    Box('Outgoing', 'what goes out later', 377, 520, 124),
    Box('Receiver', 'reads the socket', 513, 520, 120),
    Box('ResponseParser', 'bytes to answers', 645, 520, 130),
    Box('BodyFeed', 'streamed bodies', 787, 520, 113),
)
ARROWS = (
    Arrow(1, ((630, 52), (710, 52))),
    Arrow(2, ((800, 74), (800, 95), (330, 95), (330, 150))),
    Arrow(3, ((410, 172), (440, 172), (440, 240), (470, 240))),
    Arrow(4, ((630, 238), (670, 238), (670, 172), (710, 172))),
    Arrow(5, ((630, 256), (710, 256))),
    Arrow(0, ((800, 269), (800, 300))),
    Arrow(6, ((470, 256), (410, 256))),
    Arrow(7, ((350, 269), (350, 300))),
    Arrow(8, ((250, 322), (238, 322), (238, 542), (245, 542))),
    Arrow(9, ((573, 520), (573, 460), (424, 460), (424, 264), (410, 264))),
    Arrow(10, ((395, 269), (395, 285), (450, 285), (450, 388), (470, 388))),
    Arrow(11, ((470, 408), (410, 408))),
    Arrow(12, ((250, 397), (180, 397))),
    Arrow(0, ((100, 375), (100, 194))),
)
STYLE = """
    text { font: 13px system-ui, sans-serif; fill: #1b1f24 } .does { font-size: 11px; fill: #57606a }
    .title { font-size: 12px; font-weight: 600; fill: #57606a } .name { font-weight: 600 }
    .group { fill: #f6f8fa; stroke: #d0d7de } .box { fill: #fff; stroke: #57606a }
    .hop { fill: none; stroke: #0969da; stroke-width: 1.5; marker-end: url(#end) }
    .number { fill: #0969da } .digit { font-size: 10px; fill: #fff; text-anchor: middle }
"""


def drawn() -> str:
    """The picture."""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">',
        '  <title>The engine, and the way of a request through it</title>',
        f'  <style>{STYLE}  </style>',
        '  <marker id="end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">',
        '    <path d="M0 0 8 4 0 8z" fill="#0969da"/>',
        '  </marker>',
        f'  <rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#fff"/>',
    ]
    for group in GROUPS:
        lines += [
            f'  <rect class="group" x="{group.x}" y="{group.y}" width="{group.wide}" height="{group.high}" rx="6"/>',
            f'  <text class="title" x="{group.x + 12}" y="{group.y + 22}">{escape(group.title)}</text>',
        ]
    for box in BOXES:
        lines += [
            f'  <rect class="box" x="{box.x}" y="{box.y}" width="{box.wide}" height="{HIGH}" rx="4"/>',
            f'  <text class="name" x="{box.x + 9}" y="{box.y + 18}">{escape(box.name)}</text>',
            f'  <text class="does" x="{box.x + 9}" y="{box.y + 35}">{escape(box.does)}</text>',
        ]
    for arrow in ARROWS:
        lines.append(f'  <polyline class="hop" points="{" ".join(f"{x},{y}" for x, y in arrow.points)}"/>')
    for arrow in ARROWS:
        if arrow.number:
            x, y = arrow.middle
            lines += [
                f'  <circle class="number" cx="{x:g}" cy="{y:g}" r="8"/>',
                f'  <text class="digit" x="{x:g}" y="{y + 3.5:g}">{arrow.number}</text>',
            ]
    return '\n'.join([*lines, '</svg>', ''])


if __name__ == '__main__':
    PICTURE.write_text(drawn())
