"""Asks once more what of a run has not succeeded: a run of its own, one for each that is asked again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..messages import IDEMPOTENT
from .rows import Failed, Kept
from .runs import Runs
from .secrets import with_parameters
from .submission import BadSubmission, Submission, politely, submission_of

__all__ = ['Given', 'NotAgain', 'ask_again', 'read_given', 'request_of', 'what_is_left']


class NotAgain(Exception):
    """The run cannot be asked again; the text says why."""


class Given(NamedTuple):
    """What was a secret of the requests, and so is not kept.

    :param headers: by the name of the field.
    :param parameters: by the name of the parameter of the query.
    :param body: ``None`` where it is not given.
    """

    headers: Mapping[str, str]
    parameters: Mapping[str, str]
    body: Any


def read_given(document: Any) -> Given:
    """The body of ``POST /runs/<id>/again``, decoded.

    :raises BadSubmission: naming the part.
    """
    if not isinstance(document, dict):
        raise BadSubmission('the body: an object with headers, parameters and body, or nothing')
    others = sorted(set(document).difference(Given._fields))
    if others:
        raise BadSubmission(f'the body: {others[0][:100]!r} is not known')
    for name in 'headers', 'parameters':
        values = document.get(name)
        if values is not None and not (
            isinstance(values, dict) and all(isinstance(one, str) for one in values.values())
        ):
            raise BadSubmission(f'{name}: an object of texts')
    headers = {name.lower(): value for name, value in (document.get('headers') or {}).items()}
    return Given(headers, document.get('parameters') or {}, document.get('body'))


def what_is_left(runs: Runs, run: Kept) -> dict[str, Any]:
    """What ``GET /runs/<id>/again`` shows.

    :raises NotAgain: where nothing of the run can be asked again.
    """
    failed = _failed(runs, run)
    lacking = [one.request['wants'] for one in failed if 'wants' in one.request]
    return {
        'requests': len(failed),
        'doubtful': sum(one.doubtful and one.request['method'] not in IDEMPOTENT for one in failed),
        'wants': {
            'headers': _names(lacking, 'headers'),
            'parameters': _names(lacking, 'parameters'),
            'body': any(wants['body'] for wants in lacking),
        },
    }


def ask_again(runs: Runs, run: Kept, given: Given) -> Submission:
    """The requests that have not succeeded, with the options of the run; ``need`` is what is still missing of it.

    :raises NotAgain: where nothing of the run can be asked again, a secret is missing, or one is given that is not.
    :raises BadSubmission: where what is given cannot be sent.
    """
    failed = _failed(runs, run)
    lacking = [one.request['wants'] for one in failed if 'wants' in one.request]
    _check(given, lacking)
    requests = [request_of(one.request, given) for one in politely(failed)]
    options = {name: value for name, value in run.options.items() if value is not None}
    need = options.pop('need', 0) - run.summary['counts']['ok']
    if need > 0:
        options['need'] = need
    return submission_of({'requests': requests, **options}, len(requests), runs.allow)


def _failed(runs: Runs, run: Kept) -> list[Failed]:
    if run.state == 'running':
        raise NotAgain('the run is under way: let it end, or cancel it')
    counts = run.summary['counts']
    if counts['ok'] >= counts['total']:
        raise NotAgain('all requests of the run have succeeded')
    failed = runs.store.not_succeeded(run.id)
    if not failed:
        raise NotAgain('the requests of the run are not kept: it ended before a service that keeps them')
    for one in failed:
        wants = one.request.get('wants')
        if 'headers' not in one.request and (wants is None or wants['url']):
            raise NotAgain(f'{one.request["host"]}: a secret was part of the path, and is not kept; submit a new run')
    return failed


def _names(lacking: list[dict[str, Any]], part: str) -> list[str]:
    """Each once, whatever case it is written in."""
    return list({name.lower(): name for wants in reversed(lacking) for name in reversed(wants[part])}.values())[::-1]


def _check(given: Given, lacking: list[dict[str, Any]]) -> None:
    """:raises NotAgain: where what is given is not what is missing."""
    wanted = {
        'headers': {name.lower(): name for name in _names(lacking, 'headers')},
        'parameters': {name: name for wants in lacking for name in wants['parameters']},
    }
    for part, names in wanted.items():
        found: Mapping[str, str] = getattr(given, part)
        missing = [names[name] for name in names if name not in found]
        if missing:
            raise NotAgain(f'{part}: {", ".join(missing)[:200]} is missing: what is secret of a request is not kept')
        others = sorted(set(found).difference(names))
        if others:
            raise NotAgain(f'{part}: {others[0][:100]} is none that is missing')
    wants_body = any(wants['body'] for wants in lacking)
    if wants_body and given.body is None:
        raise NotAgain('body: it is missing: it had a secret in it, and is not kept')
    if given.body is not None and not wants_body:
        raise NotAgain('body: none is missing')


def request_of(kept: dict[str, Any], given: Given) -> dict[str, Any]:
    """A request of the store as it is submitted."""
    request = {name: kept[name] for name in ('host', 'method', 'url', 'tag')}
    if 'headers' in kept:
        return {**request, 'headers': kept['headers'], 'body': kept['body']}
    wants = kept['wants']
    secret = {name: given.headers[name.lower()] for name in wants['headers']}
    return {
        **request,
        'url': with_parameters(kept['url'], dict(given.parameters)),
        'headers': {**kept['kept']['headers'], **secret},
        'body': given.body if wants['body'] else kept['kept']['body'],
    }
