"""The errors of this package, and how an error becomes a value.

HTTPError
├── ConnectError
│   └── NoHostAvailable      every host is out: set aside, taken out by its priority, or tried already
├── QuorumError              too few hosts succeeded
└── RollingError             too many of a batch failed
UnknownHost                  a host that is none of the mapping's; a KeyError and a ValueError
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import Cancelled, ConnectError, HTTPError

__all__ = ['NoHostAvailable', 'QuorumError', 'RollingError', 'UnknownHost', 'as_value']


class NoHostAvailable(ConnectError):
    """Every host is out: set aside because it is dead, or taken out by its priority. Nothing was sent."""


class UnknownHost(KeyError, ValueError):
    """A host that is none of the mapping's."""

    def __str__(self) -> str:
        return str(self.args[0])  # a KeyError would quote it


class QuorumError(HTTPError):
    """So many hosts failed that those left could not be enough.

    ``outcomes`` is in the order of the hosts: a :class:`Response` or a falsy :class:`HTTPError` for each; what had not
    finished is :class:`Cancelled`.
    """

    def __init__(self, message: str = '', *, outcomes: Sequence[Any] = (), **more: Any) -> None:
        super().__init__(message, **more)
        self.outcomes = list(outcomes)

    @property
    def exceptions(self) -> tuple[HTTPError, ...]:
        """The failures among them, as a group of exceptions has them: a chain of errors tells of each."""
        return _failures(self.outcomes)


class RollingError(HTTPError):
    """Too many of a batch failed.

    ``outcomes`` is in the order of the requests, of all that were sent: a :class:`Response` or a falsy
    :class:`HTTPError` for each. ``not_started`` are those that were not sent, as they were given.
    """

    def __init__(
        self, message: str = '', *, outcomes: Sequence[Any] = (), not_started: Sequence[Any] = (), **more: Any
    ) -> None:
        super().__init__(message, **more)
        self.outcomes = list(outcomes)
        self.not_started = list(not_started)

    @property
    def exceptions(self) -> tuple[HTTPError, ...]:
        """The failures among them, as a group of exceptions has them: a chain of errors tells of each."""
        return _failures(self.outcomes)


def _failures(outcomes: Sequence[Any]) -> tuple[HTTPError, ...]:
    errors = (getattr(outcome, '_error', outcome) for outcome in outcomes)
    return tuple(one for one in errors if isinstance(one, HTTPError) and not isinstance(one, Cancelled))


class _Value:
    """An error as a value beside responses: falsy, and to call it raises it."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False

    def __call__(self) -> Any:
        error: Any = self
        raise error.with_traceback(None)

    def __reduce__(self) -> Any:
        error: Any = self
        made: Any = super(_Value, error).__reduce__()
        return _remade, (type(error).__bases__[1], made[1]), made[2]


def as_value(error: HTTPError) -> HTTPError:
    """The same error, of the same class, falsy and callable."""
    if not isinstance(error, _Value):
        error.__class__ = _value_class(type(error))
    return error


def _value_class(kind: type[HTTPError]) -> Any:
    found = _classes.get(kind)
    if found is None:
        found = _classes[kind] = type(
            kind.__name__, (_Value, kind), {'__slots__': (), '__module__': kind.__module__, '__doc__': kind.__doc__}
        )
    return found


_classes: dict[type[HTTPError], Any] = {}


def _remade(kind: type[HTTPError], args: tuple[Any, ...]) -> HTTPError:
    """For pickle and copy."""
    return as_value(kind(*args))
