"""A client of OpenStack's message queues: Zaqar, which was called Marconi, with versions 1, 1.1 and 2 of its API.

Imports go down this list only.

client          the account: its queues
queue           one queue, as users have it

consuming       a worker for messages: claims them, and decides what becomes of each
handling        runs the worker's handler, and reports errors
deleting        deletes what the worker has handled
inhand          the messages and claims that the worker has in hand

claim           a claim, as users hold it
lease           a claim, as the server holds it: renewed, released, lost
posting         posts messages in parts, and says what became of them
purging         empties a queue
subscription    subscriptions of a queue
messages        messages of a queue: listed, popped, deleted
calls           a queue itself: created, counted, shared; its metadata

api             how a client asks, and what answers mean
pending         operations of asynchronous clients
paging          listings that come in pages
connection      reads what a user gives: who asks, where, and in which version
session         sends requests to one Zaqar, and renews a refused token
tokens          gets tokens, and renews them
wire            the client of one server, with the errors of this package
keystone        Keystone's API: what is posted to it, and what a token is
models          documents of the API that users read
versions        versions of the API, and how an address names them
errors          ErrorBase and its subclasses
terminating     SIGTERM
forking         greenlets that never run in the child of a fork
backoff         how long a worker pauses
"""

from .claim import Claim
from .client import Client
from .connection import Connection, Http
from .consuming import Consumer
from .errors import (
    Conflict,
    ErrorBase,
    Forbidden,
    MalformedRequest,
    MethodNotAllowed,
    NoAnswer,
    NotFound,
    ServerError,
    ServiceUnavailable,
    TooManyRequests,
    Unauthorized,
    Unsupported,
)
from .messages import Message, MessageStatus
from .models import HomeDoc, Presigned, QueueStats
from .pending import PendingResult
from .queue import Queue
from .subscription import Subscription

__all__ = [
    'Claim',
    'Client',
    'Conflict',
    'Connection',
    'Consumer',
    'ErrorBase',
    'Forbidden',
    'HomeDoc',
    'Http',
    'MalformedRequest',
    'Message',
    'MessageStatus',
    'MethodNotAllowed',
    'NoAnswer',
    'NotFound',
    'PendingResult',
    'Presigned',
    'Queue',
    'QueueStats',
    'ServerError',
    'ServiceUnavailable',
    'Subscription',
    'TooManyRequests',
    'Unauthorized',
    'Unsupported',
]
