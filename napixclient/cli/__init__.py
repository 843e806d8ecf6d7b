"""The ``napix`` command: the way in. A program, so it may print, read the environment and patch its process."""

from __future__ import annotations

__all__ = ['main']


def main() -> int:
    """Run ``napix`` with the arguments of this process and return its exit code.

    The process is patched first of all: call it from a process of its own.
    """
    try:
        from gevent import monkey

        monkey.patch_all()

        from .signals import exit_on_interrupt

        exit_on_interrupt()
    except KeyboardInterrupt:  # pragma: no cover  # in the few milliseconds before it is taken care of
        return 130
    from .command import run

    return run()
