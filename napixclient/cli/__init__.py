"""The command ``napix``. As a program, it may print, read the environment and patch its process.

command      the command and its subcommands, and how errors are printed
options      every flag, declared once
plan         a command line, checked as a whole
hostfiles    hosts and groups from files
items        request items in the syntax of HTTPie
credentials  credentials, TLS and proxies, from flags, environment and profile
targets      the requests of a run, numbered
schedule     which request is next
run          one run, from its first request to the exit code
formats      how an outcome is written: a line, JSON, the chain of an error
printing     prints outcomes as they arrive
folding      identical answers once, and how the others differ
joblog       the log from which a run can be resumed
tally        counts, summary and exit code
live         the live table
stdio        standard output and standard error, without holding up the loop
showing      shows requests before they are sent
signals      SIGINT and SIGTERM
help         the text of the help
manpage      the man page
completion   completion of command lines
demo, peers  ``napix demo``, and its servers
"""

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
