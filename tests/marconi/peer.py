"""A Zaqar and a Keystone in memory, for what a real one cannot show: faults on demand, claims that last a second.

They answer as the real ones on Redis do, with their quirks, and for everything that `scenarios.py` does: those run
against the real ones too, in tests/zaqar. What becomes of messages and claims is as in zaqar 23.0.1,
`zaqar/storage/redis`: claims.py, messages.py and scripts/claim_messages.lua; purge as in `transport/wsgi/v2_0/purge.py`.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Answer = tuple[int, dict[str, str], Any]
DEFAULTS = {'_max_messages_post_size': 262144, '_default_message_ttl': 3600}
MISSING: Answer = 404, {}, {'title': 'Not found', 'description': 'It does not exist'}
INVALID: Answer = (
    400,
    {},
    {'title': 'Invalid API request', 'description': 'Limit must be at least 1 and no greater than 20.'},
)
BROKEN: Answer = 503, {}, {'title': 'Service temporarily unavailable', 'description': 'Claim could not be updated.'}
UNAUTHORIZED: Answer = (
    401,
    {'WWW-Authenticate': 'Keystone uri="http://keystone.example/v3"'},
    {'error': {'code': 401, 'title': 'Unauthorized', 'message': 'The request you have made requires authentication.'}},
)


class Zaqar:
    """A handler for `kit.serve`.

    :param keystone: whose tokens it accepts; without one there is no authentication.
    """

    def __init__(self, keystone: Keystone | None = None) -> None:
        self.keystone = keystone
        self.queues: dict[str, dict[str, Any]] = {}
        self.messages: dict[str, list[dict[str, Any]]] = {}
        self.claims: dict[str, dict[str, Any]] = {}
        self.subscriptions: dict[str, dict[str, Any]] = {}
        #: What was asked, as `GET /v2/queues`.
        self.asked: list[str] = []
        #: Called before anything else; what it returns is the answer.
        self.fault: Callable[[str, str, Any, bytes], Answer | None] = lambda *_: None

    def __call__(self, method: str, target: str, headers: Any, body: bytes) -> Answer:
        """Answer one request, as a handler of `kit.serve`."""
        self.asked.append(f'{method} {target}')
        faulty = self.fault(method, target, headers, body)
        if faulty is not None:
            return faulty
        path, query = (
            unquote(urlsplit(target).path),
            {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()},
        )
        if path == '/':
            return 300, {}, {'versions': [{'id': id} for id in ('1', '1.1', '2')]}
        if self.keystone is not None and 'url-signature' not in headers and not self.keystone.knows(headers):
            return UNAUTHORIZED
        _, version, *parts = path.split('/')
        try:
            given = json.loads(body) if body else None
        except ValueError:
            return 400, {}, {'title': 'Invalid request body', 'description': 'Request body could not be parsed.'}
        if not 1 <= int(query.get('limit', 10)) <= 20:
            return INVALID
        status, fields, document = self._answer(version, method, parts, query, headers, given)
        return status, fields, None if status == 204 else document

    def _answer(self, version: str, method: str, parts: list[str], query: Any, headers: Any, given: Any) -> Answer:
        v1 = version == 'v1'
        match method, parts:
            case 'GET', ['']:
                return 200, {}, {'resources': {'rel/queues': {}}}
            case 'GET', ['health']:
                return (204, {}, None) if v1 else (403, {}, {'title': 'Not authorized', 'description': 'Not you.'})
            case 'GET', ['ping'] if not v1:
                return 204, {}, None
            case 'GET', ['queues']:
                return self._list_queues(v1, query)
            case _, ['queues', name, *rest]:
                return self._queue(version, method, name, rest, query, headers, given)
        return 404, {}, {'title': '404 Not Found'}

    def _list_queues(self, v1: bool, query: Any) -> Answer:
        names = [name for name in sorted(self.queues) if name > query.get('marker', '')][: int(query.get('limit', 10))]
        listed = [
            {
                'name': name,
                'href': f'/queues/{name}',
                **({'metadata': self.queues[name]} if 'detailed' in query else {}),
            }
            for name in names
        ]
        if v1 and not listed:
            return 204, {}, None
        links = [{'rel': 'next', 'href': f'/queues?marker={names[-1]}&limit=3'}] if names else []
        return 200, {}, {'queues': listed, 'links': links}

    def _queue(
        self, version: str, method: str, name: str, rest: list[str], query: Any, headers: Any, given: Any
    ) -> Answer:
        v1, place = version == 'v1', f'/{version}/queues/{name}'
        known = self.queues.get(name)
        match method, rest:
            case 'PUT', []:
                if known is not None:
                    return 204, {}, None
                self.queues[name] = dict(given or {})
                return 201, {'location': place}, b''
            case 'GET', []:
                if v1:
                    return (404, {}, b'') if known is None else (204, {}, None)
                return 200, {}, {**(DEFAULTS if version == 'v2' else {}), **(known or {})}
            case 'DELETE', []:
                self.queues.pop(name, None)
                self.messages.pop(name, None)
                return 204, {}, None
            case 'GET' | 'PUT', ['metadata'] if v1:
                if known is None:
                    return MISSING
                if method == 'GET':
                    return 200, {}, known
                self.queues[name] = given
                return 204, {}, None
            case 'PATCH', [] if version == 'v2':
                return self._patch(known, headers, given)
            case 'GET', ['stats']:
                return self._stats(name)
            case 'POST', ['messages']:
                return self._post(version, name, place, headers, given)
            case 'GET', ['messages']:
                return self._list(v1, name, place, query, headers, known)
            case 'DELETE', ['messages', *ids]:
                return self._delete(v1, name, ids, query)
            case 'POST', ['claims']:
                return self._claim(v1, name, place, query, given)
            case _, ['claims', id]:
                return self._of_claim(v1, method, name, place, id, given)
            case 'POST', ['purge']:
                return self._purge(name, given['resource_types'])
            case 'POST', ['share']:
                return (
                    200,
                    {},
                    {
                        **given,
                        'paths': [f'{place}/{path}' for path in given['paths']],
                        'project': 'p1',
                        'expires': '2026-12-31T00:00:00',
                        'signature': '0123456789abcdef',
                    },
                )
            case _, ['subscriptions', *ids]:
                return self._subscription(method, name, ids, query, given)
        return 404, {}, {'title': '404 Not Found'}

    def _patch(self, known: Any, headers: Any, given: Any) -> Answer:
        if known is None:
            return MISSING
        if headers['content-type'] != 'application/openstack-messaging-v2.0-json-patch':
            return 415, {}, {'title': '415 Unsupported Media Type'}
        for change in given:
            key = change['path'].removeprefix('/metadata/').replace('~1', '/').replace('~0', '~')
            if change['op'] == 'remove' and key not in known:
                return (
                    409,
                    {},
                    {'title': 'Resource conflict', 'description': f"Can't remove non-existent object {key}."},
                )
            known.pop(key, None)
            if change['op'] != 'remove':
                known[key] = change['value']
        return 200, {}, known

    # -- messages --------------------------------------------------------------------------------------------------

    def _alive(self, name: str) -> list[dict[str, Any]]:
        messages = self.messages.setdefault(name, [])
        messages[:] = [message for message in messages if message['dies'] > time.monotonic()]
        return messages

    def is_claimed(self, message: dict[str, Any]) -> bool:
        """Whether a claim holds it now."""
        return message['claim'] in self.claims and message['until'] > time.monotonic()

    def _shown(self, message: dict[str, Any], place: str, v1: bool, claim: str | None = None) -> dict[str, Any]:
        claim = claim or (message['claim'] if not v1 and self.is_claimed(message) else None)
        href = f'{place}/messages/{message["id"]}' + (f'?claim_id={claim}' if claim else '')
        age = int(time.monotonic() - message['born'])
        shown = {'href': href, 'ttl': message['ttl'], 'age': age, 'body': message['body']}
        return shown if v1 else {'id': message['id'], **shown}

    def _stats(self, name: str) -> Answer:
        messages = self._alive(name)
        if messages and any(
            claim['queue'] == name and claim['ends'] <= time.monotonic() for claim in self.claims.values()
        ):
            return BROKEN  # for good: a claim that has expired is never forgotten
        claimed = sum(map(self.is_claimed, messages))
        return 200, {}, {'messages': {'claimed': claimed, 'free': len(messages) - claimed, 'total': len(messages)}}

    def _post(self, version: str, name: str, place: str, headers: Any, given: Any) -> Answer:
        listed = given if version == 'v1' else given['messages']
        most = self.queues.get(name, {}).get('_max_messages_post_size', 262144)
        if int(headers['content-length']) > most or not listed:
            return 400, {}, {'title': 'Invalid API request', 'description': 'Message collection size is too large.'}
        if version == 'v1' and any('ttl' not in message for message in listed):
            return 400, {}, {'title': 'Invalid request body', 'description': 'Missing "ttl" field.'}
        known, now = self.queues.setdefault(name, {}), time.monotonic()
        # Without a default delay of the queue that of a message is dropped.
        delayed = bool(known.get('_default_message_delay'))
        made = [
            {
                'id': str(uuid.uuid4()),
                'ttl': ttl,
                'body': message['body'],
                'claim': '',
                'client': headers['client-id'],
                'born': now,
                'ends': now + ttl,
                'dies': now + ttl,
                'count': 0,
                'until': 0.0,
                'delayed': now + message.get('delay', known['_default_message_delay']) if delayed else 0.0,
            }
            for message in listed
            for ttl in [message.get('ttl', 3600)]
        ]
        self._alive(name).extend(made)
        resources = [f'{place}/messages/{message["id"]}' for message in made]
        return (
            201,
            {'location': f'{place}/messages'},
            {'resources': resources, **({'partial': False} if version == 'v1' else {})},
        )

    def _list(self, v1: bool, name: str, place: str, query: Any, headers: Any, known: Any) -> Answer:
        messages = self._alive(name)
        if 'ids' in query:
            found = [message for message in messages if message['id'] in query['ids'].split(',')]
            if not found:
                return (204, {}, None) if v1 else MISSING
            shown = [self._shown(message, place, v1) for message in found]
            return 200, {}, shown if v1 else {'messages': shown}
        if v1 and known is None:
            return MISSING
        everything, echo = 'include_claimed' in query, 'echo' in query
        marker = query.get('marker')
        if marker is None and everything:
            return 503, {}, {'title': 'Service temporarily unavailable', 'description': 'Messages could not be listed.'}
        ranks = {message['id']: rank for rank, message in enumerate(messages)}
        if marker is None:
            start = next((rank for rank, message in enumerate(messages) if not self.is_claimed(message)), 0)
        else:  # as Zaqar on Redis: the first message is no good marker
            start = ranks[marker] + 1 if ranks.get(marker) else 0
        window = messages[start : start + int(query.get('limit', 10))]
        left = [
            message
            for message in window
            if (everything or not self.is_claimed(message))
            and (echo or message['client'] != headers['client-id'])
            and ('include_delayed' in query or message['delayed'] <= time.monotonic())
        ]
        if not left:
            return (204, {}, None) if v1 else (200, {}, {'messages': [], 'links': []})
        return (
            200,
            {},
            {
                'messages': [self._shown(message, place, v1) for message in left],
                'links': [{'rel': 'next', 'href': f'{place}/messages?marker={left[-1]["id"]}&limit=2'}],
            },
        )

    def _delete(self, v1: bool, name: str, ids: list[str], query: Any) -> Answer:
        messages = self._alive(name)
        if 'pop' in query:
            popped, moved = self._take(name, {'ttl': 1, 'grace': 0}, int(query['pop']), '')
            if moved and not popped:
                return BROKEN
            self._remove(name, popped)
            return (
                200,
                {},
                {
                    'messages': [
                        {
                            'id': message['id'],
                            'ttl': message['ttl'],
                            'age': 0,
                            'body': message['body'],
                            'claim_id': 'gone',
                        }
                        for message in popped
                    ]
                },
            )
        if not ids:  # whoever has claimed them
            self._remove(name, [message for message in messages if message['id'] in query['ids'].split(',')])
            return 204, {}, None
        for message in [message for message in messages if message['id'] in ids]:
            claim = query.get('claim_id')
            if self.is_claimed(message) and (claim is None or claim != message['claim'] and claim in self.claims):
                return 403, {}, {'title': 'Unable to delete', 'description': 'This message is claimed.'}
            if claim is not None and not (self.is_claimed(message) and claim == message['claim']):
                return 400, {}, {'title': 'Unable to delete', 'description': 'The claim does not exist or has expired.'}
            self._remove(name, [message])
        return 204, {}, None

    def _remove(self, name: str, doomed: list[dict[str, Any]]) -> None:
        """Out of the queue, and out of the list of the claim that has them now: others that had them break."""
        for message in doomed:
            self.messages[name].remove(message)
            if message in self.claims.get(message['claim'], {}).get('messages', ()):
                self.claims[message['claim']]['messages'].remove(message)

    def _purge(self, name: str, resource_types: list[str]) -> Answer:
        if 'messages' in resource_types:
            popped = True
            while popped:
                popped, moved = self._take(name, {'ttl': 1, 'grace': 0}, 100, '')
                if moved and not popped:
                    return BROKEN
                self._remove(name, popped)
        if 'subscriptions' in resource_types:
            for id in self._subscribed(name)[:10]:
                del self.subscriptions[id]
        return 204, {}, None

    # -- claims ----------------------------------------------------------------------------------------------------

    def _take(self, name: str, given: Any, limit: int, id: str) -> tuple[list[dict[str, Any]], bool]:
        """The first free message *and those behind it*; whether some were moved to the dead letter queue instead."""
        now, known = time.monotonic(), self.queues.get(name, {})
        messages = self._alive(name)
        first = next(
            (
                rank
                for rank, message in enumerate(messages)
                if not self.is_claimed(message) and message['delayed'] <= now
            ),
            len(messages),
        )
        taken, ends = messages[first : first + limit], now + given['ttl']
        for message in taken:
            message |= {'claim': id, 'until': ends}
            if message['ends'] < ends:  # on paper: the store lets it die when it was to die before
                message |= {'ttl': given['ttl'] + given['grace'], 'ends': ends + given['grace']}
        dead_letters, most = known.get('_dead_letter_queue'), known.get('_max_claim_count')
        if dead_letters is None or most is None:
            return taken, False
        dead = [message for message in taken if message['count'] >= most]
        for message in taken:
            message['count'] += message not in dead
        messages[:] = [message for message in messages if message not in dead]
        self.messages.setdefault(dead_letters, []).extend(dead)
        return [message for message in taken if message not in dead], bool(dead)

    def _claim(self, v1: bool, name: str, place: str, query: Any, given: Any) -> Answer:
        id = str(uuid.uuid4())
        self.claims[id] = {'queue': name, 'ttl': given['ttl'], 'ends': time.monotonic() + given['ttl'], 'messages': []}
        taken, moved = self._take(name, given, int(query.get('limit', 10)), id)
        self.claims[id]['messages'] = list(taken)
        if not taken:
            if not moved:
                del self.claims[id]
            return 204, {}, None
        shown = [self._shown(message, place, v1, id) for message in taken]
        return 201, {'location': f'{place}/claims/{id}'}, shown if v1 else {'messages': shown}

    def _of_claim(self, v1: bool, method: str, name: str, place: str, id: str, given: Any) -> Answer:
        claim, alive, now = self.claims.get(id), self._alive(name), time.monotonic()
        if claim is None:
            return (204, {}, None) if method == 'DELETE' else MISSING
        if claim['ends'] <= now:
            return BROKEN
        if method == 'GET':
            shown = [self._shown(message, place, v1, id) for message in claim['messages'] if message in alive]
            return 200, {}, {'age': 0, 'ttl': claim['ttl'], 'messages': shown}
        if any(message not in alive for message in claim['messages']):
            return BROKEN
        if method == 'DELETE':
            del self.claims[id]
            for message in claim['messages']:  # also what another claim has by now
                message |= {'claim': '', 'dies': now + message['ttl']}
            return 204, {}, None
        claim |= {'ttl': given['ttl'], 'ends': now + given['ttl']}
        for message in claim['messages']:
            message |= {'claim': id, 'until': claim['ends']}
            if message['ends'] <= claim['ends']:
                message |= {'ttl': given['ttl'] + given['grace'], 'ends': claim['ends'] + given['grace']}
            message['dies'] = now + message['ttl']
        return 204, {}, None

    # -- subscriptions ---------------------------------------------------------------------------------------------

    def _subscribed(self, name: str) -> list[str]:
        return sorted(id for id, each in self.subscriptions.items() if each['source'] == name)

    def _subscription(self, method: str, name: str, ids: list[str], query: Any, given: Any) -> Answer:
        if method == 'POST':
            id = str(uuid.uuid4())
            self.subscriptions[id] = {'id': id, 'source': name, 'ttl': 3600, 'age': 0, 'confirmed': False, **given}
            return 201, {}, {'subscription_id': id}
        if method == 'GET':
            behind = [id for id in self._subscribed(name) if id > query.get('marker', '')][
                : int(query.get('limit', 10))
            ]
            return (
                200,
                {},
                {
                    'subscriptions': [self.subscriptions[id] for id in behind],
                    'links': [{'rel': 'next', 'href': f'?marker={behind[-1]}'}] if behind else [],
                },
            )
        if ids[0] not in self.subscriptions:
            return (204, {}, None) if method == 'DELETE' else MISSING
        if method == 'DELETE':
            del self.subscriptions[ids[0]]
        else:
            self.subscriptions[ids[0]].update(given)
        return 204, {}, None


class Keystone:
    """A handler for `kit.serve` that issues tokens.

    They are for `demo` with the password `demopw`, for an application credential, or for a token that it knows.

    :param seconds: how long tokens live.
    """

    def __init__(self, seconds: float = 3600) -> None:
        self.seconds = seconds
        self.catalog: list[Any] = []
        self.tokens: dict[str, float] = {}  # and when they end
        #: Requests to Zaqar whose token was not good.
        self.refused = 0
        #: The bodies that it was sent.
        self.asked: list[Any] = []
        self.fault: Callable[[], Answer | None] = lambda: None

    def at(self, *endpoints: str, region: str = 'RegionOne') -> None:
        """Where messaging is."""
        self.catalog = [
            {
                'type': 'identity',
                'endpoints': [{'interface': 'public', 'region_id': region, 'url': 'http://i.example'}],
            },
            {
                'type': 'messaging',
                'endpoints': [
                    {'interface': interface, 'region_id': name, 'url': url}
                    for url, name in zip(endpoints, (region, 'RegionTwo'), strict=False)
                    for interface in ('internal', 'public')
                ],
            },
        ]

    def knows(self, headers: Any) -> bool:
        """Whether the token of a request is good."""
        good = self.tokens.get(headers.get('x-auth-token'), 0) > time.monotonic()
        self.refused += not good
        return good

    def revoke(self) -> None:
        """No token is good any more."""
        self.tokens.clear()

    def __call__(self, method: str, path: str, headers: Any, body: bytes) -> Answer:
        """Issue a token to who proves who asks."""
        if (method, path) != ('POST', '/v3/auth/tokens'):
            return 404, {}, {'error': {'code': 404, 'title': 'Not Found', 'message': 'It could not be found.'}}
        auth = json.loads(body)['auth']
        self.asked.append(auth)
        if (faulty := self.fault()) is not None:
            return faulty
        proof = auth['identity'][auth['identity']['methods'][0]]
        if proof.get('user', {}).get('password', proof.get('secret')) not in ('demopw', None) or (
            'id' in proof and 'secret' not in proof and proof['id'] not in self.tokens
        ):
            return 401, {}, UNAUTHORIZED[2]
        value = f'gAAAAA-token-{len(self.asked)}-{uuid.uuid4().hex}'
        now = datetime.now(timezone.utc)
        self.tokens[value] = time.monotonic() + self.seconds
        return (
            201,
            {'X-Subject-Token': value},
            {
                'token': {
                    'expires_at': _written(now + timedelta(seconds=self.seconds)),
                    'issued_at': _written(now),
                    'user': {'name': 'demo'},
                    'project': {'id': 'a1b2c3', 'name': 'demo'},
                    'catalog': self.catalog,
                }
            },
        )


def _written(moment: datetime) -> str:
    return moment.strftime('%Y-%m-%dT%H:%M:%S.%fZ')
