"""Middlewares for the serving side: WSGI applications that are called by this library, and call others with it.

catcher     answers what breaks out of an application with the whole story      -> remote, journey, errors, environ
guard       lets through who proves who they are, and nobody else               -> nonces, refusals, masking
rawuri      has gevent's server tell the path as it was sent                    -> gevent.pywsgi
frameworks  for a framework that would swallow exceptions                       -> catcher
environ     what an environ says, what a server may be told                     -> nothing

A part is loaded when it is first asked for: gevent's server is not, where another one serves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import lazy

if TYPE_CHECKING:
    from .catcher import CallerLeft, ExceptionsCatcher, LoopDetected
    from .frameworks import flask_handler
    from .guard import SignatureGuard
    from .rawuri import RawURIHandler

__all__ = ['CallerLeft', 'ExceptionsCatcher', 'LoopDetected', 'RawURIHandler', 'SignatureGuard', 'flask_handler']

_HOMES = {'RawURIHandler': 'rawuri', 'SignatureGuard': 'guard', 'flask_handler': 'frameworks'}

__getattr__, __dir__ = lazy(__name__, __all__, _HOMES, 'catcher')
