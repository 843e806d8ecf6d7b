#!/usr/bin/env bash
# 2026-11-30. Versions: ClusterShell 1.10.1, CPython 3.11.
# ClusterShell: a host or URL with a question mark is no node; the set is empty, and nobody says so.
#
# One would guess that NodeSet("web1/status?full") is a set of one, as NodeSet("web1/status") is, or an error:
# a node's name may hold nearly anything, and http://web[1-3]/ folds and unfolds well.
# What happens: ? and * are wildcards over the nodes of the default group source. What matches none of them becomes
# the empty set: no error, no warning. One such entry vanishes from among others, and "web[1-3]!web*", meant
# to leave none, leaves all three.
#
# Source: ClusterShell's documentation, "Node wildcards", says that they match the nodes of the group source, not
# what becomes of a pattern that matches none. What NodeSet cannot read, such as a bad range, raises elsewhere.
# Seen:
#   http://web[1-3]/status      -> 3 nodes
#   http://web[1-3]/status?full -> 0 nodes
#   web1,web2,web?              -> web[1-2]
#   web[1-3]!web*               -> web[1-3]
#   web[1-3]&web*               -> (empty)
#   web[3-1]                    -> NodeSetParseRangeError

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check 'ClusterShell==1.10.1'

timeout 50 "$folder/venv/bin/python" - <<'PY'
import sys

from ClusterShell.NodeSet import NodeSet, NodeSetParseRangeError

def check(holds, what):
    if not holds:
        sys.exit(f'CHANGED: {what}')


for pattern, expected in (('http://web[1-3]/status', 3), ('http://web[1-3]/status?full', 0)):
    print(f'{pattern:27} -> {len(NodeSet(pattern))} nodes')
    check(len(NodeSet(pattern)) == expected, pattern)
for pattern, expected in (('web1,web2,web?', 'web[1-2]'), ('web[1-3]!web*', 'web[1-3]'), ('web[1-3]&web*', '')):
    print(f'{pattern:27} -> {NodeSet(pattern) or "(empty)"}')
    check(str(NodeSet(pattern)) == expected, pattern)
try:
    NodeSet('web[3-1]')
except NodeSetParseRangeError as error:
    print(f'{"web[3-1]":27} -> {type(error).__name__}')
else:
    check(False, 'a range that is upside down')
PY
