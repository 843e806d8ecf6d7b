"""Checks the links of built pages that stay among them: `python docs/links.py docs/_build/html`.

Sphinx warns of references that lead nowhere. This finds what it does not see: a file or a place in a page that is named by
an address, in the pages as they were written.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """What a page links to, and the places in it that can be linked to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = {'', 'top'}
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note it."""
        for name, value in attrs:
            if name == 'id' and value:
                self.places.add(value)
            elif name in ('href', 'src') and value:
                self.links.append(value)


def broken(folder: Path) -> Iterator[str]:
    """The links that lead nowhere."""
    pages = {path.resolve(): Page(path) for path in sorted(folder.rglob('*.html'))}
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            found = pages.get(target)
            if not target.exists() or found and unquote(parts.fragment) not in found.places:
                yield f'{path.relative_to(folder.resolve())}: {link}'


if __name__ == '__main__':
    lost = list(broken(Path(sys.argv[1])))
    print(*lost, sep='\n', end='\n' if lost else '')
    sys.exit(bool(lost))
