"""Reads and checks what is posted to ``/sagas``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from .._http.options import Simultaneous
from ..allow import Allow
from ..messages import parse_origin, plain_request
from ..saga.records import holds_secrets
from ..saga.templates import OWN, has_templates, is_template, names_in
from ..saga.undos import Draft, draft_of_parts, drafts_of
from ..secret_names import is_secret_field
from .secrets import mask_url
from .submission import FORBIDDEN, LONGEST_SECONDS, MOST_SIMULTANEOUS, BadSubmission, read_json

__all__ = ['MOST_STEPS', 'SagaSubmission', 'StepSubmission', 'read_saga', 'saga_of']

#: Steps of one saga at most.
MOST_STEPS = 1000
_is_name = re.compile(r'[A-Za-z_][A-Za-z0-9_-]{0,63}').fullmatch
_OPTIONS = ('timeout', 'undo_timeout', 'simultaneous')
_PARTS = ('name', 'host', 'method', 'url', 'headers', 'body', 'undo', 'find', 'idempotency')
#: Of an undo also one that is resolved against the url of the step.
_is_reference = re.compile(r'[^\x00-\x1f\x7f#]*').fullmatch
_UNDO_PARTS = ('host', 'method', 'url', 'headers', 'body')


class StepSubmission(NamedTuple):
    """One step, as it was posted; its templates may use the answers of earlier ones."""

    name: str
    draft: Draft
    undo: tuple[Draft, ...] | None
    find: Draft | None
    idempotency: bool


class SagaSubmission(NamedTuple):
    """What is to be done: steps that are together in one wait, one wait after the other."""

    waits: list[list[StepSubmission]]
    timeout: float | None
    undo_timeout: float
    simultaneous: Simultaneous
    #: What the store keeps, which is what was posted.
    document: dict[str, Any]

    @property
    def steps(self) -> Iterator[StepSubmission]:
        """All steps."""
        return (step for wait in self.waits for step in wait)


def read_saga(data: bytes, allow: Allow) -> SagaSubmission:
    """Read the body of ``POST /sagas``.

    :raises BadSubmission: naming the part.
    """
    document = read_json(data)
    if not isinstance(document, dict):
        raise BadSubmission('the body: an object')
    return saga_of(document, allow)


def saga_of(document: dict[str, Any], allow: Allow) -> SagaSubmission:
    """The saga that a document describes.

    :raises BadSubmission: naming the part.
    """
    _no_others(document, 'the body', ('steps', *_OPTIONS))
    given = document.get('steps')
    if not isinstance(given, list) or not given:
        raise BadSubmission('steps: a list of at least one step, or of lists of steps that go together')
    waits: list[list[StepSubmission]] = []
    known: set[str] = set()
    for number, one in enumerate(given):
        together = one if isinstance(one, list) else [one]
        if not together:
            raise BadSubmission(f'steps[{number}]: an empty list')
        before = frozenset(known)
        wait = []
        for index, each in enumerate(together):
            where = f'steps[{number}][{index}]' if isinstance(one, list) else f'steps[{number}]'
            step = _Reader(where, allow, before).read(each, len(known))
            if step.name in known:
                raise BadSubmission(f'{where}: there is another step of the name {step.name!r}')
            known.add(step.name)
            wait.append(step)
        waits.append(wait)
    if len(known) > MOST_STEPS:
        raise BadSubmission(f'steps: at most {MOST_STEPS}, not {len(known)}')
    return SagaSubmission(
        waits,
        _seconds(document, 'timeout', None),
        _seconds(document, 'undo_timeout', 60.0) or 60.0,
        _simultaneous(document.get('simultaneous')),
        document,
    )


class _Reader:
    """Reads one step.

    :param where: what the error calls it.
    :param before: the names of the steps whose answers it may use.
    """

    def __init__(self, where: str, allow: Allow, before: frozenset[str]) -> None:
        self._where = where
        self._allow = allow
        self._before = before

    def read(self, given: Any, number: int) -> StepSubmission:
        """The step.

        :param number: how many there are before it: it has its name of that, if it has none.
        """
        if not isinstance(given, dict):
            raise BadSubmission(f'{self._where}: an object')
        _no_others(given, self._where, _PARTS)
        name = given.get('name', f'step{number + 1}')
        if not isinstance(name, str) or not _is_name(name) or name == 'json':
            raise BadSubmission(f'{self._where}.name: letters, digits, "_" and "-", beginning with a letter')
        if 'undo' not in given:
            raise BadSubmission(f'{self._where}.undo: say what undoes it, or null where there is nothing to undo')
        if not isinstance(given.get('idempotency', False), bool):
            raise BadSubmission(f'{self._where}.idempotency: true or false')
        draft = self._request(given, '', own=False)
        if draft.host is None:
            raise BadSubmission(f'{self._where}.host: is missing')
        return StepSubmission(
            name,
            draft,
            self._undo(given['undo']),
            None if given.get('find') is None else self._request(given['find'], '.find', own=False),
            given.get('idempotency', False),
        )

    def _undo(self, given: Any) -> tuple[Draft, ...] | None:
        if given is None:
            return None
        several = isinstance(given, list) and not (given and isinstance(given[0], str))
        if several and not given:
            raise BadSubmission(f'{self._where}.undo: an empty list; null says that there is nothing to undo')
        return tuple(self._request(one, '.undo', own=True) for one in (given if several else [given]))

    def _request(self, given: Any, part: str, own: bool) -> Draft:
        """A request: an object, or a list ``[[host, ]method, url[, body[, headers]]]``.

        :param own: whether it may use the answer of its own step.
        """
        where = f'{self._where}{part}'
        try:
            if isinstance(given, list):
                (draft,) = drafts_of(tuple(given), where)
            elif isinstance(given, dict):
                if part:
                    _no_others(given, where, _UNDO_PARTS)
                method = given.get('method', None if part == '.undo' else 'GET')
                url = given.get('url', None if part else '/')
                draft = draft_of_parts(given.get('host'), method, url, given.get('body'), given.get('headers'), where)
            else:
                raise BadSubmission(f'{where}: an object such as {{"method": "DELETE", "url": "/vm/17"}}')
            self._check(draft, where, own)
        except BadSubmission:
            raise
        except (TypeError, ValueError) as exc:
            text = str(exc)
            raise BadSubmission(text if text.startswith(where) else f'{where}: {text}') from exc
        return draft

    def _check(self, draft: Draft, where: str, own: bool) -> None:
        parts = (draft.url, draft.body, draft.headers)
        if has_templates(draft.host) or has_templates(draft.method):
            raise BadSubmission(f'{where}: templates stand in url, headers and body only')
        wanted = {name for part in parts for name in names_in(part)}
        if OWN in wanted and not own:
            raise BadSubmission(f'{where}: {{json...}} and {{header:...}} need the name of an earlier step before them')
        unknown = wanted - self._before - {OWN}
        if unknown:
            raise BadSubmission(f'{where}: {sorted(unknown)[0]!r} is no step before it')
        for name, value in draft.headers:
            if not isinstance(value, str):
                raise BadSubmission(f'{where}.headers: {name} is a text')
            if name.lower().replace('_', '-') in FORBIDDEN:
                raise BadSubmission(f'{where}.headers: {name} cannot be set')
            if is_secret_field(name):
                raise BadSubmission(f'{where}.headers: {name} is a secret; credentials come from the profile')
        if mask_url(draft.url) != draft.url:
            raise BadSubmission(f'{where}.url: has a secret in its query; credentials come from the profile')
        if holds_secrets(draft.body):
            raise BadSubmission(f'{where}.body: has a secret in it, which is not kept')
        if draft.host is not None:
            self._allow.check_literal(parse_origin(draft.host))
        if not is_template(draft.url):
            if not own and not draft.url.startswith('/'):
                raise BadSubmission(f'{where}.url: a path such as "/vm", not {draft.url!r:.100}')
            if not _is_reference(draft.url):
                raise BadSubmission(f'{where}.url: has a "#" or a control character')
            url = draft.url if draft.url.startswith('/') else '/'
            plain_request(draft.host or 'host', draft.method, url, draft.body, list(draft.headers))


def _no_others(document: dict[str, Any], name: str, known: tuple[str, ...]) -> None:
    others = sorted(set(document).difference(known))
    if others:
        raise BadSubmission(f'{name}: {others[0][:100]!r} is not known')
    for part in ('name', 'host', 'method', 'url'):
        if document.get(part, '') is None:
            raise BadSubmission(f'{name}.{part}: is null; leave it out')


def _seconds(document: dict[str, Any], name: str, default: float | None) -> float | None:
    value = document.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= LONGEST_SECONDS:
        raise BadSubmission(f'{name}: seconds above 0, at most {LONGEST_SECONDS:g}')
    return float(value)


def _simultaneous(value: Any) -> Simultaneous:
    if isinstance(value, float) and value.is_integer():  # JSON knows no difference
        value = int(value)
    if value is None:
        return 2
    if value == 'auto':
        return 'auto'
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_SIMULTANEOUS:
        raise BadSubmission(f'simultaneous: a whole number from 1 to {MOST_SIMULTANEOUS}, or "auto"')
    return value
