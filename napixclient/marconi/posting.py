"""How messages are posted: in parts that the server takes, and what is said when one of them fails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import ConnectError, ConnectTimeout, QueueTimeout
from ..messages import dump_json
from .errors import ErrorBase, MalformedRequest

if TYPE_CHECKING:
    from .queue import Queue

__all__ = ['post']

#: Bytes of a whole collection, by default of the server; a queue of v2 may have less.
MAX_BYTES = 256 * 1024
#: Messages in a request. The answer lists their ids in one header field, for which a proxy has 4 KiB. On Redis a few
#: thousand are too many for the store, which then keeps them and answers 503.
MAX_MESSAGES = 100
#: Seconds that a message lives where neither it nor the API says so: version 2 has the same default.
TTL = 3600


class _Part(NamedTuple):
    """Messages for one request: where they begin in the whole, and each as JSON."""

    start: int
    encoded: list[bytes]


def post(queue: Queue, messages: Iterable[Mapping[str, Any]] | Mapping[str, Any]) -> list[str]:
    """Post them in order, and return their ids in that order.

    :raises ValueError: for what is no message; then nothing was posted.
    :raises ErrorBase: with ``posted``, ``uncertain`` and ``unposted``.
    """
    if isinstance(messages, (str, bytes)) or not isinstance(messages, Iterable):
        raise ValueError(f'messages are mappings with a body, or one of them, not {messages!r}')
    given = [messages] if isinstance(messages, Mapping) else list(messages)
    encoded = [_encoded(message, queue._client._version) for message in given]
    posted: list[str] = []
    size = MAX_BYTES
    parts = list(_parts(encoded, 0, size))
    while parts:
        part = parts.pop(0)
        try:
            posted += _post_part(queue, part)
        except ErrorBase as error:
            smaller = _limit_of(queue) if isinstance(error, MalformedRequest) and len(part.encoded) > 1 else size
            if smaller < size:  # this queue takes less than others
                size = smaller
                parts = list(_parts(encoded[part.start :], part.start, size))
                continue
            _explain(error, given, posted, part)
            raise
    return posted


def _encoded(message: Any, version: str) -> bytes:
    if not isinstance(message, Mapping) or 'body' not in message:
        raise ValueError(f"a message is a mapping with 'body', and perhaps 'ttl' in seconds, not {message!r:.200}")
    if version != '2.0':
        message = {'ttl': TTL, **message}
    try:
        return dump_json(dict(message), 'the message')
    except TypeError as exc:
        raise ValueError(f'the message cannot be written as JSON: {exc}: {message!r:.200}') from exc


def _parts(encoded: list[bytes], start: int, size: int) -> Iterator[_Part]:
    """Cut them so that each part is small enough; one that is too large by itself goes alone, and is refused."""
    part = _Part(start, [])
    room = size - len(b'{"messages":[]}')
    used = 0
    for message in encoded:
        if part.encoded and (used + len(message) + 1 > room or len(part.encoded) == MAX_MESSAGES):
            yield part
            part, used = _Part(part.start + len(part.encoded), []), 0
        part.encoded.append(message)
        used += len(message) + 1
    if part.encoded:
        yield part


def _post_part(queue: Queue, part: _Part) -> list[str]:
    body = b','.join(part.encoded)
    body = b'[%b]' % body if queue._client._version == '1.0' else b'{"messages":[%b]}' % body
    answer = queue._client._ask('POST', f'{queue._path}/messages', body)
    document = queue._client._object(answer)
    ids = queue._client._understood(lambda: [href.rpartition('/')[2] for href in document['resources']])
    if document.get('partial') or len(ids) != len(part.encoded):
        raise ErrorBase(
            'only some messages were stored',
            answer.status_code,
            f'The server tells of {len(ids)} out of {len(part.encoded)}.',
        )
    return ids


def _limit_of(queue: Queue) -> int:
    """What the queue itself takes; where it does not say, as on the older versions, nothing less than others."""
    if queue._client._version != '2.0':
        return MAX_BYTES
    try:
        limit = queue._metadata().get('_max_messages_post_size')
    except ErrorBase:  # the refusal tells more
        return MAX_BYTES
    return limit if isinstance(limit, int) and limit > 0 else MAX_BYTES


def _explain(error: ErrorBase, given: list[Any], posted: list[str], part: _Part) -> None:
    """Add to an error what became of the messages."""
    end = part.start + len(part.encoded)
    doubtful = _may_be_stored(error)
    error.posted = posted
    error.uncertain = given[part.start : end] if doubtful else []
    error.unposted = given[end if doubtful else part.start :]
    told = [f'{len(posted)} of {len(given)} messages were stored (see posted).']
    if doubtful:
        told.append(
            f'{len(error.uncertain)} more may have been stored or not (see uncertain): they were not sent '
            'again, as that could store them twice.'
        )
    if error.unposted:
        told.append(f'{len(error.unposted)} were not (see unposted).')
    error._remark = ' '.join(told)


def _may_be_stored(error: ErrorBase) -> bool:
    if error.phase == 'authenticate':  # it was Keystone that failed
        return False
    if error.code:
        return not 300 <= error.code < 500
    # Without a cause of that kind there was an answer, which made no sense; or a proxy made none of what it was sent.
    cause = error.__cause__
    return not isinstance(cause, (ConnectError, ConnectTimeout, QueueTimeout)) or cause.phase in ('send', 'read')
