#!/usr/bin/env bash
# 2026-11-30. Versions: prometheus_client 0.26.0, CPython 3.11.
# prometheus_client: two metrics that the registry holds apart are one and the same to most scrapers.
#
# One would guess that names which a registry takes without a word are told apart when they are scraped: it raises
# "Duplicated timeseries" for a name that is taken, and until 0.21 it refused "http.requests" outright.
# What happens: since 0.22 dots are allowed, and "http.requests" stands beside "http_requests". A scraper that does
# not ask for escaping=allow-utf-8 gets both as http_requests_total: twice the same series in one answer, with
# different values, and twice its TYPE line. Even prometheus_client's own reader then finds two families of one name.
#
# Source: prometheus.io, "UTF-8 metric and label name escaping schemes" (underscores is what an Accept header without
# the parameter gets); the exposition format wants at most one TYPE line for a name, and each series once.
# Seen:
#   the registry took: http.requests, http_requests
#   Accept: text/plain -> ['http_requests_total 1.0', 'http_requests_total 5.0'], 2 TYPE lines
#   Accept: ...escaping=allow-utf-8 -> ['{"http.requests_total"} 1.0', 'http_requests_total 5.0']

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check 'prometheus_client==0.26.0'

timeout 50 "$folder/venv/bin/python" - <<'PY'
import sys

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.exposition import choose_encoder

def check(holds, what):
    if not holds:
        sys.exit(f'CHANGED: {what}')


registry = CollectorRegistry()
Counter('http.requests', 'With a dot.', registry=registry).inc(1)
Counter('http_requests', 'With an underscore.', registry=registry).inc(5)
print('the registry took: http.requests, http_requests')
try:
    Counter('http_requests', 'Again.', registry=registry)
except ValueError:
    pass
else:
    check(False, 'the registry takes the same name twice')


def scrape(accept):
    """The lines that a scraper with this header gets."""
    encode, _ = choose_encoder(accept)
    return encode(registry).decode().splitlines()


lines = scrape('text/plain')
samples = [line for line in lines if line.startswith('http_requests_total')]
types = [line for line in lines if line == '# TYPE http_requests_total counter']
print(f'Accept: text/plain -> {samples}, {len(types)} TYPE lines')
check(samples == ['http_requests_total 1.0', 'http_requests_total 5.0'] and len(types) == 2, 'the names collide')

lines = scrape('text/plain;version=1.0.0;escaping=allow-utf-8')
samples = [line for line in lines if 'requests_total' in line and not line.startswith('#')]
print(f'Accept: ...escaping=allow-utf-8 -> {samples}')
check(samples == ['{"http.requests_total"} 1.0', 'http_requests_total 5.0'], 'the names in UTF-8')
PY
