#!/usr/bin/env bash
# 2026-11-30. Versions: ClusterShell 1.10.1, CPython 3.11.
# ClusterShell: freshly installed by pip, with nothing configured, @all is 131 machines.
#
# One would guess that the group @all of an installation that nobody has configured is empty, or an error.
# What happens: the wheel puts a configuration into the environment (etc/clustershell below its prefix) whose groups
# are those of the documentation. @all, @*, @compute, @io, @gpu and others name example4 to example159; "e*" matches
# them as well; and regroup() calls the real nodes of a site by these names, if they happen to be called example.
# A program that sends to "@all" by default, or fans out over @compute, asks a resolver for 128 strangers.
#
# Source: ClusterShell's documentation, "Node groups configuration": it speaks of /etc/clustershell/groups.conf,
# for an administrator to write; the comment of the file that is installed says "Feel free to edit to fit your needs".
# Seen:
#   @all     -> example[4-6,32-159], 131 nodes
#   @compute -> example[32-159], 128 nodes
#   e*       -> example[4-6,32-159], 131 nodes
#   NodeSet("example[4-6]").regroup() -> @io

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check 'ClusterShell==1.10.1'

unset CLUSTERSHELL_CFGDIR XDG_CONFIG_HOME
# No configuration of a user either.
export HOME="$folder"
timeout 50 "$folder/venv/bin/python" - <<'PY'
import pathlib
import sys

from ClusterShell.NodeSet import NodeSet

def check(holds, what):
    if not holds:
        sys.exit(f'CHANGED: {what}')


if pathlib.Path('/etc/clustershell').exists():
    print('there is a configuration of this machine: nothing to see')
    sys.exit(77)
EVERY = 'example[4-6,32-159]'
for name, expected in (('@all', EVERY), ('@compute', 'example[32-159]'), ('e*', EVERY)):
    nodes = NodeSet(name)
    print(f'{name:8} -> {nodes}, {len(nodes)} nodes')
    check(str(nodes) == expected, name)
group = NodeSet('example[4-6]').regroup()
print(f'NodeSet("example[4-6]").regroup() -> {group}')
check(group == '@io', 'regroup')
PY
