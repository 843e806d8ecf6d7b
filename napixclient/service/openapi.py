"""The OpenAPI 3.1 document of the API."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .._version import __version__
from .again_openapi import again_paths, cluster_paths
from .counts import OUTCOMES, STATES
from .saga_openapi import saga_paths, saga_schemas
from .submission import FORBIDDEN, LONGEST_SECONDS, MOST_RETRIES, MOST_SIMULTANEOUS

__all__ = ['DOCUMENT']

_Schema = dict[str, Any]


def _ref(name: str) -> _Schema:
    return {'$ref': f'#/components/schemas/{name}'}


def _or_null(schema: _Schema) -> _Schema:
    return {'anyOf': [schema, {'type': 'null'}]}


def _object(properties: _Schema, required: list[str] | None = None, **more: Any) -> _Schema:
    return {
        'type': 'object',
        'properties': properties,
        'required': list(properties) if required is None else required,
        **more,
    }


def _answer(description: str, media: str, schema: _Schema, **more: Any) -> _Schema:
    return {'description': description, 'content': {media: {'schema': schema}}, **more}


# What is posted -------------------------------------------------------------------------------------------------------

_WHOLE = {'type': 'integer', 'minimum': 0}
_SECONDS = {'type': 'number', 'exclusiveMinimum': 0, 'maximum': LONGEST_SECONDS}
#: As it is written in requests; a host may also be any name that a resolver knows, so this is the usual part of it.
_NAME = '[0-9A-Za-z._-]*[0-9A-Za-z._-]'
_HOST = {
    'type': 'string',
    'pattern': f'^(https?://)?{_NAME}(:[1-9][0-9]{{0,3}})?$',
    'description': 'name, name:port, [ipv6]:port, http://name or https://name:port',
    'examples': ['web1.example:8002'],
}
_NODES = {
    'type': 'string',
    'pattern': rf'^{_NAME}(\[[1-4]-[5-9]\])?(,{_NAME})*$',
    'description': 'a node set: web[1-100].example:8002,db1,[::1]:80',
    'examples': ['web[1-100].example:8002'],
}
_HOSTS = {'anyOf': [_NODES, {'type': 'array', 'items': _NODES, 'minItems': 1}]}
_TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
#: The fields that cannot be set, in any spelling: JSON Schema knows no flag for that.
_OURS = '|'.join(
    ''.join('[-_]' if char == '-' else f'[{char.upper()}{char}]' for char in name) for name in sorted(FORBIDDEN)
)
_CONNECT = ''.join(f'[{char}{char.lower()}]' for char in 'CONNECT')
_REQUEST_PARTS: _Schema = {
    'method': {'type': 'string', 'pattern': rf'^(?!{_CONNECT}$){_TOKEN}$', 'default': 'GET'},
    'url': {
        'type': 'string',
        'pattern': r'^(/[^\x00-\x1f\x7f#]*|\*)$',
        'default': '/',
        'description': 'path and query',
    },
    'headers': {
        'anyOf': [
            {
                'type': 'object',
                'propertyNames': {'pattern': rf'^(?!({_OURS})$){_TOKEN}$'},
                'additionalProperties': {'type': 'string', 'pattern': r'^[\x01-\x09\x0b\x0c\x0e-\xff]*$'},
            },
            {'type': 'null'},
        ],
        'description': 'fields; those that frame the message, such as Host, cannot be set',
    },
    'body': {
        'type': ['object', 'array', 'string', 'null'],
        'description': 'an object or a list is sent as JSON, a text as it is',
    },
    'tag': {'description': 'anything; it comes back with the result'},
}
_OPTIONS: _Schema = {
    'simultaneous': {
        'anyOf': [{'type': 'integer', 'minimum': 1, 'maximum': MOST_SIMULTANEOUS}, {'const': 'auto'}, {'type': 'null'}],
        'description': 'requests in flight to one host at most, or auto; 2',
    },
    'timeout': {**_or_null(_SECONDS), 'description': 'seconds for one request in all'},
    'deadline': {**_or_null(_SECONDS), 'description': 'seconds for the run'},
    'retries': {
        **_or_null({'type': 'integer', 'minimum': 0, 'maximum': MOST_RETRIES}),
        'description': 'of idempotent requests after 429, 502, 503, 504, and of any that could not connect; 0',
    },
    'need': {
        **_or_null({'type': 'integer', 'const': 1}),
        'description': 'end when so many have succeeded; at most the number of requests',
    },
    'ordered': {'type': ['boolean', 'null'], 'description': 'results in the order of the requests; false'},
    'redirect': {'type': ['boolean', 'null'], 'description': 'follow redirects; false'},
}

_SCHEMAS: _Schema = {
    'Request': _object({'host': _HOST, **_REQUEST_PARTS}, ['host'], additionalProperties=False),
    'Template': _object(_REQUEST_PARTS, [], additionalProperties=False),
    'Requests': _object(
        {'requests': {'type': 'array', 'items': _ref('Request'), 'minItems': 1}, **_OPTIONS},
        ['requests'],
        additionalProperties=False,
        description='each request with a host of its own',
    ),
    'Hosts': _object(
        {'hosts': _HOSTS, 'request': _ref('Template'), **_OPTIONS},
        ['hosts', 'request'],
        additionalProperties=False,
        description='one request for each host of a node set',
    ),
    'HostsOfOne': _object(
        {
            'hosts': _HOSTS,
            'requests': {'type': 'array', 'items': _ref('Template'), 'minItems': 1, 'maxItems': 1},
            **_OPTIONS,
        },
        ['hosts', 'requests'],
        additionalProperties=False,
        description='the same',
    ),
    'HostsInline': _object(
        {'hosts': _HOSTS, **_REQUEST_PARTS, **_OPTIONS},
        ['hosts'],
        additionalProperties=False,
        description='the same, with the parts of the request beside the hosts',
    ),
    # What is shown ---------------------------------------------------------------------------------------------------
    'Counts': _object(
        dict.fromkeys(('total', 'done', 'ok', 'failed', 'cancelled', 'interrupted', 'in_flight'), _WHOLE),
        description='ok: answered below 400; failed: at 400 or above, or not at all; cancelled: cut off, or never '
        'sent; interrupted: the service ended, and nobody knows whether it was carried out. done is the sum of these',
    ),
    'Latency': _object(
        {name: {'type': ['number', 'null']} for name in ('p50', 'p90', 'p99')}, description='milliseconds, within 7 %'
    ),
    'Run': _object(
        {
            'id': {'type': 'string', 'pattern': '^[0-9a-f]{32}$'},
            'state': {'enum': list(STATES)},
            'outcome': {
                'enum': list(OUTCOMES),
                'description': 'the state; of a run that is done whether all, some or none of its requests are well',
            },
            'reason': {'type': ['string', 'null'], 'description': 'why it ended as it did, where that needs a word'},
            'created': {'type': 'number', 'description': 'seconds since the epoch'},
            'finished': {'type': ['number', 'null']},
            'about': _object(
                {
                    'method': {'type': ['string', 'null']},
                    'url': {'type': ['string', 'null']},
                    'host': {'type': 'string'},
                    'hosts': _WHOLE,
                },
                description='method and url unless they differ, the first host, how many there are',
            ),
            'counts': _ref('Counts'),
            'latency': _ref('Latency'),
            'results': {**_WHOLE, 'description': 'how many can be read'},
            'parent': {
                'type': ['string', 'null'],
                'description': 'the run of which it asks again what had not succeeded',
            },
            'again': {
                'type': ['string', 'null'],
                'description': 'the run that asks again what has not succeeded of it',
            },
            'simultaneous': {'type': ['integer', 'string']},
            'timeout': {'type': ['number', 'null']},
            'deadline': {'type': ['number', 'null']},
            'retries': _WHOLE,
            'need': {'type': ['integer', 'null']},
            'ordered': {'type': 'boolean'},
            'redirect': {'type': 'boolean'},
        }
    ),
    'Runs': _object(
        {
            'runs': {'type': 'array', 'items': _ref('Run')},
            'next': {'type': ['string', 'null'], 'description': 'for ?before='},
        }
    ),
    'Hop': _object(
        {
            'remote_call': {'type': ['string', 'null']},
            'status': {'type': ['integer', 'null']},
            'error_class': {'type': ['string', 'null']},
            'error_text': {'type': ['string', 'null']},
            'elapsed': {'type': ['number', 'null'], 'description': 'seconds'},
        }
    ),
    'Result': _object(
        {
            'seq': _WHOLE,
            'index': {**_WHOLE, 'description': 'its place among the requests'},
            'tag': {},
            'host': {'type': 'string'},
            'method': {'type': 'string'},
            'url': {'type': 'string'},
            'state': {'enum': ['done', 'cancelled', 'interrupted']},
            'status': {'type': ['integer', 'null']},
            'ms': {'type': 'number'},
            'at': {'type': 'number', 'description': 'ms from the beginning of the run'},
            'attempts': _WHOLE,
            'body': {},
            'error': _or_null(
                _object(
                    {
                        'class': {'type': 'string'},
                        'text': {'type': 'string'},
                        'chain': {'type': 'array', 'items': _ref('Hop')},
                    }
                )
            ),
        }
    ),
    'Error': _object(
        {
            'type': {'type': 'string'},
            'title': {'type': 'string'},
            'status': {'type': 'integer'},
            'error_class': {'type': 'string'},
            'error_text': {'type': 'string'},
        },
        description='RFC 9457, with the members of a napix error',
    ),
}

# What is answered -----------------------------------------------------------------------------------------------------

_PROBLEM = {media: {'schema': _ref('Error')} for media in ('application/json', 'application/problem+json')}


def _problems(*statuses: str) -> _Schema:
    texts = {
        '400': 'something makes no sense',
        '401': 'credentials are missing',
        '403': 'not for this caller',
        '404': 'there is no such run',
        '409': 'the run does not stand so that this could be done',
        '408': 'the body does not come',
        '413': 'the body is too large',
        '415': 'the body is not JSON',
        '426': 'only as a WebSocket',
        '503': 'not now',
    }
    return {status: {'description': texts[status], 'content': _PROBLEM} for status in ('401', '403', *statuses)}


def _parameter(name: str, schema: _Schema, description: str, where: str = 'query') -> _Schema:
    return {'name': name, 'in': where, 'schema': schema, 'description': description, 'required': where == 'path'}


def _one_or_more(words: Iterable[str]) -> _Schema:
    one = '|'.join(words)
    return {'type': 'string', 'pattern': f'^(({one})(,({one}))*)?$'}


_FLAG = {'enum': ['0', '1', 'true', 'false']}
_ID = _parameter('id', {'type': 'string', 'pattern': '^[0-9a-f]{32}$'}, 'of the run', 'path')
_SEQ = {'type': 'integer', 'minimum': 0, 'maximum': 10**15 - 1}
_FROM = _parameter('from', _SEQ, 'the first result that is wanted')
_RUN = _answer('the run', 'application/json', _ref('Run'))
_RUN_LINKS = {
    name: {'operationId': name, 'parameters': {'id': '$response.body#/id'}} for name in ('showRun', 'readResults')
}

_PATHS: _Schema = {
    '/runs': {
        'get': {
            'operationId': 'listRuns',
            'summary': 'The runs, newest first',
            'parameters': [
                _parameter('limit', {'type': 'integer', 'minimum': 1, 'maximum': 500}, 'at most'),
                _parameter(
                    'before', {'type': 'string', 'pattern': '^[0-9a-f]{32}$'}, 'the id of a run: those older than it'
                ),
                _parameter('state', _one_or_more(STATES), 'with commas between them'),
                _parameter('outcome', _one_or_more(OUTCOMES), 'with commas between them'),
                _parameter(
                    'text',
                    {'type': 'string', 'maxLength': 200},
                    'words that are all in the method, the URL, the first host or the id',
                ),
            ],
            'responses': {'200': _answer('the runs', 'application/json', _ref('Runs')), **_problems('400', '404')},
        },
        'post': {
            'operationId': 'createRun',
            'summary': 'Submit a run',
            'requestBody': {
                'required': True,
                'content': {
                    'application/json': {
                        'schema': {'anyOf': [_ref(name) for name in ('Requests', 'Hosts', 'HostsOfOne', 'HostsInline')]}
                    }
                },
            },
            'responses': {
                '201': {
                    **_RUN,
                    'headers': {
                        'Location': {
                            'schema': {'type': 'string'},
                            'required': True,
                            'description': 'the path of the run',
                        }
                    },
                    'links': _RUN_LINKS,
                },
                **_problems('400', '408', '413', '415', '503'),
            },
        },
    },
    '/runs/{id}': {
        'parameters': [_ID],
        'get': {
            'operationId': 'showRun',
            'summary': 'How a run stands',
            'responses': {'200': _RUN, **_problems('404')},
        },
        'delete': {
            'operationId': 'cancelRun',
            'summary': 'Cancel a run, of which what it has found out stays; or forget one that has ended',
            'parameters': [_parameter('forget', _FLAG, 'forget it, and its results')],
            'responses': {'200': _RUN, '204': {'description': 'it is forgotten'}, **_problems('400', '404', '409')},
        },
    },
    '/runs/{id}/results': {
        'parameters': [_ID],
        'get': {
            'operationId': 'readResults',
            'summary': 'The results, a line of JSON each (see Result), or as CSV',
            'parameters': [
                _FROM,
                _parameter('follow', _FLAG, 'go on until the run ends'),
                _parameter('format', {'enum': ['ndjson', 'csv']}, 'by default as Accept says, else ndjson'),
            ],
            'responses': {
                '200': {
                    'description': 'the results; as CSV, an apostrophe is before what would be a formula',
                    'content': {
                        media: {'schema': {'type': 'string'}} for media in ('application/x-ndjson', 'text/csv')
                    },
                },
                **_problems('400', '404'),
            },
        },
    },
    '/runs/{id}/requests': {
        'parameters': [_ID],
        'get': {
            'operationId': 'readRequests',
            'summary': 'The requests that have no result yet',
            'responses': {
                '200': _answer(
                    'the requests',
                    'application/json',
                    _object(
                        {
                            'requests': {
                                'type': 'array',
                                'items': _object(
                                    {
                                        'index': _WHOLE,
                                        'tag': {},
                                        'host': {'type': 'string'},
                                        'method': {'type': 'string'},
                                        'url': {'type': 'string'},
                                    }
                                ),
                            }
                        }
                    ),
                ),
                **_problems('404'),
            },
        },
    },
    '/runs/{id}/flying': {
        'parameters': [_ID],
        'get': {
            'operationId': 'readFlying',
            'summary': 'The requests in flight: index, and ms at which it was sent',
            'responses': {
                '200': _answer(
                    'the requests',
                    'application/json',
                    _object(
                        {
                            'now': {'type': ['number', 'null'], 'description': 'ms from the beginning of the run'},
                            'flying': {'type': 'array', 'items': {'type': 'array', 'items': {'type': 'number'}}},
                        }
                    ),
                ),
                **_problems('404'),
            },
        },
    },
    '/runs/{id}/events': {
        'parameters': [_ID],
        'get': {
            'operationId': 'followRun',
            'summary': 'The results and the progress as server-sent events',
            'parameters': [_FROM, _parameter('Last-Event-ID', _SEQ, 'go on after this result', 'header')],
            'responses': {
                '200': {'description': 'events: result, progress, end', 'content': {'text/event-stream': {}}},
                '204': {'description': 'there is nothing more'},
                **_problems('400', '404'),
            },
        },
    },
    '/healthz': {
        'get': {
            'operationId': 'health',
            'summary': 'Whether the service is alive',
            'security': [],
            'responses': {
                '200': _answer(
                    'it is',
                    'application/json',
                    _object(
                        {
                            'status': {'enum': ['ok', 'draining']},
                            'runs': _WHOLE,
                            'cluster': {'const': True, 'description': 'where /cluster tells of one'},
                        },
                        ['status', 'runs'],
                    ),
                ),
                **_problems(),
            },
        }
    },
    '/metrics': {
        'get': {
            'operationId': 'metrics',
            'summary': 'Numbers for Prometheus',
            'responses': {'200': _answer('the numbers', 'text/plain', {'type': 'string'}), **_problems()},
        }
    },
    '/openapi.json': {
        'get': {
            'operationId': 'document',
            'summary': 'This document',
            'responses': {'200': _answer('the document', 'application/json', {'type': 'object'}), **_problems()},
        }
    },
}

# An answer of 101 is nothing that OpenAPI knows.
_WEBSOCKETS = {
    '/runs/{id}/ws': {
        'parameters': [_ID, _FROM],
        'summary': 'The results and the progress over a WebSocket',
        'receive': [
            '{"type": "result", "result": Result}',
            '{"type": "progress", "state", "outcome", "reason", "counts", "latency", "results", "finished"}',
        ],
        'send': ['{"type": "cancel"}'],
        'close': {
            '1000': 'after the last result',
            '1001': 'the service ends, or its store fails: more results come later',
            '1008': 'too much, or a message that is not known',
            '1009': 'a message of more than 1 MiB',
        },
    }
}

DOCUMENT: _Schema = {
    'openapi': '3.1.0',
    'info': {
        'title': 'napix',
        'version': __version__,
        'description': 'Many HTTP requests on many servers at once: runs that are submitted, watched, kept.',
    },
    'paths': {
        **_PATHS,
        **again_paths(_ID, _RUN, _problems, _answer, _object),
        **cluster_paths(_problems, _answer, _object),
        **saga_paths(_ID, _problems, _answer, _parameter),
    },
    'x-websockets': _WEBSOCKETS,
    'components': {
        'schemas': {**_SCHEMAS, **saga_schemas(_REQUEST_PARTS, _HOST, _OPTIONS, _WHOLE, _object)},
        'securitySchemes': {
            'bearer': {'type': 'http', 'scheme': 'bearer'},
            'token': {'type': 'apiKey', 'in': 'query', 'name': 'token'},
            'signature': {
                'type': 'apiKey',
                'in': 'header',
                'name': 'Authorization',
                'description': 'a signed request, as LoginAuthenticator makes it',
            },
        },
    },
    'security': [{}, {'bearer': []}, {'token': []}, {'signature': []}],
}
