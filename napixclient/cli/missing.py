"""What to install where a package is missing: each command has an extra, which brings what it needs."""

from __future__ import annotations

__all__ = ['what_to_install']

#: Command -> its extra; all others need ``cli``.
_EXTRAS = {'serve': 'service', 'worker': 'cluster', 'cluster': 'cluster'}


def what_to_install(missing: ImportError, *words: str) -> str:
    """One line that says what to install.

    :param words: those behind ``napix``.
    :raises ImportError: the error itself, if it is a module of ours that is missing.
    """
    name = (missing.name or '').partition('.')[0]
    if not name or name == __name__.partition('.')[0]:
        raise missing
    command = next((word for word in words if word not in ('help', '--help', '-h')), '')
    what = f'napix {command}' if command in _EXTRAS else 'napix'
    return f"{what} needs {name}, which is not installed: pip install 'napixclient[{_EXTRAS.get(command, 'cli')}]'"
