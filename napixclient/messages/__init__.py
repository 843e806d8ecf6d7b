"""Requests, responses and headers: frozen values.

A ``Request`` is checked once, when it is made (RFC 9110 §5 and §7, RFC 9112 §3), so that what lies below may write
it as it stands. ``Headers`` keeps a block of raw fields and looks a field up when it is asked for: most answers are
never asked for more than one or two.
"""

from .headers import Headers
from .json_codec import FINITE, dump_json, is_json, json_text, load_json, redump_json
from .methods import IDEMPOTENT
from .options import Body, CallOptions, Fields, Params, RequestOptions, WholeOptions
from .origin import Origin, parse_origin
from .reference import REDIRECTS, lead, split_reference, written
from .request import NO_OPTIONS, Request, Source, plain_request, request_with, retry_of
from .response import Response, beginning, exact_text, new_response, written_json

__all__ = [
    'Body',
    'CallOptions',
    'FINITE',
    'Fields',
    'Headers',
    'IDEMPOTENT',
    'NO_OPTIONS',
    'Origin',
    'Params',
    'REDIRECTS',
    'Request',
    'RequestOptions',
    'Response',
    'Source',
    'WholeOptions',
    'beginning',
    'dump_json',
    'exact_text',
    'is_json',
    'json_text',
    'lead',
    'load_json',
    'new_response',
    'parse_origin',
    'plain_request',
    'redump_json',
    'request_with',
    'retry_of',
    'split_reference',
    'written',
    'written_json',
]
