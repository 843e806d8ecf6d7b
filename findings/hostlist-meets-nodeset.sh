#!/usr/bin/env bash
# 2026-11-30. Versions: ClusterShell 1.10.1, python-hostlist 2.3.0, CPython 3.11.
# python-hostlist meets ClusterShell: what one folds, the other refuses.
#
# One would guess that node[01-100], the notation of the tools of clusters, is one notation.
# What happens: python-hostlist folds node01 to node100 as node[01-100]. ClusterShell refuses that, as since 1.9 both
# ends of a padded range have to be of one length, and folds the same hosts as node[01-99,100]. python-hostlist reads
# both spellings, ClusterShell its own. A list that one program folds and another reads works up to 99 nodes, and
# breaks with the hundredth.
#
# Source: python-hostlist says that it "knows how to expand and collect Slurm hostlist expressions"; ClusterShell's
# change for padding of mixed lengths (1.9) has "add check when parsing bogus ranges like 01-010".
# Seen:
#   99 hosts:  node[01-99] by python-hostlist, node[01-99] by ClusterShell
#   100 hosts: node[01-100] by python-hostlist, node[01-99,100] by ClusterShell
#   ClusterShell reads node[01-100]: NodeSetParseRangeError
#   python-hostlist reads node[01-99,100]: 100 hosts

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    'ClusterShell==1.10.1' 'python-hostlist==2.3.0'

timeout 50 "$folder/venv/bin/python" - <<'PY'
import sys

import hostlist
from ClusterShell.NodeSet import NodeSet, NodeSetParseRangeError

def check(holds, what):
    if not holds:
        sys.exit(f'CHANGED: {what}')


for count, theirs, ours in ((99, 'node[01-99]', 'node[01-99]'), (100, 'node[01-100]', 'node[01-99,100]')):
    hosts = [f'node{number:02d}' for number in range(1, count + 1)]
    by_hostlist, by_nodeset = hostlist.collect_hostlist(hosts), str(NodeSet.fromlist(hosts))
    print(f'{str(count) + " hosts:":10} {by_hostlist} by python-hostlist, {by_nodeset} by ClusterShell')
    check((by_hostlist, by_nodeset) == (theirs, ours), f'{count} hosts are folded otherwise')
try:
    NodeSet('node[01-100]')
except NodeSetParseRangeError as error:
    print(f'ClusterShell reads node[01-100]: {type(error).__name__}')
else:
    check(False, 'ClusterShell reads node[01-100]')
read = hostlist.expand_hostlist('node[01-99,100]')
print(f'python-hostlist reads node[01-99,100]: {len(read)} hosts')
check(sorted(read) == sorted(hosts), 'python-hostlist reads the spelling of ClusterShell')
PY
