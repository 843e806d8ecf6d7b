"""What to install where a package is missing: each command has an extra, which brings what it needs."""

from __future__ import annotations

import os

__all__ = ['what_to_install']

#: Command -> its extra; all others need ``cli``.
_EXTRAS = {'serve': 'service', 'worker': 'cluster', 'cluster': 'cluster'}
#: Variables from which gevent takes the names of classes.
_CLASSES = ('GEVENT_RESOLVER', 'GEVENT_LOOP', 'GEVENT_THREADPOOL')


def what_to_install(missing: ImportError, *words: str) -> str:
    """One line that says what to install, or which variable names a class of gevent that there is not.

    :param words: those behind ``napix``.
    :raises ImportError: the error itself, if it is a module of ours that is missing.
    """
    name = (missing.name or '').partition('.')[0]
    for variable in _CLASSES:
        value = os.environ.get(variable)
        if value is not None and _is_of(value, missing):
            return f'{variable}={value} in the environment names no class: {missing}'
    if not name or name == __name__.partition('.')[0]:
        raise missing
    command = next((word for word in words if word not in ('help', '--help', '-h')), '')
    what = f'napix {command}' if command in _EXTRAS else 'napix'
    return f"{what} needs {name}, which is not installed: pip install 'napixclient[{_EXTRAS.get(command, 'cli')}]'"


def _is_of(value: str, missing: ImportError) -> bool:
    """Whether gevent has looked in vain for the class that a variable names; what it says itself has no name."""
    if missing.name is None:
        return repr(value) in str(missing) or repr(value.rpartition('.')[2]) in str(missing)
    return f'{value}.'.startswith(f'{missing.name}.')
