"""What the servers of the documentation answer, by host and path."""

from __future__ import annotations

import gzip
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

import gevent

from . import queues

__all__ = ['Answer', 'answer', 'knows']

#: Status, header fields and body: a dict or a list goes as JSON, a str as UTF-8.
Answer = tuple[int, dict[str, str], Any]
Handler = Callable[[str, str, Mapping[str, str], bytes], Answer]
_TEXT = {'Content-Type': 'text/plain'}
_NOT_FOUND: Answer = 404, _TEXT, '10 not found'
_LONG = 60.0  # seconds: longer than anybody waits
_CLOUD = '/some/api/endpoint'
#: What a server answers that failed because a server behind it did.
_DOCUMENT = {
    'error_class': 'RemoteError',
    'error_text': '"500 Internal Server Error" OSError: volume group vg-13 is offline',
    'request': {'method': 'GET', 'path': '/capacity/capacity'},
    'remote_call': 'GET http://storage.example/volumes/vg-13',
    'remote_status': 500,
    'remote_elapsed': 0.004,
    'remote_error': {
        'error_class': 'OSError',
        'error_text': 'volume group vg-13 is offline',
        'request': {'method': 'GET', 'path': '/volumes/vg-13'},
    },
}


def _always(body: Any, status: int = 200, **fields: str) -> Handler:
    """The same answer to everybody; underscores of the fields stand for hyphens."""
    found: Answer = status, {name.replace('_', '-'): value for name, value in fields.items()}, body
    return lambda *_: found


def _slow(seconds: float, body: Any) -> Handler:
    """An answer that takes its time."""

    def wait(*_: object) -> Answer:
        gevent.sleep(seconds)
        return 200, {}, body

    return wait


def _in_turn(*answers: Answer) -> Handler:
    """These answers, one after the other, and again."""
    left = list(answers)

    def turn(*_: object) -> Answer:
        left.append(left.pop(0))
        return left[-1]

    return turn


def _upload(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """Tell what was received."""
    return 201, {}, {'bytes': len(body), 'type': headers.get('content-type', '').partition(';')[0]}


def _who(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """Tell how the caller proved who asks."""
    proof = headers.get('authorization', '').partition(' ')[0] or ('a token' if 'token=' in path else None)
    return 200, {}, {'proof': proof, 'key': headers.get('x-api-key'), 'user': headers.get('x-user')}


def _vault(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """For who has today's token."""
    if headers.get('authorization') != 'Bearer de7245':
        return 401, {'WWW-Authenticate': 'Bearer error="invalid_token"'}, None
    return 200, {}, ['a pearl']


def _digest(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """For who answers the challenge."""
    if headers.get('authorization', '').startswith('Digest username="nemo"'):
        return 200, {}, ['a pearl']
    return 401, {'WWW-Authenticate': 'Digest realm="vault", nonce="5ea", qop="auth", algorithm=SHA-256'}, None


def _events(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """Two events, then one more, then no more."""
    last = headers.get('last-event-id')
    if last == '3':
        return 204, {}, None
    said = 'id: 3\ndata: all hands lost\n\n'
    if last is None:
        said = 'retry: 10\n\nid: 1\ndata: anchor aweigh\n\nid: 2\nevent: sighting\ndata: a white whale\n\n'
    return 200, {'Content-Type': 'text/event-stream'}, said


def _tagged(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """An object that does not change."""
    return (304 if headers.get('if-none-match') == '"7"' else 200), {'ETag': '"7"'}, None


def _session(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """Tell which cookies came."""
    return 200, {}, {'cookie': headers.get('cookie')}


def _create(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """201 for what was there already, 202 for what is new."""
    made = json.loads(body)
    return (201 if made == {'name': 'first'} else 202), {}, made


def _contents(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """The list of contents."""
    found = [{'name': 'first'}, {'name': 'second'}]
    return 200, {}, found[: int(path.partition('limit=')[2] or 2)]


def _disks(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """Two disks, then the third."""
    names = ['vg-3'] if 'marker=vg-2' in path else [] if 'marker=' in path else ['vg-1', 'vg-2']
    return 200, {}, {'disks': [{'id': name} for name in names]}


_SERVER: dict[str, Handler] = {
    '/': _always(['/abc', '/captain']),
    '/captains': _always(['/captains/1', '/captains/2']),
    '/captains/1': _always({'name': 'Nemo'}),
    '/whoami': _who,
    '/upload': _upload,
    '/state': _in_turn((503, {'Retry-After': '0'}, None), (200, {}, {'state': 'ready'})),
    '/limited': _in_turn((429, {'Retry-After': '1'}, None), (200, {}, {'state': 'ready'})),
    '/packed': _always(
        gzip.compress(b'["/captains/1", "/captains/2"]'), Content_Type='application/json', Content_Encoding='gzip'
    ),
    '/image': _always(b'\0' * 1_000_000, Content_Type='application/octet-stream'),
    '/log': _always(''.join(f'{{"line": {number}}}\n' for number in range(3)), Content_Type='text/plain'),
    '/old': _always(None, 301, Location='/captains'),
    '/moved': _always(None, 307, Location='/upload'),
    '/elsewhere': _always(None, 302, Location='http://tokens.example/whoami'),
    '/login': _always(None, 204, Set_Cookie='session=de7245'),
    '/session': _session,
    '/tagged': _tagged,
    '/events': _events,
    '/slow': _slow(_LONG, {}),
}
#: Hosts that answer alike: by name, by the name that a page resolves itself, and by address.
_PLAIN = ('server', 'alias', '127.0.0.1')
_BUILDING: Answer = 200, {}, {'state': 'BUILD'}
_OTHERS: dict[tuple[str, str], Handler] = {
    ('secure', '/'): _always(['/vault']),
    ('vault', '/vault'): _vault,
    ('vault', '/digest'): _digest,
    ('tokens', '/whoami'): _who,
    ('tokens', '/oauth2/token'): _always({'access_token': 'de7245', 'expires_in': 3600}),
    ('tokens', '/tokens'): _always({'token': 'de7245', 'expires_in': 3600}),
    ('ip-allocator', '/vm-ip/'): _always(None, 204, Location='/vm-ip/10.0.0.17'),
    ('filer', '/storage/'): _always(None, 204, Location='/storage/vm-17'),
    ('xen1', '/capacity/capacity'): _slow(0.1, {'size': 8 * 10**9}),
    ('xen2', '/capacity/capacity'): _slow(0.3, {'size': 64 * 10**9}),
    ('xen3', '/capacity/capacity'): _always(_DOCUMENT, 502),
    ('xen4', '/capacity/capacity'): _slow(_LONG, {'size': 0}),
    **{(f'web{number}', '/status'): _always({'name': f'web{number}', 'load': number / 4}) for number in range(1, 101)},
    ('web3', '/status'): _always('out of order', 503, **_TEXT),
    ('cloud', _CLOUD): _create,
    ('cloud', f'{_CLOUD}/my/contents'): _contents,
    **{('cloud', f'{_CLOUD}/my/contents/{number}'): _always({'name': f'content {number}'}) for number in range(1, 4)},
    ('cloud', f'{_CLOUD}/my/contents/none'): _always(
        {'itemNotFound': {'message': 'no such content', 'code': 404, 'details': 'none'}}, 404
    ),
    ('cloud', f'{_CLOUD}/my/machine'): _in_turn(_BUILDING, _BUILDING, (200, {}, {'state': 'ACTIVE'})),
    ('cloud', f'{_CLOUD}/my/disks'): _disks,
}
_KEYSTONE = queues.Keystone('http://zaqar.example')
_SERVICES: dict[str, Handler] = {'keystone': _KEYSTONE, 'zaqar': queues.Zaqar(_KEYSTONE), 'open': queues.Zaqar()}


def answer(method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """What the server of that name answers; what is signed wrongly is refused, whatever it asks for."""
    host = headers.get('host', '').partition(':')[0].removesuffix('.example')
    if host in _SERVICES:
        return _SERVICES[host](method, target, headers, body)
    if '&nonce=' in headers.get('authorization', '') and not _is_signed(method, target, headers):
        return 403, _TEXT, 'Access Denied'
    path = target.partition('?')[0]
    handler = _OTHERS.get((host, path)) or (_SERVER.get(path) if host in _PLAIN else None)
    return handler(method, target, headers, body) if handler else _NOT_FOUND


def _is_signed(method: str, target: str, headers: Mapping[str, str]) -> bool:
    """Whether it is signed as napix demands it, by root with the key of the pages."""
    message, _, signature = headers['authorization'].rpartition(':')
    said = {name: values[0] for name, values in parse_qs(message).items()}
    wanted = {'login': 'root', 'method': method, 'path': target, 'host': headers['host']}
    return {name: said.get(name) for name in wanted} == wanted and hmac.compare_digest(
        signature, hmac.new(b'toor', message.encode(), hashlib.sha256).hexdigest()
    )


def knows(headers: Mapping[str, str]) -> bool:
    """Whether the proxy knows who asks: it is told ``user:password``."""
    return headers.get('proxy-authorization') == 'Basic dXNlcjpwYXNzd29yZA=='
