"""What tests of the page do with it."""

from __future__ import annotations

from tests.service.browser import Browser
from tests.service.serving import Service

__all__ = ['compose', 'escape', 'rows', 'show', 'until_rows', 'until_stat', 'until_state', 'until_text']


def compose(browser: Browser, service: Service, hosts: str, **fields: str) -> None:
    """Fill in the form, and send it; the run is on show when this returns."""
    browser.open(service.url)
    for name, text in {'hosts': hosts, **fields}.items():
        if name == 'method':
            browser.run(
                'const field = document.getElementById("field-method"); field.value = arguments[0];'
                'field.dispatchEvent(new Event("input", {bubbles: true}))',
                text,
            )
        else:
            browser.write(f'#field-{name}', text)
    browser.click('#send')
    browser.until('location.hash.startsWith("#/runs/") && document.getElementById("state")')


def show(browser: Browser, service: Service, id: str) -> None:
    """Go to a run, as from a link that somebody sent."""
    browser.open('about:blank')
    browser.open(f'{service.url}#/runs/{id}')
    browser.until('document.getElementById("state")')


def until_state(browser: Browser, state: str) -> None:
    """Until the run on show is in that state."""
    browser.until('document.getElementById("state")?.dataset.state === arguments[0]', state)


def until_stat(browser: Browser, name: str, text: str) -> None:
    """Until a number of the run is that."""
    browser.until('document.getElementById("stat-" + arguments[0])?.textContent === arguments[1]', name, text)


def until_text(browser: Browser, selector: str, text: str) -> None:
    """Until that is what an element says."""
    browser.until('document.querySelector(arguments[0])?.textContent === arguments[1]', selector, text)


def escape(browser: Browser) -> None:
    """Press Escape, and see the dialog closed."""
    browser.keys('Escape')
    browser.until('!document.querySelector("dialog[open]")')


def rows(browser: Browser) -> list[list[str]]:
    """The answers: badge, count, hosts and a first glance of each."""
    found: list[list[str]] = browser.run(
        'return [...document.querySelectorAll("#answers summary")].map(row => [...row.children].map(part => part.textContent))'
    )
    return found


def until_rows(browser: Browser, count: int) -> list[list[str]]:
    """Until so many different answers are on show."""
    browser.until('document.querySelectorAll("#answers summary").length === arguments[0]', count)
    return rows(browser)
