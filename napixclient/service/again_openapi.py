"""The parts of the OpenAPI document that describe asking again, and the cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ['again_paths', 'cluster_paths']

_Schema = dict[str, Any]
Make = Callable[..., _Schema]
_TEXT, _TEXT_OR_NULL, _WHOLE = {'type': 'string'}, {'type': ['string', 'null']}, {'type': 'integer', 'minimum': 0}
_TEXTS = {'type': 'array', 'items': _TEXT}


def again_paths(id: _Schema, run: _Schema, problems: Make, answer: Make, make: Make) -> _Schema:
    """How a run is asked again.

    :param id: the parameter of the path.
    :param run: an answer that is a run.
    :param problems: makes the answers of these statuses.
    :param answer: makes an answer with a schema.
    :param make: makes the schema of an object.
    """
    left, given = _left(make), _given(make)
    location = {'schema': _TEXT, 'required': True, 'description': 'the path of the run'}
    return {
        '/runs/{id}/again': {
            'parameters': [id],
            'get': {
                'operationId': 'showAgain',
                'summary': 'What asking again would ask',
                'responses': {'200': answer('what is left', 'application/json', left), **problems('404', '409')},
            },
            'post': {
                'operationId': 'askAgain',
                'summary': 'Ask again what has not succeeded, in a run of its own: there is one for each run',
                'requestBody': {'content': {'application/json': {'schema': given}}},
                'responses': {
                    '200': {**run, 'description': 'the run that asks them already', 'headers': {'Location': location}},
                    '201': {**run, 'headers': {'Location': location}},
                    **problems('400', '404', '408', '409', '413', '415', '503'),
                },
            },
        }
    }


def _left(make: Make) -> _Schema:
    wants = make(
        {'headers': _TEXTS, 'parameters': _TEXTS, 'body': {'type': 'boolean'}},
        description='what was secret, and so is not kept: it is to be given',
    )
    return make(
        {
            'run': {**_TEXT_OR_NULL, 'description': 'the run that asks them already'},
            'requests': {**_WHOLE, 'description': 'how many have not succeeded'},
            'doubtful': {**_WHOLE, 'description': 'of them are not idempotent, and may have been carried out'},
            'wants': wants,
        }
    )


def _given(make: Make) -> _Schema:
    values = {'anyOf': [{'type': 'object', 'additionalProperties': _TEXT}, {'type': 'null'}]}
    return make(
        {
            'headers': {**values, 'description': 'by name'},
            'parameters': {**values, 'description': 'of the query, by name'},
            'body': {'description': 'of the requests that had a secret in theirs'},
        },
        [],
        additionalProperties=False,
        description='what is wanted, and nothing else',
    )


def cluster_paths(problems: Make, answer: Make, make: Make) -> _Schema:
    """How the cluster fares.

    :param problems: makes the answers of these statuses.
    :param answer: makes an answer with a schema.
    :param make: makes the schema of an object.
    """
    status = _status(make)
    return {
        '/cluster': {
            'get': {
                'operationId': 'showCluster',
                'summary': 'The cluster over which runs ask: its lanes and workers; 404 where there is none',
                'responses': {'200': answer('the cluster', 'application/json', status), **problems('404', '503')},
            }
        }
    }


def _status(make: Make) -> _Schema:
    lane = make(
        {
            'lane': _WHOLE,
            'owner': {**_TEXT_OR_NULL, 'description': 'the worker that has it'},
            'depth': {**_WHOLE, 'description': 'batches that wait'},
            'oldest': {'type': ['number', 'null'], 'description': 'seconds since the oldest in hand was published'},
        }
    )
    worker = make(
        {
            'name': _TEXT,
            'rate': {'type': 'number', 'description': 'requests a second'},
            'batches': _WHOLE,
            'done': _WHOLE,
        },
        additionalProperties=True,
    )
    return make(
        {
            'zone': _TEXT,
            'lanes': {'type': 'array', 'items': lane},
            'workers': {'type': 'array', 'items': worker},
            'dead': {**_WHOLE, 'description': 'batches that no worker survived'},
            'unowned': {'type': 'array', 'items': _WHOLE, 'description': 'lanes without a worker'},
            'problems': _TEXTS,
        }
    )
