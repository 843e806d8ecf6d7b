"""Templates: what stands for a part of an answer, such as ``{json.id}`` and ``{header:location}``. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from ..errors import NapixError
from ..masking import mask
from ..messages import Response, written

__all__ = [
    'OWN',
    'Answers',
    'TemplateError',
    'fill',
    'fill_url',
    'has_templates',
    'is_template',
    'names_in',
    'part_of',
    'parts_in',
]

#: The name of a step's own answer, in templates that name none.
OWN = ''
#: Answers by the names of their steps; of one of which only parts are kept, these by what stands for them, ``json.id``.
Answers = Mapping[str, Response | Mapping[str, Any]]
#: ``{json}``, ``{json.a.0.b}``, ``{header:field}``, each perhaps with the name of an earlier step and a dot before.
_template = re.compile(
    r"\{(?:(?!json[.}])([A-Za-z_][\w-]*)\.)?(json(?:\.[^{}]+)?|header:[!#$%&'*+\-.^_`|~0-9A-Za-z]+)\}"
)


class TemplateError(NapixError, ValueError):
    """A template finds nothing in the answer."""


def has_templates(value: object) -> bool:
    """Whether a text, or any text in a structure of lists and mappings, has a template in it."""
    if isinstance(value, str):
        return '{' in value and _template.search(value) is not None
    if isinstance(value, Mapping):
        return any(has_templates(member) for member in value.values())
    return isinstance(value, (list, tuple)) and any(has_templates(member) for member in value)


def is_template(text: str) -> bool:
    """Whether a text is one template and nothing else."""
    return _template.fullmatch(text) is not None


def names_in(value: object) -> set[str]:
    """The names of the steps whose answers a structure wants; ``OWN`` for the step's own."""
    if isinstance(value, str):
        return {match[1] or OWN for match in _template.finditer(value)}
    if isinstance(value, Mapping):
        return {name for member in value.values() for name in names_in(member)}
    if isinstance(value, (list, tuple)):
        return {name for member in value for name in names_in(member)}
    return set()


def parts_in(value: object, name: str) -> set[str]:
    """What a structure wants of the answer of a step: ``json.id``, ``header:location``."""
    if isinstance(value, str):
        return {match[2] for match in _template.finditer(value) if match[1] == name}
    if isinstance(value, Mapping):
        return {part for member in value.values() for part in parts_in(member, name)}
    if isinstance(value, (list, tuple)):
        return {part for member in value for part in parts_in(member, name)}
    return set()


def part_of(answer: Response, what: str) -> object:
    """A part of an answer: ``json.id``, ``header:location``.

    :raises TemplateError: where it has no such part.
    """
    match = _template.fullmatch(f'{{{what}}}')
    assert match is not None
    return _found(match, {OWN: answer})


def fill(value: object, answers: Answers) -> Any:
    """The structure with what the templates stand for; a text that is one template becomes the value, of any type.

    Those of a step's own answer stay as they are where that is not among the answers.

    :raises TemplateError: when one of them finds nothing.
    """
    if isinstance(value, str):
        if (whole := _template.fullmatch(value)) is not None:
            return _found(whole, answers) if _is_known(whole, answers) else value
        return _replaced(value, answers, str)
    if isinstance(value, Mapping):
        return {name: fill(member, answers) for name, member in value.items()}
    if isinstance(value, list):
        return [fill(member, answers) for member in value]
    return value


def fill_url(url: str, answers: Answers) -> str:
    """The URL with what the templates stand for: each is one segment or one value of the query, percent-encoded.

    A template that is the whole URL is a path or an absolute URL, and stays as it is.

    :raises TemplateError: when one of them finds nothing.
    """
    if (whole := _template.fullmatch(url)) is not None:
        return _text(_found(whole, answers), whole[0]) if _is_known(whole, answers) else url
    return _replaced(url, answers, _encoded)


def _encoded(text: str) -> str:
    quoted = quote(text, safe='')
    # A segment that is all dots would be another place (RFC 3986 §5.2.4).
    return quoted.replace('.', '%2E') if quoted in ('.', '..') else quoted


def _replaced(text: str, answers: Answers, encoded: Callable[[str], str]) -> str:
    return _template.sub(
        lambda match: encoded(_text(_found(match, answers), match[0])) if _is_known(match, answers) else match[0], text
    )


def _is_known(match: re.Match[str], answers: Answers) -> bool:
    """Whether it is time to look: for a step's own answer that is when there is one."""
    return match[1] is not None or OWN in answers


def _found(match: re.Match[str], answers: Answers) -> Any:
    name, what = match[1] or OWN, match[2]
    answer = answers.get(name)
    if answer is None:
        raise TemplateError(f'{match[0]}: there is no answer of {name or "the step"} to look into')
    if isinstance(answer, Mapping):
        if what not in answer:
            raise TemplateError(f'{match[0]} finds nothing: the answer has no such part, or it was not kept')
        return answer[what]
    if what.startswith('header:'):
        value = answer.headers.get(what.partition(':')[2])
        if value is None:
            raise TemplateError(f'{match[0]} finds nothing: the answer has no such field')
        return written(value)
    try:
        found = answer.json()
    except ValueError as exc:
        raise TemplateError(f'{match[0]} finds nothing: the answer is no JSON: {mask(str(exc))}') from exc
    for part in what.split('.')[1:]:
        if isinstance(found, dict) and part in found:
            found = found[part]
        elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        else:
            raise TemplateError(f'{match[0]} finds nothing: the answer has no {part!r} there')
    if found is None:
        raise TemplateError(f'{match[0]} finds nothing: it is null')
    return found


def _text(value: Any, template: str) -> str:
    """A value within a text."""
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, (str, int, float)):
        return str(value)
    raise TemplateError(f'{template} is an object or a list, which is no part of a text')
