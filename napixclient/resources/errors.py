"""The errors of this package, and errors as values.

HTTPError
├── ConnectError
│   └── NoHostAvailable      every host is out: set aside, taken out by its priority, or tried already
├── QuorumError              too few hosts succeeded
├── RollingError             too many of a batch failed
└── Failure                  any HTTPError as a member of a list of outcomes

UnknownHost                  the mapping has no such host; a KeyError and a ValueError
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NoReturn, cast

from ..errors import Cancelled, ConnectError, HTTPError

__all__ = ['Failure', 'NoHostAvailable', 'QuorumError', 'RollingError', 'UnknownHost', 'as_value']


class NoHostAvailable(ConnectError):
    """Every host is out: set aside because it is dead, or taken out by its priority. Nothing was sent."""


class UnknownHost(KeyError, ValueError):
    """The mapping has no such host."""

    def __str__(self) -> str:
        return str(self.args[0])  # a KeyError would quote it


class QuorumError(HTTPError):
    """So many hosts failed that the others could not reach the quorum.

    ``outcomes`` is in the order of the hosts: a :class:`Response` or a falsy :class:`HTTPError` for each. Requests
    that had not finished are :class:`Cancelled`.
    """

    def __init__(self, message: str = '', *, outcomes: Sequence[object] = ()) -> None:
        super().__init__(message)
        self.outcomes: list[Any] = list(outcomes)

    @property
    def exceptions(self) -> tuple[HTTPError, ...]:
        """The failures among the outcomes, as an exception group has them, so that a chain of errors names each."""
        return _failures(self.outcomes)


class RollingError(HTTPError):
    """More requests of a batch failed than ``max_fail`` allows.

    ``outcomes`` has a :class:`Response` or a falsy :class:`HTTPError` for each request that was sent, in their order.
    ``not_started`` has the requests that were not sent, as they were given.
    """

    def __init__(
        self, message: str = '', *, outcomes: Sequence[object] = (), not_started: Sequence[object] = ()
    ) -> None:
        super().__init__(message)
        self.outcomes: list[Any] = list(outcomes)
        self.not_started: list[Any] = list(not_started)

    @property
    def exceptions(self) -> tuple[HTTPError, ...]:
        """The failures among the outcomes, as an exception group has them, so that a chain of errors names each."""
        return _failures(self.outcomes)


def _failures(outcomes: Sequence[object]) -> tuple[HTTPError, ...]:
    errors = (getattr(outcome, 'error', outcome) for outcome in outcomes)
    return tuple(one for one in errors if isinstance(one, HTTPError) and not isinstance(one, Cancelled))


class Failure(HTTPError):
    """An error in a list of outcomes, beside responses: it is falsy, and calling it raises it.

    It is an instance of the error's own class too: ``isinstance(failure, ReadTimeout)``.
    """

    __slots__ = ()

    def __bool__(self) -> Literal[False]:
        """An error is false."""
        return False

    def __call__(self) -> NoReturn:
        """Raise the error."""
        raise self.with_traceback(None)

    def __reduce__(self) -> Any:
        made = super().__reduce__()
        return _remade, (type(self).__bases__[1], made[1]), made[2]


def as_value(error: HTTPError) -> Failure:
    """Make an error falsy and callable: the same object, and still an instance of its class."""
    if not isinstance(error, Failure):
        error.__class__ = _failure_class(type(error))
    return cast(Failure, error)


def _failure_class(kind: type[HTTPError]) -> Any:
    found = _classes.get(kind)
    if found is None:
        found = _classes[kind] = type(
            kind.__name__, (Failure, kind), {'__slots__': (), '__module__': kind.__module__, '__doc__': kind.__doc__}
        )
    return found


_classes: dict[type[HTTPError], Any] = {}


def _remade(kind: type[HTTPError], args: tuple[Any, ...]) -> HTTPError:
    """For pickle and copy."""
    return as_value(kind(*args))
