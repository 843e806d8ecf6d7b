"""What the page does with runs that have ended: outcomes, asking again, downloads, filter, deletion; and its names for things."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tests import kit
from tests.saga.world import World
from tests.service.browser import MISSING, Browser
from tests.service.pages import compose, escape, show, until_stat, until_state, until_text
from tests.service.serving import LONG, Service, serving

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f'{MISSING} is missing: apt install chromium chromium-driver')


class Moody:
    """Answers 503 at paths that are down; notes paths, and a field."""

    def __init__(self, *down: str) -> None:
        self.down = set(down)
        self.asked: list[tuple[str, str | None]] = []

    def __call__(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, dict[str, str], str]:
        """The application."""
        self.asked.append((path, headers.get('authorization') or headers.get('Authorization')))
        return (503 if path.partition('?')[0] in self.down else 200), {'Content-Type': 'text/plain'}, path


def run_of(service: Service, host: str, *urls: str, **parts: Any) -> dict[str, Any]:
    """A run that has ended."""
    return service.run({'requests': [{'host': host, 'url': url, **parts} for url in urls]})[0]


def entries(browser: Browser) -> list[str]:
    """What the list of runs says of each."""
    found: list[str] = browser.run('return [...document.querySelectorAll("#runs li")].map(one => one.innerText)')
    return found


# Outcomes ---------------------------------------------------------------------------------------------------------------


def test_the_badge_tells_how_a_run_ended(browser: Browser, tmp_path: Path) -> None:
    """Done, done with so many failures, failed, cancelled, interrupted: beside the run and in the list, and it is announced."""
    gate = kit.Gate()
    with kit.serve(Moody('/down')) as server, kit.serve(gate=gate) as slow:
        first = Service(tmp_path / 'runs')
        interrupted = first.start({'requests': [{'host': slow.host, 'method': 'POST'}]})['id']
        gate.wait_for(1)
        first.kill()
        with serving(tmp_path / 'runs') as service:
            service.follow(interrupted)
            cancelled = service.start({'requests': [{'host': slow.host}] * 3})['id']
            gate.wait_for(2)
            browser.open(f'{service.url}#/runs/{cancelled}')
            until_text(browser, '#state', 'running')
            browser.click('#cancel')
            until_text(browser, '#state', 'cancelled')
            until_stat(browser, 'cancelled', '3')
            expected = {
                'done': run_of(service, server.host, '/', '/')['id'],
                'done, 2 failed': run_of(service, server.host, '/', '/down', '/down')['id'],
                'failed': run_of(service, server.host, '/down')['id'],
                'cancelled': cancelled,
                'interrupted': interrupted,
            }
            colours = {}
            for text, id in expected.items():
                show(browser, service, id)
                until_text(browser, '#state', text)
                colours[text] = browser.run('return getComputedStyle(document.getElementById("state")).color')
                assert browser.run(
                    'const badge = document.getElementById("state");'
                    'return [badge.getAttribute("role"), badge.getAttribute("aria-live"), badge.getAttribute("aria-atomic")]'
                ) == ['status', 'polite', 'true']
            until_stat(browser, 'interrupted', '1')
            assert len(set(colours.values())) == 3  # well, not all well, not at all
            browser.open('about:blank')
            browser.open(service.url)
            browser.until('document.querySelectorAll("#runs li").length === 5')
            badges = browser.run('return [...document.querySelectorAll("#runs .badge")].map(one => one.textContent)')
            assert badges == ['failed', 'done, 2 failed', 'done', 'cancelled', 'interrupted']
            assert '3 cancelled' in entries(browser)[3] and '1 interrupted' in entries(browser)[4]
        gate.open()


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_texts_stand_out_from_what_is_behind_them(browser: Browser, service: Service, scheme: str) -> None:
    """In both schemes badges, hints, buttons and quiet texts have a contrast of 4.5 (WCAG 2.2, 1.4.3)."""
    with kit.serve(Moody('/down')) as server:
        run = run_of(service, server.host, '/', '/down')
    browser.prefer(color_scheme=scheme)
    contrast = """
    const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
    const shade = colours => {
        canvas.clearRect(0, 0, 1, 1);
        for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
        const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(value => value / 255)
            .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const poor = [];
    for (const name of ['ok', 'done', 'partial', 'failed', 'running', 'cancelled', 'interrupted']) {
        const badge = document.createElement('span');
        badge.className = `badge ${name}`;
        badge.textContent = name;
        document.querySelector('main').append(badge);
    }
    for (const element of document.querySelectorAll('.badge, .quiet, button, a, dt, dd, .hint-text, label, h2')) {
        if (!element.checkVisibility() || element.disabled || element.matches('[aria-hidden=true]')) continue;
        const behind = [];
        for (let at = element; at; at = at.parentElement) behind.unshift(getComputedStyle(at).backgroundColor);
        const [a, b] = [shade(behind), shade([...behind, getComputedStyle(element).color])].sort((x, y) => x - y);
        if ((b + 0.05) / (a + 0.05) < 4.5) poor.push([element.outerHTML.slice(0, 80), (b + 0.05) / (a + 0.05)]);
    }
    return poor;"""
    browser.open(service.url)
    browser.until('document.querySelector("#runs a")')
    assert browser.run(contrast) == []
    show(browser, service, run['id'])
    until_text(browser, '#state', 'done, 1 failed')
    assert browser.run(contrast) == []


# Asking again -----------------------------------------------------------------------------------------------------------


def test_the_failed_ones_are_asked_again(browser: Browser, service: Service) -> None:
    """One press, or two, make one run of what has not succeeded; the runs lead to each other, and the list says so."""
    moody = Moody('/1', '/3')
    with kit.serve(moody) as server:
        run = run_of(service, server.host, *(f'/{n}' for n in range(5)))
        show(browser, service, run['id'])
        browser.until('document.getElementById("again-failed").checkVisibility()')
        assert browser.text('#again-failed') == 'Ask the failed ones again'
        moody.asked.clear()
        moody.down.clear()
        browser.run(
            'const button = document.getElementById("again-failed"); button.click(); button.click();'
            f'fetch("runs/{run["id"]}/again", {{method: "POST"}})'
        )
        browser.until('location.hash !== arguments[0] && document.getElementById("parent")', f'#/runs/{run["id"]}')
        until_text(browser, '#state', 'done')
        until_stat(browser, 'ok', '2')
        assert sorted(path for path, _ in moody.asked) == ['/1', '/3']
        child = browser.run('return location.hash').rpartition('/')[2]
        assert not browser.run('return document.getElementById("again-failed").checkVisibility()')
        browser.click('#parent')
        browser.until('document.getElementById("child")?.getAttribute("href") === arguments[0]', f'#/runs/{child}')
        assert not browser.run('return document.getElementById("again-failed").checkVisibility()')
        browser.click('#child')
        browser.until('document.getElementById("parent")')
    browser.click('#home')
    browser.until('document.querySelectorAll("#runs a").length')
    assert 'asked again' in entries(browser)[1] and 'asked again' not in entries(browser)[0]


def test_credentials_that_are_not_kept_are_asked_for(browser: Browser, service: Service) -> None:
    """They are hidden as they are written, kept nowhere, and remembered by the tab that sent them; who gives up makes no run."""
    moody = Moody('/x')
    with kit.serve(moody) as server:
        compose(
            browser, service, server.host, url='/x?token=t0ken-one&a=1', headers='Authorization: Bearer f1rst-secret'
        )
        until_text(browser, '#state', 'failed')
        id = browser.run('return location.hash').rpartition('/')[2]
        browser.click('#again-failed')
        browser.until('document.getElementById("again-dialog").open')
        assert (
            browser.run('return document.getElementById("again-headers-Authorization").value') == 'Bearer f1rst-secret'
        )
        escape(browser)
        browser.until('!document.querySelector("#again-fields input")')
        assert service.show(id)['again'] is None
        browser.reload()  # who composed it is gone
        until_text(browser, '#state', 'failed')
        browser.click('#again-failed')
        browser.until('document.activeElement.id === "again-headers-Authorization" && !document.activeElement.value')
        assert browser.run(
            'return [...document.querySelectorAll("#again-fields input")].map(one => [one.type, one.labels[0].textContent])'
        ) == [['password', 'Authorization'], ['password', 'token']]
        browser.keys('Enter')  # nothing is written: the browser says what is missing
        assert browser.run('return document.getElementById("again-dialog").open')
        browser.write('#again-headers-Authorization', 'Bearer n3w')
        browser.write('#again-parameters-token', 'n3w&')
        moody.asked.clear()
        browser.keys('Enter')
        browser.until('document.getElementById("parent")')
        until_text(browser, '#state', 'failed')
    assert moody.asked == [('/x?token=n3w%26&a=1', 'Bearer n3w')]
    assert not browser.run('return document.body.innerHTML.includes("n3w")')


def test_what_may_have_been_done_already_is_told_before(browser: Browser, tmp_path: Path) -> None:
    """POSTs of which nobody knows what became are asked again only after that was read."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as slow:
        first = Service(tmp_path / 'runs')
        id = first.start({'requests': [{'host': slow.host, 'method': 'POST'}]})['id']
        gate.wait_for(1)
        first.kill()
        gate.open()
        with serving(tmp_path / 'runs') as service:
            service.follow(id)
            show(browser, service, id)
            until_text(browser, '#state', 'interrupted')
            assert browser.text('#again-failed') == 'Ask the missing ones again'
            browser.click('#again-failed')
            browser.until('document.activeElement.id === "again-cancel"')
            assert '1 of them may have been carried out already' in browser.text('#again-dialog')
            browser.click('#again-go')
            browser.until('document.getElementById("parent")')
            until_text(browser, '#state', 'done')


# Downloads --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('token', [None, 's3cret+/='])
def test_results_are_downloaded(browser: Browser, tmp_path: Path, token: str | None) -> None:
    """As NDJSON and CSV, all ten thousand of them, where a token is wanted too; the page does not have to hold them."""
    (tmp_path / 'token').write_text(token or '')
    options = ['--token', f'@{tmp_path / "token"}'] if token else []
    fields = {'Content-Type': 'application/json', **({'Authorization': f'Bearer {token}'} if token else {})}
    kept = tmp_path / 'kept'
    kept.mkdir()
    with kit.serve() as server, serving(tmp_path / 'runs', *options) as service:
        body = {'requests': [{'host': server.host}] * 10_000, 'simultaneous': 50}
        id = service.ask('POST', '/runs', body, fields).body['id']
        service.ask('GET', f'/runs/{id}/results?follow=1', None, fields)
        browser.devtools('Browser.setDownloadBehavior', behavior='allow', downloadPath=str(kept))
        browser.open(f'{service.url}#/runs/{id}')
        if token:
            browser.until('document.getElementById("access").open')
            browser.write('#token', token)
            browser.keys('Enter')
        until_state(browser, 'done')
        browser.complaints()  # of the answer 401
        for form in 'ndjson', 'csv':
            browser.click(f'#download-{form}')
            kit.wait_until((kept / f'napix-{id}.{form}').exists, f'the {form} is there', LONG)
        assert not browser.run('return document.documentElement.innerHTML.includes("s3cret")')
        lines = (kept / f'napix-{id}.ndjson').read_text().splitlines()
        assert [json.loads(line)['seq'] for line in lines] == list(range(10_000))
        with (kept / f'napix-{id}.csv').open(newline='') as file:
            assert [row['seq'] for row in csv.DictReader(file)] == [str(n) for n in range(10_000)]
        browser.run('sessionStorage.clear()')
        assert not any('s3cret' in json.dumps(one) for one in service.log)


# The list ---------------------------------------------------------------------------------------------------------------


def test_the_list_is_filtered(browser: Browser, tmp_path: Path) -> None:
    """By outcome and by words, as they are written; what was chosen is still so after a look at a run."""
    with kit.serve(Moody('/down')) as server, serving(tmp_path / 'runs') as service:
        run_of(service, server.host, '/fine')
        run_of(service, server.host, '/down')
        run_of(service, server.host, '/down', '/other')
        browser.open(service.url)
        browser.until('document.querySelectorAll("#runs li").length === 3')

        def choose(outcome: str) -> None:
            browser.run(
                'const field = document.getElementById("filter-outcome"); field.value = arguments[0];'
                'field.dispatchEvent(new Event("change"))',
                outcome,
            )

        choose('done_with_failures')
        browser.until('document.querySelectorAll("#runs li").length === 1')
        assert 'done, 1 failed' in entries(browser)[0]
        browser.click('#runs a')
        until_state(browser, 'done')
        browser.run('history.back()')
        browser.until('document.querySelectorAll("#runs li").length === 1')
        assert browser.run('return document.getElementById("filter-outcome").value') == 'done_with_failures'
        browser.write('#filter-text', 'nothing is like that')
        browser.until('document.getElementById("runs-note").textContent === "No run is like that."')
        choose('')
        browser.keys('Escape', '/')
        browser.until('document.activeElement.id === "filter-text"')
        browser.write('#filter-text', 'get FINE')
        browser.until('document.querySelectorAll("#runs li").length === 1')
        assert '/fine' in entries(browser)[0]
        assert browser.run(
            'return ["filter-outcome", "filter-text"].map(id => document.getElementById(id).ariaLabel)'
        ) == ['Which runs', 'Filter by method, path, first host or id']


def test_a_run_is_deleted_after_it_was_named(browser: Browser, tmp_path: Path) -> None:
    """From the list and from the run; who keeps it loses nothing, and one under way has no such button."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as slow, kit.serve() as server, serving(tmp_path / 'runs') as service:
        ids = [run_of(service, server.host, f'/n{n}')['id'] for n in range(2)]
        running = service.start({'requests': [{'host': slow.host}]})['id']
        gate.wait_for(1)
        browser.open(service.url)
        browser.until('document.querySelectorAll("#runs li").length === 3')
        assert browser.run('return document.querySelectorAll("#runs .forget").length') == 2
        browser.run('document.querySelectorAll("#runs .forget")[1].focus()')
        browser.keys('Enter')
        browser.until('document.activeElement.id === "forget-keep"')
        text = browser.text('#forget')
        assert 'GET /n0' in text and server.host in text and ids[0][:8] in text and '1 ok' in text
        browser.keys('Enter')
        browser.until('!document.getElementById("forget").open')
        assert service.show(ids[0])['state'] == 'done'
        browser.click('#runs li:nth-child(3) .forget')
        browser.click('#forget-go')
        browser.until('document.querySelectorAll("#runs li").length === 2 && document.activeElement.matches("#runs a")')
        assert service.ask('GET', f'/runs/{ids[0]}').status == 404
        show(browser, service, ids[1])
        until_state(browser, 'done')
        browser.click('#delete')
        browser.until('document.getElementById("forget").open')
        assert 'GET /n1' in browser.text('#forget')
        browser.click('#forget-go')
        browser.until('document.getElementById("compose")')
        assert service.ask('GET', f'/runs/{ids[1]}').status == 404
        show(browser, service, running)
        until_state(browser, 'running')
        assert not browser.run('return document.getElementById("delete").checkVisibility()')
        gate.open()


# Names for things -------------------------------------------------------------------------------------------------------


def test_the_field_for_the_token_has_the_focus(browser: Browser, tmp_path: Path) -> None:
    """So that a token can be written at once, whichever place was opened."""
    (tmp_path / 'token').write_text('s3cret')
    with serving(tmp_path / 'runs', '--token', f'@{tmp_path / "token"}') as service:
        for place in '', '#/sagas', f'#/runs/{"0" * 32}':
            browser.open('about:blank')
            browser.open(service.url + place)
            browser.until('document.getElementById("access").open && document.activeElement.id === "token"')
        browser.open('about:blank')
        browser.open(service.url)
        browser.until('document.activeElement.id === "token"')
        browser.keys('s3cret', 'Enter')
        browser.until('document.getElementById("runs-note").textContent.startsWith("No runs yet")')
        browser.run('sessionStorage.clear()')
        browser.complaints()


def test_every_field_of_the_form_explains_itself(browser: Browser, service: Service) -> None:
    """Each has a label, and a line where the word is not one of everyday; none is a word of ours alone."""
    browser.open(service.url)
    fields = browser.run(
        """return [...document.querySelectorAll('#compose :is(input, textarea, select)')].map(field =>
        [field.labels[0]?.textContent, document.getElementById(field.getAttribute('aria-describedby'))?.textContent])"""
    )
    said = dict(fields)
    assert 'web[1-3] is web1, web2 and web3' in said['Hosts'] and 'node set' not in browser.text('#compose')
    assert 'good answers' in said['Stop after'] and 'cancelled' in said['Stop after']
    assert all(label for label, _ in fields)
    browser.write('#field-hosts', 'web1')
    browser.run('document.querySelector("details.more").open = true')
    browser.write('#field-need', 'many')
    browser.click('#send')
    browser.until('document.activeElement.id === "field-need"')
    assert browser.text('#compose-alert').startswith('Stop after: a number')


def test_times_are_written_as_for_the_command(browser: Browser, service: Service) -> None:
    """Timeout and deadline are seconds, or such as 1m30s and 500ms; what is no time is named, and nothing is sent."""
    with kit.serve() as server:
        for timeout, seconds in ('1m30s', 90), ('2m', 120), ('500ms', 0.5), ('7', 7), (' 1.5 ', 1.5):
            compose(browser, service, server.host, timeout=timeout)
            until_state(browser, 'done')
            assert service.show(browser.run('return location.hash').rpartition('/')[2])['timeout'] == seconds
        browser.open('about:blank')
        browser.open(service.url)
        browser.run('document.querySelector("details.more").open = true')
        browser.write('#field-hosts', server.host)
        for deadline in '1x', '5s1m', '1.2.3s':
            browser.write('#field-deadline', deadline)
            browser.click('#send')
            until_text(browser, '#compose-alert', f'Deadline: a number of seconds, or such as 1m30s, not “{deadline}”')
            assert browser.run('return document.activeElement.id') == 'field-deadline'
        assert len(server.requests) == 5


def test_r_goes_to_the_list_of_runs(browser: Browser, service: Service) -> None:
    """From a run and from the sagas as well as from the form beside the list: as the help says."""
    with kit.serve() as server:
        id = service.start({'requests': [{'host': server.host}]})['id']
        service.follow(id)
    for place in f'#/runs/{id}', '#/sagas':
        browser.open('about:blank')
        browser.open(f'{service.url}{place}')
        browser.until('document.querySelector("main h1")')
        if place.endswith(id):
            until_state(browser, 'done')
        browser.keys('r')
        browser.until('location.hash === "#/" && document.activeElement.id === "past-title"')
        browser.until('document.querySelector("#runs a")')
    browser.keys('r')
    browser.until('document.activeElement === document.querySelector("#runs a")')


def test_the_tile_that_the_keyboard_is_on_says_its_name(browser: Browser, service: Service) -> None:
    """It is seen, with how the host fares, where tiles have no names too; it goes when the focus does."""
    with kit.serve(address='0.0.0.0') as server:
        id = service.start({'hosts': f'127.0.0.[1-90]:{server.port}', 'request': {}})['id']
        service.follow(id)
    show(browser, service, id)
    until_state(browser, 'done')
    hint = 'document.querySelector(".tiles .hint")'
    assert browser.run(f'return {hint}.hidden')
    browser.keys('t')
    browser.until(f'{hint}.innerText.startsWith("127.0.0.1:{server.port}\\n200")')
    browser.keys('Right', 'Right')
    browser.until(f'{hint}.innerText.startsWith("127.0.0.3:{server.port}\\n200") && {hint}.checkVisibility()')
    browser.keys('End')
    browser.until(f'{hint}.innerText.startsWith("127.0.0.90:{server.port}")')
    inside = browser.run(
        f"""const hint = {hint}.getBoundingClientRect(), box = document.querySelector('.tiles').getBoundingClientRect();
        return hint.left >= box.left - 1 && hint.right <= box.right + 1 && hint.bottom <= innerHeight"""
    )
    assert inside
    browser.keys('Tab')
    browser.until(f'{hint}.hidden')


def test_a_panel_that_is_empty_says_why(browser: Browser, service: Service) -> None:
    """No latency before the first answer, none where nobody answered, none where nothing was sent."""
    empty = 'document.querySelector(".latency .empty")?.innerText ?? ""'
    gate = kit.Gate()
    with kit.serve(gate=gate) as server:
        id = service.start({'requests': [{'host': server.host}] * 3})['id']
        gate.wait_for(2)
        show(browser, service, id)
        browser.until(f'({empty}).startsWith("No answer yet.")')
        gate.wait_for(2)[0].release()
        browser.until('document.querySelector(".latency .empty").hidden')
        gate.open()
        service.follow(id)
    run = run_of(service, '127.0.0.1:1', '/', '/')
    show(browser, service, run['id'])
    browser.until(f'({empty}).includes("2 failed before a server answered")')
    gate = kit.Gate()
    with kit.serve(gate=gate) as server:
        id = service.start({'requests': [{'host': server.host}] * 3})['id']
        gate.wait_for(2)
        service.ask('DELETE', f'/runs/{id}')
        show(browser, service, id)
        browser.until(f'({empty}).includes("3 cancelled")')
        gate.open()


def test_sagas_have_their_place(browser: Browser, tmp_path: Path) -> None:
    """They are one press away, from anywhere, and the list says how each stands; the place that is open is marked."""
    with World() as world, serving(tmp_path / 'runs') as service:
        browser.open(service.url)
        browser.until('document.querySelector("header nav a[aria-current]").textContent === "Runs"')
        assert not browser.run('return document.getElementById("cluster-link").checkVisibility()')
        browser.keys('Escape', 's')
        browser.until('document.getElementById("sagas-note")?.textContent === "No sagas yet."')
        undo = {'method': 'DELETE', 'url': '{header:location}'}
        for urls in ('/a', '/b', '/fail'), ('/a',):
            steps = [{'host': world.host, 'method': 'POST', 'url': url, 'undo': undo} for url in urls]
            service.ask('POST', '/sagas', {'steps': steps}, {'Content-Type': 'application/json'})
        browser.until(
            '[...document.querySelectorAll("#sagas .badge")].map(one => one.textContent).join() === "committed,undone"'
        )
        assert browser.text('header nav a[aria-current]') == 'Sagas'
        browser.click('#sagas li:nth-child(2) a')
        until_text(browser, '#saga-state', 'undone')
        assert browser.text('header nav a[aria-current]') == 'Sagas'


def test_without_a_cluster_its_place_says_so(browser: Browser, service: Service) -> None:
    """The API answers 404 and why, and the page, where somebody has its address, what to do."""
    answer = service.ask('GET', '/cluster')
    assert answer.status == 404 and 'off' in answer.body['error_text'] and '--via' in answer.body['error_text']
    browser.open(f'{service.url}#/cluster')
    browser.until('document.getElementById("cluster-state").textContent.includes("--via")')
    assert all('404' in complaint for complaint in browser.complaints())
