"""The part of the OpenAPI document that describes sagas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .saga_submission import MOST_STEPS

__all__ = ['saga_paths', 'saga_schemas']

_Schema = dict[str, Any]
Make = Callable[..., _Schema]
_TEMPLATES = (
    '{json.path} and {header:field} stand for parts of the answer of the step; in steps {NAME.json.path} and '
    '{NAME.header:field} stand for those of an earlier step. In a url a value is one percent-encoded segment or value '
    'of the query, unless the template is the whole url.'
)


_STATES = ('waiting', 'running', 'done', 'failed', 'unknown', 'dropped', 'undoing', 'undone', 'not_undone')


def _ref(name: str) -> _Schema:
    return {'$ref': f'#/components/schemas/{name}'}


def saga_schemas(parts: _Schema, host: _Schema, options: _Schema, whole: _Schema, make: Make) -> _Schema:
    """The schemas of sagas.

    :param parts: those of a request: ``method``, ``headers``, ``body``. A saga takes fewer methods: see ``undos``.
    :param options: ``timeout`` and ``simultaneous`` of a run.
    :param make: makes the schema of an object.
    """
    url = {'type': 'string', 'pattern': r'^/[^\x00-\x1f\x7f#{}]*$', 'description': f'path and query. {_TEMPLATES}'}
    method = {**parts['method'], 'pattern': '^(?!CONNECT$)[A-Z][A-Z0-9_-]*$'}
    request = {'host': host, 'method': method, 'url': url, 'headers': parts['headers'], 'body': parts['body']}
    reference = {
        'type': 'string',
        'pattern': r'^[^\x00-\x1f\x7f#{}]*$',
        'description': f'path and query, or a reference that is resolved against the url of the step. {_TEMPLATES}',
    }
    return {
        'SagaRequest': make(
            {**request, 'url': reference},
            ['method', 'url'],
            additionalProperties=False,
            description='a request; without a host it goes to that of the step',
        ),
        'SagaStep': _step(request, make),
        **_submissions(options, make),
        **_shown(whole, make),
    }


def _step(request: _Schema, make: Make) -> _Schema:
    one, null = _ref('SagaRequest'), {'type': 'null'}
    name = {'type': 'string', 'pattern': '^(?!json$)[A-Za-z_][A-Za-z0-9_-]{0,63}$', 'description': 'each once'}
    undo = {
        'anyOf': [one, {'type': 'array', 'items': one, 'minItems': 1}, null],
        'description': 'what undoes it; null where there is nothing to undo',
    }
    find = {
        'anyOf': [make(request, ['url'], additionalProperties=False), null],
        'description': 'a request whose answer says whether it was done: 2xx it was, 404 and 410 it was not',
    }
    key = {'type': 'boolean', 'description': 'the server knows it again by its Idempotency-Key; false'}
    parts = {'name': name, **request, 'undo': undo, 'find': find, 'idempotency': key}
    return make(parts, ['host', 'undo'], additionalProperties=False)


def _submissions(options: _Schema, make: Make) -> _Schema:
    one = _ref('SagaStep')
    steps = {
        'type': 'array',
        'minItems': 1,
        'maxItems': MOST_STEPS,
        'items': one,
        'description': 'one after the other; those in a list within it go together',
    }
    members = {
        'steps': steps,
        'timeout': {**options['timeout'], 'description': 'seconds for the steps; undoing comes on top'},
        'undo_timeout': {**options['timeout'], 'description': 'seconds for each undo over all its tries; 60'},
        'simultaneous': options['simultaneous'],
    }
    inner = {'type': 'array', 'minItems': 1, 'items': one}
    together = {**members, 'steps': {**steps, 'items': inner}}
    return {
        'SagaSubmission': make(members, ['steps'], additionalProperties=False, description=_TEMPLATES),
        'SagaTogether': make(
            together, ['steps'], additionalProperties=False, description='the same, in lists of steps that go together'
        ),
    }


def _shown(whole: _Schema, make: Make) -> _Schema:
    text_or_null = {'type': ['string', 'null']}
    step = {
        'name': {'type': 'string'},
        'wait': whole,
        'request': {'type': 'string'},
        'state': {'enum': list(_STATES)},
        'status': {'type': ['integer', 'null']},
        'error': text_or_null,
        'undo': {'type': 'array', 'items': {'type': 'string'}, 'description': 'the way back'},
    }
    about = {
        'id': {'type': 'string', 'pattern': '^[0-9a-f]{32}$'},
        'state': {'enum': ['running', 'undoing', 'committed', 'undone', 'not_undone']},
        'reason': {**text_or_null, 'description': 'why it is undone'},
        'created': {'type': 'number', 'description': 'seconds since the epoch'},
        'finished': {'type': ['number', 'null']},
        'counts': {'type': 'object', 'additionalProperties': whole, 'description': 'steps by state'},
        'timeout': {'type': ['number', 'null']},
        'undo_timeout': {'type': 'number'},
        'simultaneous': {'type': ['integer', 'string']},
    }
    return {
        'Saga': make({**about, 'steps': {'type': 'array', 'items': make(step)}}),
        'Sagas': make({'sagas': {'type': 'array', 'items': make(about)}}),
    }


def saga_paths(id: _Schema, problems: Make, answer: Make, parameter: Make) -> _Schema:
    """The paths of sagas.

    :param id: the parameter of the path.
    :param problems: makes the answers of these statuses.
    :param answer: makes an answer with a schema.
    :param parameter: makes a parameter of the query.
    """
    saga = answer('the saga', 'application/json', _ref('Saga'))
    listed = {
        'operationId': 'listSagas',
        'summary': 'The sagas, newest first',
        'parameters': [parameter('limit', {'type': 'integer', 'minimum': 1, 'maximum': 500}, 'at most')],
        'responses': {'200': answer('the sagas', 'application/json', _ref('Sagas')), **problems('400')},
    }
    shown = {
        'operationId': 'showSaga',
        'summary': 'How a saga stands, with the way back',
        'responses': {'200': saga, **problems('404')},
    }
    aborted = {
        'operationId': 'abortSaga',
        'summary': 'Give a saga up: what was done is undone',
        'responses': {'200': saga, **problems('404')},
    }
    return {
        '/sagas': {'get': listed, 'post': _created(saga, problems)},
        '/sagas/{id}': {'parameters': [id], 'get': shown, 'delete': aborted},
    }


def _created(saga: _Schema, problems: Make) -> _Schema:
    location = {'schema': {'type': 'string'}, 'required': True, 'description': 'the path of the saga'}
    links = {
        name: {'operationId': name, 'parameters': {'id': '$response.body#/id'}} for name in ('showSaga', 'abortSaga')
    }
    schema = {'anyOf': [_ref('SagaSubmission'), _ref('SagaTogether')]}
    return {
        'operationId': 'createSaga',
        'summary': 'Submit a saga: steps that are undone where a later one fails',
        'requestBody': {'required': True, 'content': {'application/json': {'schema': schema}}},
        'responses': {
            '201': {**saga, 'headers': {'Location': location}, 'links': links},
            **problems('400', '408', '413', '415', '503'),
        },
    }
