"""Digest authentication (RFC 7616, and RFC 2069 where a server knows no other), for servers and proxies."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from hashlib import new
from itertools import count
from urllib.parse import quote

from ..masking import MASK, hide, mask
from ..messages import Headers, Origin, Request, Response, Source, parse_origin
from .challenges import Challenge, parameters_of, parse_challenges, quoted
from .fields import can_be_told

__all__ = ['Digest']

#: What Python calls the algorithms, the strongest last.
_HASHES = {'MD5': 'md5', 'SHA-256': 'sha256', 'SHA-512-256': 'sha512_256'}
_STRENGTH = list(_HASHES)
#: Origins that are remembered, and what is remembered of each.
_MOST_ORIGINS = 65_536
_MOST_NONCES = 64
_MOST_PATHS = 1024


class Digest:
    """Proves to each server that asks for it that it knows a password, and never sends the password (RFC 7616).

    The first request to an origin is challenged and sent once more, signed; those that follow are signed at once, until
    the server wants another nonce. Of several challenges the strongest that Python can compute is answered: MD5,
    SHA-256 and SHA-512-256, ``-sess`` or not, with ``auth``, ``auth-int`` (of a body that is in memory) or no ``qop``
    (RFC 2069). As ``proxy_auth`` it proves the same to a proxy.

    :param username: is sent, as its hash where the server wants that (``userhash``).
    :param password: is not sent. Both are hashed as UTF-8.
    :raises ValueError: if one of them is not a text, or has control characters.
    """

    blocking = False

    def __init__(self, username: str, password: str) -> None:
        for part in username, password:
            if not can_be_told(part):
                raise ValueError('user name and password are texts without control characters (RFC 7616 §3.4)')
        hide(self, password)
        self.username = username
        self._password = password
        self._known: dict[Origin, _Space] = {}
        _all.add(self)

    def __call__(self, request: Request) -> Request:
        """Return the request signed, where the server has said what it wants to be told.

        Where it has not, a body that can be read only once is held back until the server agrees to the request.
        """
        space = self._known.get(parse_origin(request.host))
        session = None if space is None else space.session_for(request.url)
        if session is not None:
            return session.sign(request) or request
        return request if request.rereadable else request.held_back()

    def challenged(self, request: Request, response: Response) -> Request | None:
        """Return the request with the answer to a challenge; ``None`` where there is no challenge of ours."""
        proxied = not request.url.startswith(('/', '*'))
        if proxied is not (response.status == 407):
            return None  # a proxy is to be told nothing of a server's password
        values = response.headers.getlist('proxy-authenticate' if proxied else 'www-authenticate')
        challenge = _strongest(parse_challenges(values))
        if challenge is None:
            return None
        origin = parse_origin(request.host)
        space = self._known.get(origin)
        if space is None:
            while len(self._known) >= _MOST_ORIGINS:
                self._known.pop(next(iter(self._known)), None)
            space = self._known.setdefault(origin, _Space())
        return space.learn(challenge, request.url, self._new_session).sign(request)

    def informed(self, request: Request, response: Response) -> None:
        """Take the next nonce from the ``Authentication-Info`` of an answer (RFC 7616 §3.5).

        :param request: as it was sent.
        """
        proxied = not request.url.startswith(('/', '*'))
        told = response.headers.get('proxy-authentication-info' if proxied else 'authentication-info')
        nonce = None if told is None else parameters_of(told).get('nextnonce')
        space = self._known.get(parse_origin(request.host))
        if nonce and space is not None:
            used = parameters_of(request.headers.get('authorization', ''))
            space.go_on(used.get('realm', ''), used.get('nonce', ''), nonce)

    def parameters(self) -> tuple[str | bytes, ...]:
        """What it is made of, secrets included: for one who makes the same elsewhere."""
        return self.username, self._password

    def forget(self) -> None:
        """Sign nothing until a server has challenged again."""
        self._known.clear()

    def _new_session(self, challenge: Challenge) -> _Session:
        return _Session(challenge.parameters, self.username, self._password)

    def __reduce__(self) -> tuple[type[Digest], tuple[str, str]]:
        return Digest, (self.username, self._password)  # no nonce: its counts go on here

    def __repr__(self) -> str:
        return mask(f'Digest({self.username!r}, {MASK})')


_all: weakref.WeakSet[Digest] = weakref.WeakSet()


def _forget_all() -> None:
    """In the child of a fork: the counts of the nonces go on in the parent."""
    for one in list(_all):
        one.forget()


os.register_at_fork(after_in_child=_forget_all)


class _Space:
    """What one origin has asked for: the sessions of its realms."""

    def __init__(self) -> None:
        self._by_realm: dict[str, _Session] = {}  # the one that was challenged last is the last
        self._by_nonce: dict[tuple[str, str], _Session] = {}
        self._by_path: dict[str, str] = {}  # the realm that a directory belongs to

    def session_for(self, url: str) -> _Session | None:
        """The session of the realm that a path most likely belongs to: that of the nearest directory, else the last."""
        sessions = self._by_realm
        if len(sessions) > 1:
            path = _directory(url)
            while True:
                session = sessions.get(self._by_path.get(path, '\0'))
                if session is not None:
                    return session
                if not path:
                    break
                path = path.rpartition('/')[0]
        return next(iter(list(sessions.values())[-1:]), None)  # of a copy: another thread may be challenged

    def learn(self, challenge: Challenge, url: str, make: Callable[[Challenge], _Session]) -> _Session:
        """The session that a challenge begins, or goes on with where its nonce is known."""
        session = self._by_nonce.get(_name_of(challenge.parameters))
        if session is None or not session.is_for(challenge.parameters):
            session = make(challenge)
        if len(self._by_path) >= _MOST_PATHS:
            self._by_path.clear()
        self._by_path[_directory(url)] = session.realm
        self._use(session)
        return session

    def go_on(self, realm: str, nonce: str, next_nonce: str) -> None:
        """Use another nonce for what is sent from now on."""
        session = self._by_nonce.get((realm, nonce))
        if session is not None and (realm, next_nonce) not in self._by_nonce:
            self._use(session.followed_by(next_nonce))

    def _use(self, session: _Session) -> None:
        self._by_realm.pop(session.realm, None)
        if len(self._by_realm) >= _MOST_NONCES:
            self._by_realm.pop(next(iter(self._by_realm)), None)
        if len(self._by_nonce) >= _MOST_NONCES:
            self._by_nonce.pop(next(iter(self._by_nonce)), None)
        self._by_realm[session.realm] = session
        self._by_nonce[session.realm, session.nonce] = session


class _Session:
    """The use of one nonce.

    Texts of the server are as they came, a character for each byte, and are hashed so.
    """

    def __init__(self, told: dict[str, str], username: str, password: str) -> None:
        self.realm, self.nonce = _name_of(told)
        self._told = told
        algorithm = told.get('algorithm', 'MD5').upper()
        self._hash = _HASHES[algorithm.removesuffix('-SESS')]
        self._offered = _offered(told)
        self._numbers = count(1)
        # One for the whole session, as its key is made of the first (RFC 7616 §3.4.2).
        self._cnonce = os.urandom(16).hex() if algorithm.endswith('-SESS') else ''
        name = username.encode().decode('latin-1')
        self._user = self._user_fields(name, username, algorithm)
        self._key = self._hashed(name, self.realm, password.encode().decode('latin-1'))
        if self._cnonce:
            self._key = self._hashed(self._key, self.nonce, self._cnonce)

    def _user_fields(self, name: str, username: str, algorithm: str) -> list[str]:
        """How the user is told (RFC 7616 §3.4, §3.4.4)."""
        if self._told.get('userhash', '').lower() == 'true':
            return [f'username="{self._hashed(name, self.realm)}"', 'userhash=true']
        # Servers of before RFC 7616 know no other than the plain one.
        knows = self._told.get('charset', '').upper() == 'UTF-8' or not algorithm.startswith('MD5')
        if not username.isascii() and knows:
            return [f"username*=UTF-8''{quote(username, safe='')}"]
        return [f'username={quoted(name)}']

    def is_for(self, told: dict[str, str]) -> bool:
        """Whether a challenge with the same nonce is the same in all that counts."""
        return all(self._told.get(name) == told.get(name) for name in ('algorithm', 'qop', 'opaque', 'userhash'))

    def followed_by(self, nonce: str) -> _Session:
        """The same with another nonce; the key of a ``-sess`` stays."""
        session = object.__new__(_Session)
        session.__dict__.update(self.__dict__, nonce=nonce, _numbers=count(1))
        return session

    def sign(self, request: Request) -> Request | None:
        """The request with the proof; ``None`` where that needs a body that is not in memory."""
        payload, number = request.payload, ''
        parts = [request.method, request.url]
        qop = 'auth' if 'auth' in self._offered else self._offered[0] if self._offered else ''
        if qop == 'auth-int':
            if isinstance(payload, Source):
                return None
            parts.append(new(self._hash, payload or b'', usedforsecurity=False).hexdigest())
        cnonce = self._cnonce or (os.urandom(16).hex() if qop else '')
        proven = [self._key, self.nonce]
        if qop:
            number = f'{next(self._numbers):08x}'
            proven += number, cnonce, qop
        response = self._hashed(*proven, self._hashed(*parts))
        told, fields = self._told, [*self._user, f'realm={quoted(self.realm)}', f'nonce={quoted(self.nonce)}']
        fields += f'uri={quoted(request.url)}', f'response="{response}"'
        if 'algorithm' in told:
            fields.append(f'algorithm={told["algorithm"]}')
        if cnonce:
            fields.append(f'cnonce="{cnonce}"')
        if 'opaque' in told:
            fields.append(f'opaque={quoted(told["opaque"])}')
        if qop:
            fields += f'qop={qop}', f'nc={number}'
        # Made as any field is, which refuses what none may hold, whatever the server has put into its challenge.
        return request.with_line(b'authorization', Headers({'Authorization': f'Digest {", ".join(fields)}'}).block)

    def _hashed(self, *parts: str) -> str:
        return new(self._hash, ':'.join(parts).encode('latin-1'), usedforsecurity=False).hexdigest()


def _name_of(told: dict[str, str]) -> tuple[str, str]:
    """Realm and nonce."""
    return told.get('realm', ''), told.get('nonce', '')


def _offered(told: dict[str, str]) -> list[str]:
    """The qualities of protection."""
    return [one for one in told.get('qop', '').lower().replace(',', ' ').split() if one in ('auth', 'auth-int')]


def _strongest(challenges: list[Challenge]) -> Challenge | None:
    """The challenge to answer; of those that are as strong as each other the first."""
    usable = [(strength, one) for one in challenges if (strength := _strength(one)) is not None]
    return max(usable, key=lambda pair: pair[0])[1] if usable else None


def _strength(challenge: Challenge) -> int | None:
    """How strong the algorithm is; ``None`` where the challenge cannot be answered."""
    told = challenge.parameters
    algorithm = told.get('algorithm', 'MD5').upper().removesuffix('-SESS')
    if challenge.scheme != 'digest' or algorithm not in _HASHES or not told.get('nonce'):
        return None
    if told.get('qop', '').strip() and not _offered(told):
        return None
    try:
        new(_HASHES[algorithm], usedforsecurity=False)
    except ValueError:  # this OpenSSL does not have it
        return None
    return _STRENGTH.index(algorithm)


def _directory(url: str) -> str:
    """The path up to its last slash. To a proxy all is one."""
    return url.partition('?')[0].rpartition('/')[0] if url.startswith('/') else ''
