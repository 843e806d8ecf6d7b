"""A client of OpenStack's message queues: Zaqar, which was called Marconi, with versions 1, 1.1 and 2 of its API.

client          the account: its queues                             -> connection, queue
connection      who asks, and where; sends the requests             -> tokens, wire
queue           one queue                                           -> all of the following
claim, messages, subscription, posting, purging
consuming       a worker for messages                               -> deleting, terminating
deleting        deletes what a worker has handled                   -> inhand
inhand          what a worker has in hand                           -> claim, messages
forking         greenlets that stand still in the child of a fork
terminating     SIGTERM
tokens          gets tokens, and renews them                        -> keystone, wire
keystone        what is asked of Keystone, and what a token is
wire            rest's client, with our errors                      -> rest
pending         operations that go on while their caller does something else
paging          listings that come in pages
models          what the server tells as a document
errors          ErrorBase and what is below it                      -> rest
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
