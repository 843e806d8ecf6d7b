"""Makes the requests that undo a step, when its answer is known."""

from __future__ import annotations

import gevent

from ..errors import HTTPError
from ..masking import mask
from ..messages import Response
from .steps import Step

__all__ = ['resolve']


def resolve(step: Step, answer: Response | None, key_field: str) -> HTTPError | None:
    """Set ``step.undo``; the error where its callable raises, or a template finds nothing."""
    assert step.given_undo is not None
    try:
        step.undo = step.context.run(step.given_undo.requests, step.request, answer, key_field)
    except (KeyboardInterrupt, SystemExit, gevent.GreenletExit):
        raise
    except BaseException as exc:  # a gevent.Timeout of its own, too
        text = f'what undoes it cannot be made: {type(exc).__name__}: {mask(str(exc))}'
        error = HTTPError(text, request=step.request)
        error.__cause__ = exc
        return error
    return None
