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
