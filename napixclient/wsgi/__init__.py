"""Middlewares for the serving side: for WSGI applications that this library calls, and that call others with it.

catcher     answers an exception with a document that describes its cause
answering   one request to the catcher, as PEP 3333 has it
guard       lets in only callers who prove who they are
nonces      remembers nonces, to detect replayed requests
refusals    what the guard answers instead of running the application
naming      names a server that nobody has named
rawuri      makes gevent's server pass on the path as it was sent
frameworks  error handlers for frameworks that would swallow exceptions
environ     reads an environ, and checks what is passed to a server

A part is loaded on first use, so gevent's server is not loaded where another server runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .._lazy import lazy

if TYPE_CHECKING:
    from .catcher import CallerLeft, ExceptionsCatcher, LoopDetected
    from .frameworks import flask_handler
    from .guard import SignatureGuard
    from .rawuri import RawURIHandler

__all__ = ['CallerLeft', 'ExceptionsCatcher', 'LoopDetected', 'RawURIHandler', 'SignatureGuard', 'flask_handler']

_HOMES = {'RawURIHandler': 'rawuri', 'SignatureGuard': 'guard', 'flask_handler': 'frameworks'}

__getattr__: Callable[[str], object]
__dir__: Callable[[], list[str]]
__getattr__, __dir__ = lazy(__name__, __all__, _HOMES, 'catcher')
