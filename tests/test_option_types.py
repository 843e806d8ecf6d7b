"""The types of options: a type checker knows the same names as the program."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from napixclient import Request
from napixclient.messages import NO_OPTIONS, CallOptions, RequestOptions, WholeOptions
from napixclient.resources import Resources
from napixclient.resources.resource import AskOptions
from napixclient.resources.shards import BroadcastOptions, UnicastOptions
from napixclient.rest import Client, paginate
from napixclient.rest.client import VerbOptions
from napixclient.rest.paging import PageOptions
from napixclient.wsgi import ExceptionsCatcher
from napixclient.wsgi.frameworks import CatcherOptions


def keywords(function: Callable[..., Any]) -> set[str]:
    """The names of what it takes by keyword only."""
    parameters = inspect.signature(function).parameters.values()
    return {parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}


CONTENT = {'json', 'data', 'files'}
REQUEST = {*NO_OPTIONS._fields, *CONTENT, 'multipart', 'params', 'tag'}
ASK = REQUEST - {'stream'} | {'headers'}


@pytest.mark.parametrize(
    ('options', 'names'),
    [
        (RequestOptions, REQUEST),
        (WholeOptions, REQUEST - {'stream'}),
        (CallOptions, REQUEST - {'stream', 'tag', 'params'} - CONTENT),
        (AskOptions, ASK),
        (UnicastOptions, ASK | keywords(Resources.unicast)),
        (BroadcastOptions, ASK | keywords(Resources.broadcast)),
        (VerbOptions, REQUEST - {'tag'} | keywords(Client.request)),
        (CatcherOptions, keywords(ExceptionsCatcher)),
    ],
    ids=lambda given: getattr(given, '__name__', ''),
)
def test_the_type_of_options_names_what_is_taken(options: Any, names: set[str]) -> None:
    """A new option cannot be forgotten in the type, nor one be in it that is refused."""
    assert options.__optional_keys__ == names and not options.__required_keys__


def test_a_request_takes_each_of_its_options() -> None:
    """What the type of its options names, a request has as an attribute, or makes its url and its body of."""
    defaults: Any = dict.fromkeys(RequestOptions.__optional_keys__)
    request = Request('server.example', 'GET', '/', **defaults)
    assert all(hasattr(request, name) for name in RequestOptions.__optional_keys__ - CONTENT - {'params', 'multipart'})


def test_pages_take_options_of_verbs() -> None:
    """What `paginate` hands on, each verb takes; and nothing of it is an argument of its own."""
    assert PageOptions.__optional_keys__ < VerbOptions.__optional_keys__
    assert not PageOptions.__optional_keys__ & keywords(paginate)
