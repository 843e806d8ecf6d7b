"""The command ``napix``. As a program, it may print, read the environment and patch its process.

command      the command and its subcommands, and how errors are printed
options      every flag, declared once
plan         a command line, checked as a whole
selecting    who is asked for what: hosts and URLs
hostfiles    hosts and groups from files
urls         URLs as targets, and words told apart
ranges       URLs with ranges
layout       which URLs each host is asked for, numbered
varfiles     variables of hosts, from files
hostvars     variables of hosts, by their names
filling      fills hosts and variables in
items        request items in the syntax of HTTPie
credentials  credentials, TLS and proxies, from flags, environment and profile
targets      the requests of a run, created one by one
via          the pool of a run over the workers of a cluster
schedule     which request is next
run          one run, from its first request to the exit code
watch        the same run again and again, and what has changed
formats      the formats of answers, an entry for each
printing     the format of lines, and files with bodies
json_format  the format of --json, and the lines of job logs
csv_format   the format of --csv
template     the format of --template
folding      identical answers once, and how the others differ
outcomes     what is shown of an outcome
joblog       the log from which a run can be resumed
digests      whether a resumed run would send the same
tally        counts, closing line and exit code
summary      rates, quantiles and a histogram
live         the live table
stdio        standard output and standard error, without holding up the loop
showing      requests and answers as texts
curl         requests as commands of curl
saga         ``napix saga``: the journals of sagas
signals      SIGINT and SIGTERM
help         the text of the help
manpage      the man page
missing      what to install where a package is missing
elsewhere    what to write for flags of other programs
completion   completion of command lines
demo, peers  ``napix demo``, and its servers
pages        the servers of the documentation, which are in ``napixclient.demo``
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from types import SimpleNamespace

__all__ = ['main']

#: What asks nobody anything, and so needs neither gevent nor patching.
_TELLS = frozenset(['--help', '--version', '-h', 'completion', 'help', 'man'])
#: What serves, and may have plug-ins and drivers of databases beside it.
_SERVES = frozenset(['demo', 'serve'])
#: Objects that are made between two collections of garbage, while all that is made is modules.
_LOADING = 1_000_000


def _patch_for_run() -> None:
    """Patch what a run may block in once requests are under way: it starts no thread and no process then.

    gevent tells its plug-ins of each module that it patches, and to find them looks through all that is installed, for
    each module anew: that takes longer than all else here. A run has no plug-ins.
    """
    from gevent import monkey

    if monkey.is_module_patched('socket'):
        return  # by who has called us
    names = vars(importlib)
    known = names.get('metadata')
    names['metadata'] = SimpleNamespace(entry_points=lambda group: ())
    try:
        # Upcalls for groups are processes, of which the modules are patched together or not at all.
        monkey.patch_all(os=False, subprocess=False, thread=False, queue=False)
    finally:
        if known is None:
            del names['metadata']
        else:
            names['metadata'] = known


def main() -> int:
    """Run ``napix`` with the arguments of this process and return its exit code.

    It patches the process before anything else, so call it only in a process of its own. Where a package is missing,
    one line says what to install.
    """
    try:
        return _main()
    except ImportError as exc:
        from .missing import what_to_install

        print('napix:', what_to_install(exc, *sys.argv[1:]), file=sys.stderr)
        return 2


def _main() -> int:
    gc.set_threshold(_LOADING)
    try:
        if '_NAPIX_COMPLETE' not in os.environ and not _TELLS.intersection(sys.argv[1:2]):
            if _SERVES.intersection(sys.argv[1:2]):
                from gevent import monkey

                monkey.patch_all()
            else:
                _patch_for_run()

        from .signals import exit_on_interrupt

        exit_on_interrupt()
    except KeyboardInterrupt:
        return 130
    from .command import run

    try:
        return run()
    finally:
        gc.freeze()  # the process ends: to look through thousands of connections for garbage is a fifth of its time
