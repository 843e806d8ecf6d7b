"""The API's calls about a queue itself: create it, count what it has, read and replace its metadata, share it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..messages import load_json
from .api import QueueApi, object_of, parsed
from .errors import NotFound, ServiceUnavailable, Unsupported, add_remark
from .models import Presigned, QueueStats

__all__ = ['create', 'exists', 'metadata_of', 'read_metadata', 'replace_metadata', 'share', 'stats']

_PATCH = {'Content-Type': 'application/openstack-messaging-v2.0-json-patch'}


def metadata_of(given: object) -> dict[str, object]:
    """Metadata as it is given: a mapping, or one as JSON.

    :raises ValueError: for anything else.
    """
    try:
        found = load_json(given) if isinstance(given, (str, bytes)) else given
    except ValueError as exc:
        raise ValueError(f'metadata is a mapping, or one as JSON: {exc}') from None
    if not isinstance(found, Mapping):
        raise ValueError(f'metadata is a mapping, or one as JSON, not {type(given).__name__}')
    return dict(found)


def create(queue: QueueApi, metadata: Mapping[str, object]) -> None:
    """Create the queue with this metadata; one that exists keeps its own."""
    first = queue.version == '1.0'
    answer = queue.ask('PUT', '', metadata if metadata and not first else None)
    if first and metadata and answer.status_code == 201:
        queue.ask('PUT', '/metadata', metadata)


def exists(queue: QueueApi) -> bool:
    """Whether the queue was created.

    :raises Unsupported: on versions 1.1 and 2.
    """
    if queue.version != '1.0':
        raise Unsupported(
            'nobody can tell',
            0,
            f'Version {queue.version} of the API answers alike for '
            'queues that exist and those that do not: a queue comes into being with its first use.',
        )
    try:
        queue.ask('GET')
    except NotFound:
        return False
    return True


def stats(queue: QueueApi) -> QueueStats:
    """How many messages the queue has."""
    try:
        document = object_of(queue.ask('GET', '/stats'))
    except ServiceUnavailable as error:
        add_remark(
            error,
            'On its Redis store Zaqar answers so for as long as the queue has messages, once a claim '
            'of it has expired instead of being released.',
        )
        raise
    return parsed(lambda: QueueStats(document['messages']))


def read_metadata(queue: QueueApi) -> dict[str, object]:
    """What is stored with the queue; version 2 adds the queue's settings, as ``_…``."""
    return object_of(queue.ask('GET', '/metadata' if queue.version == '1.0' else ''))


def replace_metadata(queue: QueueApi, metadata: Mapping[str, object]) -> None:
    """Replace what is stored; keys that begin with ``_`` and are not given stay as they are.

    :raises Unsupported: on version 1.1.
    """
    if queue.version == '1.0':
        queue.ask('PUT', '/metadata', metadata)
        return
    queue.require('2.0', 'change of metadata')
    present = read_metadata(queue)
    changes: list[dict[str, object]] = [
        {'op': 'replace' if key in present else 'add', 'path': f'/metadata/{_pointer(key)}', 'value': value}
        for key, value in metadata.items()
    ]
    changes += [
        {'op': 'remove', 'path': f'/metadata/{_pointer(key)}'}
        for key in present
        if key not in metadata and not key.startswith('_')
    ]
    if changes:
        queue.ask('PATCH', '', changes, _PATCH)


def share(queue: QueueApi, paths: Iterable[str], methods: Iterable[str], expires: str | None) -> Presigned:
    """Have the server sign access to the queue.

    :raises Unsupported: on versions before 2.
    """
    queue.require('2.0', 'pre-signed access')
    body = {'paths': list(paths), 'methods': list(methods), **({} if expires is None else {'expires': expires})}
    document = object_of(queue.ask('POST', '/share', body))
    return parsed(lambda: Presigned(document))


def _pointer(key: str) -> str:
    """A key in a JSON pointer (RFC 6901 §3)."""
    return key.replace('~', '~0').replace('/', '~1')
