"""Requests, responses and headers: frozen values.

request     requests, checked when they are made (RFC 9110 §5 and §7, RFC 9112 §3)
options     the options of one request
content     the content of a request, as other libraries take it
source      bodies that are read while they are sent
multipart   forms, with files in them
events      server-sent events
response    responses, decoded when they are asked for
headers     header fields: a block as it came, looked up when asked for
json_codec  JSON, read and written
methods     which methods there are, and which are idempotent
target      path and query as they go on the request line
origin      hosts as callers write them, and their origins
reference   where a URL, or a reference in an answer, leads (RFC 3986)

A request is checked once, so that what lies below may write it as it stands. Most answers are never asked for more
than one or two of their fields.
"""

from .content import FORM, form_of, given_files, is_form, multipart_of
from .events import MAX_EVENT, EventParser, ServerSentEvent, what_is_no_stream
from .headers import Headers
from .json_codec import FINITE, dump_json, is_json, json_text, load_json, redump_json
from .methods import IDEMPOTENT, METHODS, in_capitals
from .multipart import multipart_body
from .options import Body, CallOptions, ContentOptions, Fields, Params, RequestOptions, WholeOptions
from .origin import UNIX, Origin, parse_origin
from .reference import REDIRECTS, lead, split_reference, split_url, written
from .request import (
    NO_OPTIONS,
    OwnOptions,
    Request,
    Shared,
    one_of,
    plain_request,
    request_with,
    retry_of,
    shared_request,
)
from .response import (
    Response,
    beginning,
    body_member,
    error_of,
    exact_text,
    is_coded,
    new_response,
    read_later,
    says_json,
    written_json,
)
from .source import Source

__all__ = [
    'Body',
    'CallOptions',
    'ContentOptions',
    'EventParser',
    'FINITE',
    'FORM',
    'Fields',
    'Headers',
    'IDEMPOTENT',
    'MAX_EVENT',
    'METHODS',
    'NO_OPTIONS',
    'Origin',
    'OwnOptions',
    'Params',
    'REDIRECTS',
    'Request',
    'RequestOptions',
    'Response',
    'ServerSentEvent',
    'Shared',
    'Source',
    'UNIX',
    'WholeOptions',
    'beginning',
    'body_member',
    'dump_json',
    'error_of',
    'exact_text',
    'form_of',
    'given_files',
    'in_capitals',
    'is_coded',
    'is_form',
    'is_json',
    'json_text',
    'lead',
    'load_json',
    'multipart_body',
    'multipart_of',
    'new_response',
    'one_of',
    'parse_origin',
    'plain_request',
    'read_later',
    'redump_json',
    'request_with',
    'retry_of',
    'says_json',
    'shared_request',
    'split_reference',
    'split_url',
    'what_is_no_stream',
    'written',
    'written_json',
]
