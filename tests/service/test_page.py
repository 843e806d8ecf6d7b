"""The page at /, in a real browser: composed, watched, folded, opened, cancelled, come back to, by hand and by keyboard."""

from __future__ import annotations

import json
import random
import statistics
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest

from napixclient import Client
from napixclient.hosts import expand
from napixclient.testing import serve
from napixclient.wsgi import ExceptionsCatcher
from tests import kit
from tests.saga.world import World
from tests.service.browser import MISSING, Browser
from tests.service.pages import compose, escape, show, until_rows, until_stat, until_state, until_text
from tests.service.serving import Service, serving

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f'{MISSING} is missing: apt install chromium chromium-driver')


def number_of(environ: dict[str, Any]) -> int:
    """The last number of the address that was asked."""
    return int(environ['HTTP_HOST'].partition(':')[0].rpartition('.')[2])


# The way through it -----------------------------------------------------------------------------------------------------


def test_a_fan_out_is_composed_sent_and_watched_live(browser: Browser, service: Service) -> None:
    """What was composed is what is sent; numbers and tiles follow what happens, and the end is told."""
    gate = kit.Gate()
    with kit.serve(gate=gate, address='0.0.0.0') as server:
        browser.open(service.url)
        browser.write('#field-hosts', f'127.0.0.[1-9]:{server.port} 127.0.0.12:{server.port}')
        assert '10 hosts' in browser.text('#compose')
        compose(
            browser,
            service,
            f'127.0.0.[1-9]:{server.port} 127.0.0.12:{server.port}',
            method='PUT',
            url='/ships?x=1',
            headers='X-Captain: Nemo\nAccept: text/plain',
            body='{"size": 12345678901234567890}',
            simultaneous='3',
            timeout='30',
        )
        held = gate.wait_for(10)
        until_text(browser, '.where', f'127.0.0.[1-9,12]:{server.port}')
        assert browser.text('h1') == 'PUT /ships?x=1'
        assert {(one.method, one.path, one.headers['x-captain'], one.body) for one in held} == {
            ('PUT', '/ships?x=1', 'Nemo', b'{"size":12345678901234567890}')
        }
        until_state(browser, 'running')
        until_stat(browser, 'in_flight', '10')
        assert browser.text('#link') == 'Live'
        browser.keys('t')
        browser.until('document.getElementById("tile").textContent.endsWith("in flight")')
        for one in held[:4]:
            one.release()
        until_stat(browser, 'done', '4 / 10')
        until_stat(browser, 'in_flight', '6')
        gate.open()
        until_state(browser, 'done')
    until_stat(browser, 'ok', '10')
    assert browser.run('return document.querySelector(".flow canvas").getAttribute("aria-label")').startswith(
        'Requests in flight'
    )
    browser.until('document.querySelector(".latency canvas").getAttribute("aria-label").includes("p50")')
    browser.until('document.getElementById("said").textContent.includes("10 ok")')
    run = service.show(browser.run('return location.hash').rpartition('/')[2])
    assert (run['simultaneous'], run['timeout'], run['about']['url']) == (3, 30, '/ships?x=1')


def test_only_failures_are_red_and_the_rate_is_told(browser: Browser, service: Service) -> None:
    """A number of failures is red from 1 up; how many ended a second is told while it runs and after; all of it fits."""
    colours = 'return ["ok", "failed"].map(name => getComputedStyle(document.getElementById("stat-" + name)).color)'
    gate = kit.Gate()
    with kit.serve(gate=gate) as server, kit.serve(lambda *_: (500, None, 'x')) as failing:
        good = service.start({'requests': [{'host': server.host}] * 2, 'simultaneous': 2})
        first, _ = gate.wait_for(2)
        show(browser, service, good['id'])
        until_stat(browser, 'rate', '–')
        first.release()
        browser.until('/^[0-9.,]+[/]s$/.test(document.getElementById("stat-rate").textContent)')
        gate.open()
        until_state(browser, 'done')
        until_stat(browser, 'failed', '0')
        ok, failed = browser.run(colours)
        assert ok == failed
        bad = service.start({'requests': [{'host': failing.host}] * 5})
        show(browser, service, bad['id'])
        until_stat(browser, 'failed', '5')
    until_state(browser, 'done')
    ok, failed = browser.run(colours)
    assert ok != failed
    run = service.show(bad['id'])
    told = browser.run('return document.getElementById("stat-rate").textContent').removesuffix('/s').replace(',', '')
    assert float(told) == pytest.approx(5 / (run['finished'] - run['created']), rel=0.1)
    for width in 1280, 1070, 900, 700, 390:
        browser.resize(width, 900)
        assert browser.run('const s = document.querySelector(".stats"); return s.scrollWidth <= s.clientWidth'), width


#: Notes, at every frame, what the page says in its different places.
SAMPLING = """
window.samples = new Set();
(function frame() {
  const text = id => document.getElementById(id)?.textContent;
  window.samples.add(JSON.stringify([text('stat-done'), text('stat-ok'), text('stat-p50'), text('stat-p99'),
    document.querySelector('.latency canvas')?.getAttribute('aria-label'),
    document.querySelector('.bar.large')?.getAttribute('aria-valuenow'), text('tile'), text('state')]));
  requestAnimationFrame(frame);
})()"""


def shown(ms: float | None) -> str:
    """A duration as the page writes it; a half is rounded up."""
    if ms is None:
        return '–'
    unit, value = ('ms', Decimal(ms)) if ms < 1000 else ('s', Decimal(ms) / 1000)
    places = 2 if ms < 1 or 1000 <= ms < 10_000 else 1 if ms < 10 or ms >= 10_000 else 0
    return f'{value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)} {unit}'


def until_sampled(browser: Browser) -> list[list[str]]:
    """What was noted until the run was shown as ended."""
    browser.until('[...window.samples].some(sample => JSON.parse(sample)[7] === "done")')
    return [json.loads(sample) for sample in browser.run('return [...window.samples]')]


def test_numbers_tiles_and_quantiles_are_of_one_moment(browser: Browser, service: Service) -> None:
    """In no frame does one of them know of a result that another does not; the quantiles are those of the service."""
    gate, many = kit.Gate(), 12
    with kit.serve(gate=gate) as server:
        id = service.start({'requests': [{'host': server.host}] * many, 'simultaneous': many})['id']
        held = gate.wait_for(many)
        browser.open(f'{service.url}#/runs/{id}')
        until_stat(browser, 'done', f'0 / {many}')
        browser.keys('t')
        browser.until('document.getElementById("tile").textContent.endsWith(arguments[0])', f'{many} waiting')
        browser.run(SAMPLING)
        latencies = {0: {'p50': None, 'p99': None}}
        for count, one in enumerate(held, 1):
            one.release()
            until_stat(browser, 'done', f'{count} / {many}')
            latencies[count] = service.show(id)['latency']
        samples = until_sampled(browser)
    assert {sample[0] for sample in samples} == {f'{count} / {many}' for count in range(many + 1)}
    for done, ok, p50, p99, label, value, tile, state in samples:
        count = int(ok)
        parts = [f'{count} ok'] * bool(count) + [f'{many - count} waiting'] * (count < many)
        assert (done, value, tile) == (f'{count} / {many}', ok, f'{server.host}, {", ".join(parts)}')
        assert (p50, p99) == tuple(shown(latencies[count][name]) for name in ('p50', 'p99'))
        assert label.startswith(f'Latencies: p50 {p50}, p90 ' if count else 'Latencies: none yet')
        assert state == 'running' or count == many


def test_a_past_run_is_seen_as_it_ended(browser: Browser, service: Service) -> None:
    """A run is not shown as ended before all of its results are."""
    with kit.serve() as server:
        id = service.run({'requests': [{'host': server.host}] * 300})[0]['id']
    browser.open(f'{service.url}#/')
    browser.run(SAMPLING)
    browser.run(f'location.hash = "#/runs/{id}"')
    until_stat(browser, 'done', '300 / 300')
    latency = service.show(id)['latency']
    samples = until_sampled(browser)
    seen = [sample for sample in samples if sample[0] not in (None, '–')]
    assert seen[-1] == ['300 / 300', '300', shown(latency['p50']), shown(latency['p99']), *seen[-1][4:7], 'done']
    for done, ok, _, _, _, value, _, state in seen:
        assert done == f'{ok} / 300' and value == ok and (state == 'running' or ok == '300')


def test_identical_answers_are_folded_under_their_hosts(browser: Browser, service: Service) -> None:
    """The same answer is there once, under the folded set of its hosts; unfolded each is there by itself."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response('200 OK', [('Content-Type', 'application/json')])
        return [b'{"version": %d}' % (2 if number_of(environ) in (4, 7) else 1)]

    with serve(app, address='0.0.0.0') as server:
        id = service.start({'hosts': f'127.0.0.[1-10]:{server.port}', 'request': {}})['id']
        service.follow(id)
    show(browser, service, id)
    assert [row[1:] for row in until_rows(browser, 2)] == [
        ['×\u20098', f'127.0.0.[1-3,5-6,8-10]:{server.port}', '{"version":1}'],
        ['×\u20092', f'127.0.0.[4,7]:{server.port}', '{"version":2}'],
    ]
    browser.click('#answers li:nth-child(2) summary')
    browser.until('document.querySelectorAll("#answers details[open] .name").length === 2')
    assert json.loads(browser.text('#answers details[open] pre')) == {'version': 2}
    browser.click('#answers details[open] .name')
    browser.until('document.getElementById("detail").open')
    assert '1 of 2' in browser.text('#detail') and '"version": 2' in browser.text('#detail')
    browser.keys('Right')
    browser.until('document.getElementById("detail-place").textContent === "2 of 2"')
    escape(browser)
    browser.keys('f')
    assert {row[2] for row in until_rows(browser, 10)} == {f'127.0.0.{n}:{server.port}' for n in range(1, 11)}
    browser.keys('f')
    until_rows(browser, 2)


def test_a_chain_of_errors_is_opened_down_to_its_first_cause(browser: Browser, service: Service) -> None:
    """Every call of the chain is told, ours first; errors that differ only in their ids are one."""

    def disk(environ: Any, start_response: Any) -> list[bytes]:
        raise RuntimeError('disk full on pool-3')

    with serve(ExceptionsCatcher(disk)) as back, Client(back.host) as filer:

        def vm(environ: Any, start_response: Any) -> list[bytes]:
            filer.request('POST', '/storage/', {'size': 10})
            return []

        with serve(ExceptionsCatcher(vm), address='0.0.0.0') as front:
            id = service.start({'hosts': f'127.0.0.[1-3]:{front.port}', 'request': {'url': '/vm/'}})['id']
            service.follow(id)
    show(browser, service, id)
    assert until_rows(browser, 1) == [['502', '×\u20093', f'127.0.0.[1-3]:{front.port}', 'disk full on pool-3']]
    browser.click('#answers summary')
    browser.click('.chain-button')
    browser.until('document.querySelectorAll("#chain li").length === 2')
    first, root = (browser.text(f'#chain li:nth-child({n})') for n in (1, 2))
    assert f':{front.port}/vm/' in first and '502' in first
    assert f'POST http://{back.host}/storage/' in root and 'RuntimeError' in root and 'first cause' in root


def test_a_run_is_cancelled(browser: Browser, service: Service) -> None:
    """Cancelled from the page, nothing is in flight any more, and what was answered stays; it can be asked again."""
    gate = kit.Gate()
    with kit.serve(gate=gate, address='0.0.0.0') as server:
        compose(browser, service, f'127.0.0.[1-5]:{server.port}')
        gate.wait_for(5)[0].release()
        until_stat(browser, 'ok', '1')
        browser.click('#cancel')
        until_state(browser, 'cancelled')
        kit.wait_until(lambda: gate.in_flight == 0, 'nothing is in flight')
    assert {tuple(row[:2]) for row in until_rows(browser, 2)} == {('200', '×\u20091'), ('cancelled', '×\u20094')}
    assert not browser.run('return document.getElementById("cancel").checkVisibility()')
    browser.click('#again')
    assert browser.until('document.getElementById("field-hosts")?.value') == f'127.0.0.[1-5]:{server.port}'


def test_a_reload_in_the_middle_of_a_run_loses_nothing(browser: Browser, service: Service) -> None:
    """After it every host is there, answered or not, and each result once; it is found in the list of runs too."""
    gate = kit.Gate()
    with kit.serve(gate=gate, address='0.0.0.0') as server:
        compose(browser, service, f'127.0.0.[1-20]:{server.port}')
        for one in gate.wait_for(20)[:7]:
            one.release()
        until_stat(browser, 'ok', '7')
        browser.reload()
        until_stat(browser, 'done', '7 / 20')
        until_stat(browser, 'in_flight', '13')
        until_text(browser, '.where', f'127.0.0.[1-20]:{server.port}')
        browser.keys('t')
        browser.until('document.getElementById("tile").getAttribute("aria-setsize") === "20"')
        gate.open()
        until_state(browser, 'done')
        browser.keys('f')
        assert len({row[2] for row in until_rows(browser, 20)}) == 20
        place = browser.run('return location.hash')
        browser.click('nav a')
        browser.click(f'#runs a[href="{place}"]')
        until_stat(browser, 'done', '20 / 20')


def test_a_service_that_is_killed_and_started_again_is_followed_on(browser: Browser, tmp_path: Path) -> None:
    """The page asks again by itself from where it was; every result is there once."""
    gate = kit.Gate()
    store = tmp_path / 'runs.sqlite'
    with kit.serve(gate=gate, address='0.0.0.0') as server:
        with serving(store) as service:
            compose(browser, service, f'127.0.0.[1-12]:{server.port}')
            for one in gate.wait_for(12)[:5]:
                one.release()
            until_stat(browser, 'ok', '5')
            service.kill()
            browser.until('document.getElementById("link").textContent !== "Live"')
        with serving(store, '--bind', service.host):
            gate.wait_for(7)
            browser.until('document.getElementById("link").textContent === "Live"')
            gate.open()
            until_state(browser, 'done')
            browser.keys('f')
            assert len({row[2] for row in until_rows(browser, 12)}) == 12
    browser.complaints()  # of the connections that broke


def test_without_websockets_it_is_watched_by_server_sent_events(browser: Browser, service: Service) -> None:
    """Where a proxy lets no WebSocket through, nothing else changes."""
    blocked = browser.devtools(
        'Page.addScriptToEvaluateOnNewDocument',
        source="""
        window.WebSocket = class { constructor() { setTimeout(() => this.onclose({code: 1006})); } close() {} };""",
    )
    gate = kit.Gate()
    try:
        with kit.serve(gate=gate, address='0.0.0.0') as server:
            compose(browser, service, f'127.0.0.[1-5]:{server.port}')
            gate.wait_for(5)[0].release()
            until_stat(browser, 'done', '1 / 5')
            assert browser.run('return document.getElementById("link").title') == 'Server-Sent Events'
            gate.open()
            until_state(browser, 'done')
        until_stat(browser, 'ok', '5')
    finally:
        browser.devtools('Page.removeScriptToEvaluateOnNewDocument', identifier=blocked['identifier'])


# Who is there, and what is shown ----------------------------------------------------------------------------------------


def test_a_token_is_asked_for_and_kept_for_the_tab(browser: Browser, tmp_path: Path) -> None:
    """A wrong one is asked for again; the right one opens all, a WebSocket too, and is kept in the session only."""
    (tmp_path / 'token').write_text('s3cret+/=')
    gate = kit.Gate()
    with (
        serving(tmp_path / 'runs.sqlite', '--token', f'@{tmp_path / "token"}') as service,
        kit.serve(gate=gate) as server,
    ):
        browser.open(service.url)
        for token in 'wrong', 's3cret+/=':
            browser.until('document.getElementById("access").open')
            browser.write('#token', token)
            browser.keys('Enter')
            browser.until('!document.getElementById("token").value')
        browser.until('document.querySelector(".past").textContent.includes("No runs yet")')
        browser.complaints()  # of the two answers 401 and 403
        compose(browser, service, server.host)
        gate.wait_for(1)
        browser.reload()
        browser.until('document.getElementById("link").title === "WebSocket"')
        gate.open()
        until_state(browser, 'done')
        assert browser.run(
            'return [document.cookie, localStorage.length, document.body.innerHTML.includes("s3cret"), '
            'location.href.includes("s3cret")]'
        ) == ['', 0, False, False]
        browser.run('sessionStorage.clear()')
        assert not any('s3cret' in json.dumps(one) for one in service.log)


EVIL = (
    '<script>window.owned = 1</script><img src=x onerror="window.owned = 2"><svg onload="window.owned = 3">'
    '<a href="javascript:window.owned = 4">x</a>\u202e\u0007end'
)


def test_what_a_server_says_is_inert(browser: Browser, service: Service) -> None:
    """Markup in an answer, in an error and in a tag is text; characters that deceive are shown as what they are."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        kinds = {
            '1': ('200 OK', 'text/html; charset=utf-8', EVIL),
            '2': ('500 Oh', 'text/html; charset=utf-8', EVIL),
            '3': ('200 OK', 'application/json', json.dumps({EVIL: EVIL, '__proto__': {'x': 1}})),
            '4': (
                '500 Oh',
                'application/json',
                json.dumps(
                    {
                        'error_class': EVIL,
                        'error_text': EVIL,
                        'remote_call': EVIL,
                        'remote_error': {'error_class': EVIL, 'error_text': EVIL},
                    }
                ),
            ),
        }
        status, media, text = kinds[environ['PATH_INFO'][1:]]
        start_response(status, [('Content-Type', media)])
        return [text.encode()]

    with serve(app) as server:
        id = service.start(
            {'requests': [{'host': server.host, 'url': f'/{n}', 'tag': EVIL} for n in range(1, 5)], 'ordered': True}
        )['id']
        service.follow(id)
    show(browser, service, id)
    until_rows(browser, 4)
    browser.run('for (const row of document.querySelectorAll("#answers details")) row.open = true')
    browser.until('document.querySelectorAll("#answers .name").length === 4')
    browser.click('#answers .name')
    shown = [
        browser.until(
            'document.getElementById("detail-content").innerText.includes("<script>") '
            '&& document.getElementById("detail").innerText'
        )
    ]
    escape(browser)
    browser.keys('t', 'Enter')
    browser.until('document.getElementById("detail-place").textContent === "2 of 4"')  # the first that failed
    for key, place in ('Right', 3), ('Right', 4), ('Left', 3), ('Left', 2), ('Left', 1):
        browser.keys(key)
        shown.append(
            browser.until(
                'document.getElementById("detail-place").textContent.startsWith(arguments[0]) '
                '&& document.getElementById("detail-content").innerText.includes("<script>") '
                '&& document.getElementById("detail").innerText',
                str(place),
            )
        )
    assert all('<img src=x onerror=' in text and '‹U+202E›‹U+0007›end' in text for text in shown)
    assert '"__proto__": {' in ''.join(shown)
    assert (
        browser.run(
            'return document.querySelectorAll("main script, main img, main svg, dialog script, dialog img, '
            'dialog svg, dialog a, [onerror], [onload]").length'
        )
        == 0
    )
    assert browser.run('return window.owned ?? null') is None


def test_a_refusal_is_shown_at_the_field_that_it_is_about(browser: Browser, service: Service) -> None:
    """What the page or the service does not take is told in words, and nothing that was written is lost."""
    browser.open(service.url)
    browser.click('#send')
    browser.until('document.getElementById("compose-alert").textContent.startsWith("Hosts: ")')
    browser.write('#field-hosts', '127.0.0.[1-')
    browser.click('#send')
    browser.until('document.getElementById("compose-alert").textContent.includes("is not a node set")')
    browser.write('#field-hosts', '127.0.0.1')
    browser.write('#field-headers', 'Host: elsewhere')
    browser.click('#send')
    browser.until('document.getElementById("compose-alert").textContent.includes("Host cannot be set")')
    browser.write('#field-headers', 'no header')
    browser.click('#send')
    browser.until(
        'document.getElementById("compose-alert").textContent === "Headers, line 1: a header is written Name: value"'
    )
    assert browser.run('return [document.activeElement.id, document.getElementById("field-hosts").value]') == [
        'field-headers',
        '127.0.0.1',
    ]
    show(browser, service, '0' * 32)
    browser.until('document.querySelector(".watch .alert").textContent.startsWith("There is no run of this id")')
    told = ' '.join(browser.complaints())
    assert ' 400 ' in told and ' 404 ' in told


def test_big_and_binary_answers_are_read_when_they_are_opened(browser: Browser, service: Service) -> None:
    """A page keeps no long answer; opened it is whole, its numbers have all their digits, and bytes are shown as such."""
    bodies = {
        '/long': json.dumps([12345678901234567890, 1.0, 'x' * 200_000]).encode(),
        '/bytes': bytes(range(256)),
        '/none': b'',
    }

    def app(environ: Any, start_response: Any) -> list[bytes]:
        media = 'application/json' if environ['PATH_INFO'] == '/long' else 'application/octet-stream'
        start_response('200 OK', [('Content-Type', media)])
        return [bodies[environ['PATH_INFO']]]

    with serve(app) as server:
        id = service.start({'requests': [{'host': server.host, 'url': url} for url in bodies], 'ordered': True})['id']
        service.follow(id)
    show(browser, service, id)
    until_rows(browser, 3)
    browser.keys('t', 'Home', 'Enter')
    browser.until('document.getElementById("detail").open')
    browser.run(
        'document.getElementById("detail-previous").click(); document.getElementById("detail-previous").click()'
    )
    text = browser.until(
        'document.getElementById("detail-content").textContent.includes("Show all") && '
        'document.getElementById("detail-content").textContent'
    )
    assert '12345678901234567890,\n  1.0,' in text
    browser.click('#detail-content button')
    browser.until('document.querySelector("#detail-content pre").textContent.length > 200000')
    escape(browser)
    browser.keys('t', 'Enter')
    browser.run('document.getElementById("detail-previous").click()')
    browser.until('document.getElementById("detail-content").textContent.includes("256 bytes that are no text")')


# For everybody ----------------------------------------------------------------------------------------------------------


def test_all_of_it_goes_by_keyboard(browser: Browser, service: Service) -> None:
    """Without a pointer: composed, sent, watched, opened, cancelled; what has the focus is seen, and has a name."""
    gate = kit.Gate()
    with kit.serve(gate=gate, address='0.0.0.0') as server:
        browser.open(service.url)
        browser.until('document.activeElement.id === "field-hosts"')
        browser.keys(f'127.0.0.[1-6]:{server.port}', 'Tab', 'Tab', '/keys', 'Control+Enter')
        assert {one.path for one in gate.wait_for(6)} == {'/keys'}
        until_state(browser, 'running')
        gate.held()[0].release()
        until_stat(browser, 'ok', '1')
        browser.keys('c')
        assert browser.run('return document.activeElement.id') == 'cancel'
        browser.keys('Enter')
        until_state(browser, 'cancelled')
    browser.keys('?')
    browser.until('document.getElementById("help").open')
    assert 'find a host, or a run' in browser.text('#help')
    escape(browser)
    browser.keys('/', '0.3', 'Enter')
    browser.until('document.activeElement.classList.contains("tiles")')
    assert browser.run('return document.getElementById("tile").textContent').startswith(f'127.0.0.3:{server.port}, ')
    browser.keys('Right', 'Enter')
    browser.until('document.getElementById("detail").open')
    assert f'127.0.0.4:{server.port}' in browser.text('#detail-title')
    escape(browser)
    until_rows(browser, 2)
    browser.keys('a', 'Enter')
    browser.until('document.querySelector("#answers details[open]")?.contains(document.activeElement)')
    seen: list[list[Any]] = []
    for _ in range(40):
        browser.keys('Tab')
        seen.append(
            browser.run("""
            const element = document.activeElement, style = getComputedStyle(element);
            return [element === document.body, element.outerHTML.slice(0, 100), style.outlineStyle !== "none",
                    (element.ariaLabel || element.textContent || element.labels?.[0]?.textContent || "").trim()]""")
        )
        if seen[-1][0]:
            break
    stops = [stop for stop in seen if not stop[0]]
    assert stops and all(ring and name for _, _, ring, name in stops), stops
    browser.keys('n')
    browser.until('document.activeElement.id === "field-hosts"')
    browser.until('document.querySelector("#runs a")')
    browser.keys('Escape', 'r', 'Enter')
    until_state(browser, 'cancelled')


def test_it_fits_a_phone_and_follows_the_scheme_and_the_wish_for_rest(browser: Browser, service: Service) -> None:
    """At 390 pixels nothing sticks out; dark and light are two; who wants no motion sees none."""
    with kit.serve(address='0.0.0.0') as server:
        id = service.start({'hosts': f'127.0.0.[1-70]:{server.port}', 'request': {'url': '/' + 'long' * 40}})['id']
        service.follow(id)
    browser.resize(390, 844)
    colours = []
    for scheme in 'light', 'dark':
        browser.prefer(color_scheme=scheme, reduced_motion='reduce')
        browser.open(service.url)
        browser.until('document.querySelector("#runs a")')
        assert browser.run('return document.documentElement.scrollWidth') <= 390
        show(browser, service, id)
        until_rows(browser, 1)
        browser.keys('a', 'Enter')
        browser.click('#answers .name')
        browser.until('document.getElementById("detail").open')
        assert browser.run('return document.documentElement.scrollWidth') <= 390
        assert browser.run('return getComputedStyle(document.getElementById("detail")).animationName') == 'none'
        colours.append(
            browser.run('const style = getComputedStyle(document.body); return [style.backgroundColor, style.color]')
        )
    assert colours[0] != colours[1]


@pytest.mark.timed
def test_5000_hosts_are_watched_without_a_stutter(browser: Browser, service: Service) -> None:
    """Of the time of its one thread the page takes little, and draws on in between; then every host is found."""
    browser.devtools('Performance.enable', timeDomain='threadTicks')

    def busy() -> float:
        return next(
            one['value']
            for one in browser.devtools('Performance.getMetrics')['metrics']
            if one['name'] == 'TaskDuration'
        )

    with kit.serve(address='0.0.0.0') as server:
        browser.open(service.url)
        browser.run("""window.gaps = []; let last = performance.now();
            (function frame() { const now = performance.now(); window.gaps.push(now - last); last = now; requestAnimationFrame(frame); })()""")
        before = busy()
        browser.write('#field-hosts', f'127.0.[0-19].[1-250]:{server.port}')
        browser.click('#send')
        browser.until('document.getElementById("state")?.textContent === "done"', seconds=45)
        until_stat(browser, 'ok', '5,000')
        took, gaps = busy() - before, browser.run('return window.gaps')
    print(
        f"{took:.2f} s of the page's thread; frames: {len(gaps)}, median {statistics.median(gaps):.0f} ms, longest {max(gaps):.0f} ms"
    )
    assert took < kit.limit(12)
    assert statistics.median(gaps) < kit.limit(150)
    until_text(browser, '.where', f'127.0.[0-19].[1-250]:{server.port}')
    browser.keys('/', '127.0.19.250', 'Enter')
    browser.until('document.getElementById("tile").textContent.startsWith("127.0.19.250:")')
    assert browser.run('return document.getElementById("tile").getAttribute("aria-posinset")') == '5000'
    before = busy()
    browser.keys(*['Left'] * 20)
    assert busy() - before < 4
    browser.keys('Enter')
    browser.until('document.getElementById("detail").open')
    assert '127.0.19.230:' in browser.text('#detail-title')


def test_a_folded_set_names_the_same_hosts(browser: Browser, service: Service) -> None:
    """What the page folds, napix expands to the same hosts, and it is no longer than the list; what it counts is as many."""
    draw = random.Random(9)
    sets = [
        [f'web{draw.randrange(30)}.rack{draw.randrange(3):02d}:{draw.choice([80, 8002])}' for _ in range(40)]
        for _ in range(20)
    ]
    sets += [[f'n{number:0{draw.choice([1, 3])}d}' for number in draw.sample(range(120), 60)] for _ in range(20)]
    sets += [
        ['[::1]:80', '[2001:db8::1]', 'a', 'a', 'b1', '10.0.0.1:80', '10.0.1.1:80', 'n9', 'n10', 'n010', 'n99', 'n100'],
        ['a1', 'a2', '1', '3', *(f'i-{number:020d}' for number in range(3))],
    ]
    browser.open(service.url)
    folded, counts = browser.run(
        """
        return import('/nodeset.js').then(({fold, count}) => {
            const folded = arguments[0].map(fold);
            return [folded, folded.map(count)];
        })""",
        sets,
    )
    for hosts, text, count in zip(sets, folded, counts, strict=True):
        found = list(expand(text))
        assert sorted(found) == sorted(set(hosts)), text
        assert len(text) <= len(','.join(dict.fromkeys(hosts)))
        assert count == len(found)
    assert browser.run(
        'return import("/nodeset.js").then(({count}) => arguments[0].map(count))',
        ['a[1-3,7]b[0-1] c', 'a!b', '@group', '[::1]:80', 'a[1-9/4]', 'a[3-1]', ''],
    ) == [9, None, None, 1, 3, None, 0]


def test_the_page_comes_from_us_alone(service: Service) -> None:
    """Every file says so, none is kept without asking again, and none has a script or a style in its markup."""
    home = service.ask('GET', '/')
    assert home.status == 200 and "default-src 'none'; script-src 'self'" in home.headers['content-security-policy']
    for path in '/', '/app.js', '/style.css', '/icon.svg':
        answer = service.ask('GET', path)
        assert answer.headers['x-content-type-options'] == 'nosniff'
        text = answer.text.replace('http://www.w3.org/2000/svg', '')
        assert '://' not in text and 'style="' not in text and '<style' not in text
        again = service.ask('GET', path, None, {'If-None-Match': answer.headers['etag']})
        assert again.status == 304 and not again.data


def test_a_saga_is_a_table_with_the_way_back(browser: Browser, tmp_path: Path) -> None:
    """The list leads to it; it is shown until it has ended."""
    with World() as world, serving(tmp_path / 'runs.sqlite') as service:
        undo = {'method': 'DELETE', 'url': '{header:location}'}
        steps = [{'host': world.host, 'method': 'POST', 'url': url, 'undo': undo} for url in ('/a', '/b', '/fail')]
        answer = service.ask('POST', '/sagas', {'steps': steps}, {'Content-Type': 'application/json'})
        browser.open(f'{service.url}#/sagas')
        browser.until('document.querySelector("#sagas a")')
        browser.run('document.querySelector("#sagas a").click()')
        browser.until('document.getElementById("saga-state")?.dataset.state === "undone"')
        rows = browser.run('return [...document.querySelectorAll("#saga-steps tr")].map(row => row.innerText)')
        assert len(rows) == 3 and f'DELETE {world.host}/a/1' in rows[0] and 'undone' in rows[0] and '500' in rows[2]
        assert browser.run('return location.hash') == f'#/sagas/{answer.body["id"]}'
