#!/usr/bin/env bash
# 2026-11-30. Versions: prometheus_client 0.26.0, CPython 3.11.
# prometheus_client: its parser hands out names of series that the server never sent.
#
# One would guess that text_string_to_metric_families, which reads what a server exposes at /metrics, gives each
# sample the name it has on the wire.
# What happens: where the server says "# TYPE jobs counter", the sample "jobs 3" comes out as "jobs_total", as
# OpenMetrics would have it; without the TYPE line the same sample keeps its name. So a look-up by the name that curl
# shows, and that every query in Prometheus uses, finds nothing, and a proxy that parses and exposes again has
# renamed the series. The text format asks for no such suffix, and plenty of exporters have counters without.
#
# Source: prometheus.io, "Exposition formats", text format: a sample's name is any metric name, for a counter too;
# the suffix _total is a rule of OpenMetrics, whose parser is another module of the same package.
# Seen:
#   sent "# TYPE jobs counter" and "jobs 3": read jobs_total 3
#   sent "jobs 3" alone: read jobs 3
#   parsed and exposed again: jobs_total 3.0

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check 'prometheus_client==0.26.0'

timeout 50 "$folder/venv/bin/python" - <<'PY'
import sys

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

def check(holds, what):
    if not holds:
        sys.exit(f'CHANGED: {what}')


EXPOSED = '# HELP jobs Jobs that were taken.\n# TYPE jobs counter\njobs 3\n'


def samples(text):
    """The names and values that the parser finds."""
    families = text_string_to_metric_families(text)
    return [f"{sample.name} {sample.value:g}" for family in families for sample in family.samples]


typed, untyped = samples(EXPOSED), samples('jobs 3\n')
print(f'sent "# TYPE jobs counter" and "jobs 3": read {", ".join(typed)}')
print(f'sent "jobs 3" alone: read {", ".join(untyped)}')
check(typed == ['jobs_total 3'], 'a typed counter')
check(untyped == ['jobs 3'], 'a sample without a type')


class Proxy:
    """Exposes what it has parsed."""

    def collect(self):
        return text_string_to_metric_families(EXPOSED)


registry = CollectorRegistry()
registry.register(Proxy())
again = [line for line in generate_latest(registry).decode().splitlines() if not line.startswith('#')]
print(f'parsed and exposed again: {", ".join(again)}')
check(again == ['jobs_total 3.0'], 'parsed and exposed again')
PY
