"""The entry point of the ``napix`` command. As a program, it may print, read the environment and patch its process."""

from __future__ import annotations

import gc
import os
import sys

__all__ = ['main']

#: What asks nobody anything, and so needs neither gevent nor patching.
_TELLS = frozenset(['--help', '--version', '-h', 'completion', 'help', 'man'])
#: Objects that are made between two collections of garbage: nearly all that a start makes stay.
_YOUNG = 10_000


def main() -> int:
    """Run ``napix`` with the arguments of this process and return its exit code.

    It patches the process before anything else, so call it only in a process of its own.
    """
    gc.set_threshold(_YOUNG)
    try:
        if '_NAPIX_COMPLETE' not in os.environ and not _TELLS.intersection(sys.argv[1:2]):
            from gevent import monkey

            monkey.patch_all()

        from .signals import exit_on_interrupt

        exit_on_interrupt()
    except KeyboardInterrupt:
        return 130
    from .command import run

    try:
        return run()
    finally:
        gc.freeze()  # the process ends: to look through thousands of connections for garbage is a fifth of its time
