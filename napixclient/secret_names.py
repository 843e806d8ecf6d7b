"""Which names carry credentials: the one list for what is masked, what follows a redirect, and what a store keeps.

It is asked about header fields, parameters of a query, fields of a form, members of JSON and names in texts alike. A
name is split into words (``X-Api-Key``, ``api_key`` and ``apiKey`` are the same two), and its last word says what it
is: ``access_token`` is a token, ``token_type`` is a type. No part of a word counts: ``monkey`` is no key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

__all__ = [
    'add_secret_names',
    'add_secret_parameter',
    'are_plain',
    'is_secret_field',
    'is_secret_parameter',
    'may_name_secrets',
]

#: Secret whatever stands before. ``pwd`` may be a working directory and ``sas`` a disk: rather one too many. ``nonce``
#: and ``state`` are spent, or say nothing, once they are seen, and ``sid`` and ``ticket`` are mostly plain numbers.
_SECRET = frozenset(
    """
    auth oauth authorization authentication bearer dpop wsse cookie cookies session sessid sessionid csrf xsrf
    token secret secrets password passwords passwd pwd pw psw pswd passphrase passcode passkey
    credential credentials cred creds jwt jws sas signature signatures sig hmac otp totp hotp apikey apikeys
    """.split()
)
#: Secret but for those before which one of these words stands: keys of data, cursors, tokens of a language.
_SECRET_BUT = {
    'key': frozenset(
        """
        arrow attribute bucket cache candidate child column composite correlation data dedup dedupe deduplication dict
        duplicate end entry evaluated event feature field file first foreign group grouping hash hot idempotency
        idempotent index invalid issue item join json label last locale lookup map message metadata missing name
        natural next object option order page parent partition primary project property pub public query range registry
        row search setting shard sharding shift shortcut socket sort sorting start surrogate tag translation type unique
        unknown websocket
        """.split()
    ),
    'token': frozenset(
        'bos cancel continuation cursor delta eos lock next page pad pagination prev previous skip sync unk'.split()
    ),
    'signature': frozenset('call function method type'.split()),
}
#: Secret only behind one of these words; with an empty one among them alone, too. A ``pass`` may be a boarding pass, a
#: ``pin`` one of a chip, and most codes are statuses.
_SECRET_BEHIND = {
    'pass': frozenset(
        ['', *'admin auth basic db database ftp ldap login mail my mysql new old proxy root smtp sql user'.split()]
    ),
    'pin': frozenset(['', *'access account auth card device login my new old security sim user'.split()]),
    'code': frozenset(
        """
        access activation auth authorization backup device factor login mfa otp pass pin recovery reset security sms
        time totp tfa user verification
        """.split()
    ),
    'keys': frozenset('access account api auth encryption master private secret shared signing'.split()),
    'id': frozenset(['secret', 'sess', 'session']),
    'value': frozenset(['cookie', 'password', 'secret', 'token']),
    'verifier': frozenset(['code', 'oauth']),  # RFC 7636, RFC 5849
    'assertion': frozenset(['client', 'jwt', 'saml']),
    'response': frozenset(['saml']),
}
#: What is said of a secret without making it less of one: ``password_confirmation``, ``X-Hub-Signature-256``.
_ASIDE = frozenset(
    'again base confirm confirmation current digest ed encoded encrypted hash hex new old plain raw sha v'.split()
)
#: A name that begins so says whether there is one: ``has_password``.
_ASKS = frozenset(['has', 'is', 'needs', 'no', 'requires'])
#: Secret in a query or a form only (RFC 6749 §4.1.3, RFC 7521 §4.1): in JSON a code tells what went wrong.
_SECRET_PARAMETERS = ('code', 'assertion', 'samlresponse')
#: Words that are written as one. Those that end like the first are always secrets, the others behind these words.
_joined = re.compile(
    r'(.+)(token|secret|password|passwd|pwd|passphrase|passcode|credentials?|signature|authorization|cookie|jwt|apikey'
    r'|sessionid|sessid)'
    r'|((?:access|account|admin|api|app|auth|basic|client|consumer|db|device|encryption|function|http|license|login'
    r'|master|my|pass|private|proxy|root|secret|service|session|shared|signing|storage|subscription|user|write|x)+)'
    r'(key|pass|auth|code|pin)'
).fullmatch
_split = re.compile(r'(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[\W_]+').split
#: Characters of a name that are looked at, from its end.
_LONGEST = 100
_MOST_ADDED = 4096
_MOST_PLAIN = 4096
_DIGITS = '0123456789'
_NO_LETTERS = _DIGITS + '-_.[]$ '

#: Each of the names has one of these in it.
_PARTS = (
    *'auth bearer dpop wsse cookie sess csrf xsrf token secret pass pwd pw psw cred jw sas sig hmac otp key'.split(),
    *'pin code verifier assertion saml'.split(),
)
#: The last two letters of all words that may be the last: most names are none at the first look.
_endings = {word[-2:] for word in (*_SECRET, *_SECRET_BUT, *_SECRET_BEHIND, *_ASIDE)} | {'-v', '_v'}

_added: set[str] = set()
#: Names that were found to be none; the same few are asked about again and again.
_plain: set[str] = set()
_parameters = set(_SECRET_PARAMETERS)


def is_secret_field(name: str) -> bool:
    """Whether a header field, a variable of a WSGI environ, a parameter or a member of that name is a credential."""
    plain = _plain
    if name in plain:
        return False
    end = name[-_LONGEST:].rstrip(_NO_LETTERS)
    if (end[-2:].lower() in _endings and _is_secret(end)) or (bool(_added) and _spelling(name) in _added):
        return True
    if len(plain) < _MOST_PLAIN and len(name) <= _LONGEST:
        plain.add(name)
    return False


def are_plain(names: Iterable[str]) -> bool:
    """Whether all of them were found to be none before; that costs much less than to ask about each."""
    return _plain.issuperset(names)


def is_secret_parameter(name: str) -> bool:
    """Whether a parameter of a query or a field of a form of that name is a credential."""
    return is_secret_field(name) or _spelling(name) in _parameters


def may_name_secrets(text: str) -> bool:
    """Whether a text has any part of a secret's name: most have none, and need not be looked through."""
    lowered = text.lower()
    return bool(_added) or any(part in lowered for part in _PARTS)


def add_secret_names(names: Iterable[str]) -> None:
    """Take these for secrets too, in the whole process, and for good: who masks a text does not know whose it is.

    :raises ValueError: for what is no name.
    """
    global _plain
    if isinstance(names, str):
        raise ValueError('secret_names is a list of names, not one text')
    for name in names:
        # Its value is not told, should somebody have given it.
        if not isinstance(name, str) or not (spelling := _spelling(name)) or any(char in name for char in ':=\r\n'):
            raise ValueError('the name of a secret is a text such as "X-Tenant-Pin": not empty, and without the value')
        if len(_added) < _MOST_ADDED:
            _added.add(spelling)
    _plain = set()  # another one: who has just judged a name by the others takes note of it in the old one


def add_secret_parameter(name: str) -> None:
    """Take this parameter for a secret too, in a query or a form only."""
    if len(_parameters) < _MOST_ADDED:
        _parameters.add(_spelling(name))


def _spelling(name: str) -> str:
    """What is the same for all ways to write a name."""
    lowered = name.lower().replace('-', '_').removeprefix('http_')
    return lowered.replace('_', '').replace(' ', '') or lowered


@lru_cache(4096)
def _is_secret(name: str) -> bool:
    found = _judged([word.lower() for word in _split(name) if word])
    if found is None:  # "APIkey", of which nobody can tell where the words end
        found = _judged([word.lower() for word in re.split(r'[\W_]+', name) if word])
    return bool(found)


def _judged(words: list[str]) -> bool | None:
    """Whether the words name a secret; ``None`` where the last one says nothing."""
    while words and words[0] in ('http', 'x'):
        del words[0]
    while words and not (last := words[-1].rstrip(_DIGITS)):
        del words[-1]
    if not words:
        return None
    words[-1] = last
    if last in _ASIDE:
        while words and words[-1].rstrip(_DIGITS) in _ASIDE:
            del words[-1]
        return bool(words) and words[-1] in _SECRET and words[0] not in _ASKS
    *before, last = words
    if before and before[0] in _ASKS:
        return False
    return _of_word(before[-1] if before else '', last)


def _of_word(before: str, word: str) -> bool | None:
    """Whether a word is a secret behind another."""
    if word in _SECRET_BUT:
        return before not in _SECRET_BUT[word]
    if word in _SECRET:
        return True
    if word in _SECRET_BEHIND:
        return before in _SECRET_BEHIND[word]
    if (match := _joined(word)) is None:
        return None
    # What stands before may be several words: "nextpagetoken".
    return not (match[2] in _SECRET_BUT and match[1].endswith(tuple(_SECRET_BUT[match[2]])))
