"""The entry point of the ``napix`` command. As a program, it may print, read the environment and patch its process."""

from __future__ import annotations

__all__ = ['main']


def main() -> int:
    """Run ``napix`` with the arguments of this process and return its exit code.

    It patches the process before anything else, so call it only in a process of its own.
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
