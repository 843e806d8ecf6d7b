"""Options that are given by keyword: each class knows its own, lists them, and says which one was probably meant."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any

import pytest

from napixclient import Client, ClientPool, Request, marconi, rest
from napixclient._http.options import Options, SharedOptions
from napixclient._http.settings import Settings
from napixclient.messages import CallOptions, RequestOptions
from napixclient.resources import Resource, Resources, Shards
from napixclient.service import create_app
from napixclient.wsgi import flask_handler

Call = Callable[..., Any]
NOBODY = 'http://127.0.0.1:9'
#: What takes the options of a client.
TAKERS: list[tuple[str, Call, Call]] = [
    ('Client', Client, lambda **options: Client(NOBODY, **options)),
    ('ClientPool', ClientPool, ClientPool),
    ('Resource', Resource, lambda **options: Resource(NOBODY, **options)),
    ('Resources', Resources, lambda **options: Resources([NOBODY], **options)),
    ('Shards', Shards, lambda **options: Shards([(NOBODY, 'key')], **options)),
    ('Client', rest.Client, lambda **options: rest.Client(NOBODY, **options)),
    ('Connection', marconi.Connection, lambda **options: marconi.Connection(endpoint=f'{NOBODY}/v2', **options)),
]
MISSPELT = {'timout': 'timeout', 'reties': 'retries', 'ca_cert': 'ca_certs', 'on_respons': 'on_response'}


def call_of(make: Call, name: str, *given: Any) -> Call:
    """A request of an object that is made for it."""

    def ask(**options: Any) -> Any:
        with make() as asked:
            return getattr(asked, name)(*given, **options)

    return ask


def a_client() -> Client:
    """A client of a host that nobody serves."""
    return Client(NOBODY)


def some_resources() -> Resources:
    """Likewise resources."""
    return Resources([NOBODY])


def some_shards() -> Shards:
    """Likewise shards."""
    return Shards([(NOBODY, 'key')])


def a_rest_client() -> rest.Client:
    """Likewise a REST client."""
    return rest.Client(NOBODY)


#: What takes the options of a request: the public class, what documents them, and what takes them.
REQUESTS: list[tuple[str, Call, Call]] = [
    ('Request', Request, lambda **options: Request('host', 'GET', '/', **options)),
    ('Request', Request, lambda **options: Request('host', 'GET', '/').replace(**options)),
    ('Client', Client.request, call_of(a_client, 'request', 'GET', '/')),
    ('Client', Client.submit, call_of(a_client, 'submit', 'GET', '/')),
    ('ClientPool', ClientPool.request, call_of(ClientPool, 'request', NOBODY, 'GET', '/')),
    ('Resource', Resource.__call__, call_of(lambda: Resource(NOBODY), '__call__', 'GET', '/')),
    ('Resource', Resource.request, call_of(lambda: Resource(NOBODY), 'request', 'GET', '/')),
    ('Resources', Resources.request, call_of(some_resources, 'request', NOBODY, 'GET', '/')),
    ('Resources', Resources.unicast, call_of(some_resources, 'unicast', 'GET', '/')),
    ('Resources', Resources.broadcast, call_of(some_resources, 'broadcast', 'GET', '/')),
    ('Resources', Resources.rolling, call_of(some_resources, 'rolling', [(NOBODY, 'GET', '/')])),
    ('Shards', Shards.unicast, call_of(some_shards, 'unicast', 'key', 'GET', '/')),
    ('Shards', Shards.broadcast, call_of(some_shards, 'broadcast', 'key', 'GET', '/')),
    ('Shards', Shards.multicast, call_of(some_shards, 'multicast', ['key'], 'GET', '/')),
    ('Client', rest.Client.request, call_of(a_rest_client, 'request', 'GET', '/')),
    ('Client', rest.Client.request, call_of(a_rest_client, 'get', '/')),
    ('Client', rest.Client.request, call_of(a_rest_client, 'post', '/')),
    ('paginate', rest.paginate, lambda **options: rest.paginate(a_rest_client(), '/', items=list, **options)),
]


@pytest.mark.parametrize('misspelt', MISSPELT)
@pytest.mark.parametrize(('name', '_', 'make'), TAKERS)
def test_a_misspelt_option_names_the_class_and_what_was_meant(name: str, _: Call, make: Call, misspelt: str) -> None:
    """A constructor that is given an option that there is not raises a TypeError that helps."""
    with pytest.raises(
        TypeError, match=rf"^{name} takes no option '{misspelt}': did you mean '{MISSPELT[misspelt]}'\?$"
    ):
        make(**{misspelt: 3})


@pytest.mark.parametrize(
    ('misspelt', 'meant'), [('timout', 'timeout'), ('max_bodi', 'max_body'), ('retrys', 'retries')]
)
@pytest.mark.parametrize(('name', '_', 'ask'), REQUESTS)
def test_a_misspelt_option_of_a_request_names_the_class_and_what_was_meant(
    name: str, _: Call, ask: Call, misspelt: str, meant: str
) -> None:
    """A request that is given an option that there is not is not sent, and the TypeError helps."""
    with pytest.raises(TypeError, match=rf"^{name}(\.\w+)? takes no option '{misspelt}': did you mean '{meant}'\?$"):
        ask(**{misspelt: 3})


def test_a_parameter_of_ones_own_may_be_what_was_meant() -> None:
    """What is no option, but a parameter beside them, is proposed as well."""
    for make, misspelt, meant in (
        (ClientPool, 'simultanous', 'simultaneous'),
        (lambda **options: Client(NOBODY, **options), 'authenticater', 'authenticator'),
        (lambda **options: Resources([NOBODY], **options), 'single_flight', 'singleflight'),
        (lambda **options: rest.Client(NOBODY, **options), 'base_header', 'base_headers'),
        (call_of(a_client, 'request', 'GET', '/'), 'header', 'headers'),
        (call_of(some_resources, 'unicast', 'GET', '/'), 'atempts', 'attempts'),
        (call_of(some_shards, 'unicast', 'key', 'GET', '/'), 'hegde', 'hedge'),
    ):
        with pytest.raises(TypeError, match=f"takes no option '{misspelt}': did you mean '{meant}'"):
            make(**{misspelt: 3})  # type: ignore[operator]


def test_what_is_like_none_of_them_is_answered_with_all_of_them() -> None:
    """Where nothing is near, the error lists what there is; of several it names each."""
    with pytest.raises(TypeError, match=r"ClientPool takes no option 'colour': it takes authenticator, .*, verify$"):
        ClientPool(colour='red')  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"'timout': did you mean 'timeout'\?; .*'reties': did you mean 'retries'"):
        ClientPool(timout=3, reties=4)  # type: ignore[call-arg]


def test_other_public_functions_with_options_say_it_too() -> None:
    """What makes an application of the service, or puts a catcher around one of Flask, knows its options as well."""
    for make, misspelt, meant in (
        (create_app, 'stroe', 'store'),
        (lambda **options: flask_handler(object(), **options), 'expose_tracebacks', 'expose_traceback'),
    ):
        with pytest.raises(TypeError, match=f"takes no option '{misspelt}': did you mean '{meant}'"):
            make(**{misspelt: 3})  # type: ignore[operator]


def test_a_type_error_that_is_not_of_an_option_is_as_it_was() -> None:
    """A body of a kind that cannot be sent is told of as such."""
    for _, _, ask in REQUESTS[:10]:
        with pytest.raises(TypeError, match='a body is a dict, list, text, bytes, file or iterable of bytes, not int'):
            ask(body=7)


def test_keywords_of_shards_are_options_hosts_or_misspelt() -> None:
    """A word that is nearly an option is one that is misspelt, whatever its value; a host has a list of its keys."""
    for misspelt in (
        {'header': {'a': 'b'}},
        {'header': ['a']},
        {'ca_cert': 'x.pem'},
        {'no_proxi': ['a']},
        {'rates': 3},
    ):
        with pytest.raises(TypeError, match='Shards takes no option .*: did you mean '):
            Shards(**misspelt)
    for wrong in (5, 'east', b'east', {'east': 1}):
        with pytest.raises(TypeError, match="'web1' is no option, so it is a host with a list of its keys, not "):
            Shards(web1=wrong)
    with Shards(**{'proxy1': ['east'], 'rate-2': {'east'}}) as shards:
        assert shards == {'east': {'proxy1', 'rate-2'}}


@pytest.mark.parametrize(('name', 'taker', '_'), TAKERS)
def test_a_docstring_lists_every_option(name: str, taker: Call, _: Call) -> None:
    """Who asks a class for help sees each of its options once, with its default."""
    described = inspect.getdoc(taker) or ''
    for option in SharedOptions.__optional_keys__:
        assert described.count(f':param {option}: ') == 1, option
    assert described.count('Default:') >= len(SharedOptions.__optional_keys__)


@pytest.mark.parametrize(('name', 'taker', '_'), REQUESTS[:15])
def test_a_docstring_lists_every_option_of_a_request(name: str, taker: Call, _: Call) -> None:
    """Likewise who asks what makes a request."""
    described = inspect.getdoc(taker) or ''
    for option in CallOptions.__optional_keys__:
        assert described.count(f':param {option}: ') == 1, option


def test_options_are_what_is_checked() -> None:
    """The types tell of the same options, of the same types, as what reads them."""
    wanted = inspect.signature(Settings).parameters
    assert set(Options.__optional_keys__) == set(wanted)
    told, read = typing.get_type_hints(Options), typing.get_type_hints(Settings.__init__)
    assert {name: told[name] for name in wanted} == {name: read[name] for name in wanted}


def test_every_type_with_options_describes_each() -> None:
    """An option is in its type, and in the docstring of that."""
    for kind in (Options, RequestOptions, CallOptions, rest.client.ClientOptions, marconi.connection.ConnectionOptions):
        described = inspect.getdoc(kind) or ''
        for name in kind.__optional_keys__:  # type: ignore[attr-defined]
            assert described.count(f':param {name}: ') == 1, (kind, name)


def test_annotations_can_be_read_at_run_time() -> None:
    """`typing.get_type_hints` finds whatever the signatures of what takes options name, on every Python."""
    for taker in {taker for _, taker, _ in [*TAKERS, *REQUESTS]} - {Request}:
        assert typing.get_type_hints(taker.__init__ if inspect.isclass(taker) else taker)
    assert typing.get_type_hints(Request.__new__)
