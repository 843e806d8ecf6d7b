"""Posts messages in parts that the server accepts, and says what became of them when one of the parts fails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from ..errors import ConnectError, ConnectTimeout, QueueTimeout
from ..messages import dump_json
from .api import QueueApi, object_of, parsed
from .calls import read_metadata
from .errors import ErrorBase, MalformedRequest, add_remark

__all__ = ['post']

#: Bytes of a whole collection, by default of the server; a queue of version 2 may have a lower limit.
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


def post(queue: QueueApi, messages: Iterable[Mapping[str, object]] | Mapping[str, object]) -> list[str]:
    """Post messages in order, and return their ids in that order.

    :raises ValueError: for what is no message; then nothing has been posted.
    :raises ErrorBase: with ``posted``, ``uncertain`` and ``unposted``.
    """
    if isinstance(messages, (str, bytes)) or not isinstance(messages, Iterable):
        raise ValueError(f'messages are mappings with a body, or one of them, not {messages!r}')
    given = [messages] if isinstance(messages, Mapping) else list(messages)
    encoded = [_encoded(message, queue.version) for message in given]
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


def _encoded(message: object, version: str) -> bytes:
    if not isinstance(message, Mapping) or 'body' not in message:
        raise ValueError(f"a message is a mapping with 'body', and perhaps 'ttl' in seconds, not {message!r:.200}")
    if version != '2.0':
        message = {'ttl': TTL, **message}
    try:
        return dump_json(dict(message), 'the message')
    except TypeError as exc:
        raise ValueError(f'the message cannot be written as JSON: {exc}: {message!r:.200}') from exc


def _parts(encoded: list[bytes], start: int, size: int) -> Iterator[_Part]:
    """Cut the messages so that each part is small enough; a message that is too large goes alone, and is refused."""
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


def _post_part(queue: QueueApi, part: _Part) -> list[str]:
    body = b','.join(part.encoded)
    body = b'[%b]' % body if queue.version == '1.0' else b'{"messages":[%b]}' % body
    answer = queue.ask('POST', '/messages', body)
    document = object_of(answer)
    ids = parsed(lambda: [href.rpartition('/')[2] for href in document['resources']])
    if document.get('partial') or len(ids) != len(part.encoded):
        raise ErrorBase(
            'only some messages were stored',
            answer.status_code,
            f'The server tells of {len(ids)} out of {len(part.encoded)}.',
        )
    return ids


def _limit_of(queue: QueueApi) -> int:
    """Bytes that this queue takes; where it does not say, as on the older versions, as many as others."""
    if queue.version != '2.0':
        return MAX_BYTES
    try:
        limit = read_metadata(queue).get('_max_messages_post_size')
    except ErrorBase:  # the refusal tells more
        return MAX_BYTES
    return limit if isinstance(limit, int) and limit > 0 else MAX_BYTES


def _explain(error: ErrorBase, given: list[Mapping[str, object]], posted: list[str], part: _Part) -> None:
    """Say in the error what became of the messages."""
    end = part.start + len(part.encoded)
    doubtful = _may_be_stored(error)
    error.posted = posted
    error.uncertain = given[part.start : end] if doubtful else []
    error.unposted = given[end if doubtful else part.start :]
    sentences = [f'{len(posted)} of {len(given)} messages were stored (see posted).']
    if doubtful:
        sentences.append(
            f'{len(error.uncertain)} more may have been stored or not (see uncertain): they were not sent '
            'again, as that could store them twice.'
        )
    if error.unposted:
        sentences.append(f'{len(error.unposted)} were not (see unposted).')
    add_remark(error, ' '.join(sentences))


def _may_be_stored(error: ErrorBase) -> bool:
    if error.phase == 'authenticate':  # it was Keystone that failed
        return False
    if error.code:
        return not 300 <= error.code < 500
    # With no such cause there was an answer that made no sense, or a proxy made no sense of the request.
    cause = error.__cause__
    return not isinstance(cause, (ConnectError, ConnectTimeout, QueueTimeout)) or cause.phase in ('send', 'read')
