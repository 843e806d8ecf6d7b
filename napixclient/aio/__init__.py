"""A pool for programs on asyncio: requests are made by a gevent hub in a thread of its own, and awaited in any loop.

pool       the pool
feed       the producing side of a stream
port       an event loop as a destination of outcomes
streaming  streamed answers
asking     what the hub's thread has a loop do: authenticators and bodies that are ``async``
"""

from __future__ import annotations

from .pool import AsyncPool
from .streaming import AsyncStreamedResponse

__all__ = ['AsyncPool', 'AsyncStreamedResponse']
