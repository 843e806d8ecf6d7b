"""The services of the page on queues: a Zaqar that speaks version 2 and keeps messages in memory, and a Keystone.

They do what that page asks for. Purging, subscriptions, and what real ones do wrong are left out.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = ['Keystone', 'Zaqar']

Answer = tuple[int, dict[str, str], Any]
_MISSING: Answer = 404, {}, {'title': 'Not found', 'description': 'It does not exist'}
_UNAUTHORIZED: Answer = (
    401,
    {'WWW-Authenticate': 'Keystone uri="https://keystone.example"'},
    {'error': {'code': 401, 'title': 'Unauthorized', 'message': 'The request you have made requires authentication.'}},
)
_HOUR = timedelta(hours=1)


class Keystone:
    """Issues tokens, that live an hour, for the password ``demopw``. Who logs in finds the queues empty.

    :param endpoint: where Zaqar is.
    """

    def __init__(self, endpoint: str) -> None:
        self._endpoint = {'interface': 'public', 'region_id': 'RegionOne', 'url': endpoint}
        self._token = ''
        self.logins: int = 0

    def knows(self, token: str | None) -> bool:
        """Whether it has issued this token last."""
        return bool(self._token) and token == self._token

    def __call__(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer a request."""
        if (method, target) != ('POST', '/v3/auth/tokens'):
            return 404, {}, {'error': {'code': 404, 'title': 'Not Found', 'message': 'It could not be found.'}}
        user = json.loads(body)['auth']['identity'].get('password', {}).get('user', {})
        if user.get('password') != 'demopw':
            return _UNAUTHORIZED
        self._token = f'gAAAAA{uuid.uuid4().hex}'
        self.logins += 1
        now = datetime.now(timezone.utc)
        token = {
            'issued_at': now.isoformat(),
            'expires_at': (now + _HOUR).isoformat(),
            'user': {'name': user.get('name')},
            'project': {'id': 'a1b2c3', 'name': 'demo'},
            'catalog': [{'type': 'messaging', 'endpoints': [self._endpoint]}],
        }
        return 201, {'X-Subject-Token': self._token}, {'token': token}


@dataclass
class _Message:
    body: Any
    ttl: int
    claim: str = ''
    #: Until when it is claimed, by ``time.monotonic()``.
    until: float = 0.0
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    born: float = field(default_factory=time.monotonic)

    @property
    def is_claimed(self) -> bool:
        """Whether it belongs to a claim now."""
        return self.until > time.monotonic()

    def shown(self, place: str) -> dict[str, Any]:
        """As it is listed."""
        query = f'?claim_id={self.claim}' if self.is_claimed else ''
        age = int(time.monotonic() - self.born)
        href = f'{place}/messages/{self.id}{query}'
        return {'id': self.id, 'href': href, 'ttl': self.ttl, 'age': age, 'body': self.body}


@dataclass
class _Queue:
    name: str
    metadata: dict[str, Any] = field(default_factory=dict)
    messages: dict[str, _Message] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Its path."""
        return f'/v2/queues/{self.name}'


class Zaqar:
    """Keeps queues.

    :param keystone: whose tokens it accepts; without one there is no authentication.
    """

    def __init__(self, keystone: Keystone | None = None) -> None:
        self._keystone = keystone
        self._queues: dict[str, _Queue] = {}
        self._logins = 0

    def __call__(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer a request."""
        parts = urlsplit(target)
        if parts.path == '/':
            return 300, {}, {'versions': [{'id': '2'}]}
        if self._keystone is not None:
            if 'url-signature' not in headers and not self._keystone.knows(headers.get('x-auth-token')):
                return _UNAUTHORIZED
            if self._logins != self._keystone.logins:
                self._logins = self._keystone.logins
                self._queues.clear()
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        given = json.loads(body) if body else {}
        match method, unquote(parts.path).split('/')[2:]:
            case 'GET', ['ping']:
                return 204, {}, None
            case 'GET', ['queues']:
                return self._list_queues(query)
            case 'PUT', ['queues', name]:
                known = name in self._queues
                self._queues.setdefault(name, _Queue(name, given))
                return (204, {}, None) if known else (201, {'Location': f'/v2/queues/{name}'}, '')
            case 'DELETE', ['queues', name]:
                self._queues.pop(name, None)
                return 204, {}, None
            case _, ['queues', name, kind, *rest]:
                queue = self._queues.setdefault(name, _Queue(name))
                return _of_messages(queue, method, [kind, *rest], query, given)
            case 'GET', ['queues', name]:
                return 200, {}, self._queues.setdefault(name, _Queue(name)).metadata
        return _MISSING

    def _list_queues(self, query: Mapping[str, str]) -> Answer:
        names = [name for name in sorted(self._queues) if name > query.get('marker', '')]
        names = names[: int(query.get('limit', 10))]
        links = [{'rel': 'next', 'href': f'/v2/queues?marker={names[-1]}'}] if names else []
        return 200, {}, {'queues': [{'name': name, 'href': f'/v2/queues/{name}'} for name in names], 'links': links}


def _of_messages(queue: _Queue, method: str, path: list[str], query: Mapping[str, str], given: Any) -> Answer:
    """What is asked of one queue."""
    match method, path:
        case 'GET', ['stats']:
            claimed = sum(message.is_claimed for message in queue.messages.values())
            total = len(queue.messages)
            return 200, {}, {'messages': {'claimed': claimed, 'free': total - claimed, 'total': total}}
        case 'POST', ['messages']:
            made = [_Message(each['body'], each.get('ttl', 3600)) for each in given['messages']]
            queue.messages.update((message.id, message) for message in made)
            return 201, {}, {'resources': [f'{queue.place}/messages/{message.id}' for message in made]}
        case 'GET', ['messages']:
            return _list_messages(queue, query)
        case 'DELETE', ['messages', *ids]:
            for id in ids or query['ids'].split(','):
                queue.messages.pop(id, None)
            return 204, {}, None
        case 'POST', ['claims']:
            return _claim(queue, int(query.get('limit', 10)), given)
        case (('PATCH' | 'DELETE'), ['claims', id]):
            return _of_claim(queue, id, given.get('ttl', 0) if method == 'PATCH' else 0)
        case 'POST', ['share']:
            paths = [f'{queue.place}/{each}' for each in given['paths']]
            expires = (datetime.now(timezone.utc) + _HOUR).strftime('%Y-%m-%dT%H:%M:%S')
            signed = {'project': 'a1b2c3', 'paths': paths, 'expires': expires, 'signature': uuid.uuid4().hex}
            return 200, {}, {**given, **signed}
    return _MISSING


def _list_messages(queue: _Queue, query: Mapping[str, str]) -> Answer:
    if 'ids' in query:
        found = [queue.messages[id] for id in query['ids'].split(',') if id in queue.messages]
        return (200, {}, {'messages': [message.shown(queue.place) for message in found]}) if found else _MISSING
    ids = list(queue.messages)
    start = ids.index(query['marker']) + 1 if query.get('marker') in queue.messages else 0
    window = ids[start : start + int(query.get('limit', 10))]
    listed = [
        message.shown(queue.place) for message in map(queue.messages.__getitem__, window) if not message.is_claimed
    ]
    links = [{'rel': 'next', 'href': f'{queue.place}/messages?marker={window[-1]}'}] if window else []
    return 200, {}, {'messages': listed, 'links': links}


def _claim(queue: _Queue, limit: int, given: Any) -> Answer:
    taken = [message for message in queue.messages.values() if not message.is_claimed][:limit]
    if not taken:
        return 204, {}, None
    id, until = str(uuid.uuid4()), time.monotonic() + given['ttl']
    for message in taken:
        message.claim, message.until = id, until
    shown = [message.shown(queue.place) for message in taken]
    return 201, {'Location': f'{queue.place}/claims/{id}'}, {'messages': shown}


def _of_claim(queue: _Queue, id: str, ttl: int) -> Answer:
    """Renew a claim for so many seconds; 0 releases it."""
    claimed = [message for message in queue.messages.values() if message.claim == id and message.is_claimed]
    for message in claimed:
        message.until = time.monotonic() + ttl
    return (204, {}, None) if claimed or not ttl else _MISSING
