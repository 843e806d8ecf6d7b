#!/usr/bin/env bash
# 2026-11-30. Versions: urllib3 2.8.0, requests 2.34.2, Python 3.11.7.
# One would guess: `PoolManager().request('PUT', url, body=…, timeout=0.5)` without `retries` gives the answer that
#   comes, whatever its status, and gives it soon: the default `Retry(3)` has an empty `status_forcelist`, so it is
#   for connections that fail and for redirects, as the user guide says ("By default, urllib3 will retry requests
#   3 times and follow up to 3 redirects").
# What happens: a 413, 429 or 503 that has a Retry-After is a failure that counts even so: urllib3 sleeps for as long
#   as the server says and sends the whole body again, three times, and then hands out the fourth refusal as if it
#   were the first. The `timeout` has no say in the sleep. A server that answers 503 with `Retry-After: 3600` holds
#   the caller for three hours (urllib3 bounds one sleep at six); a body that is too large (413) crosses the wire
#   four times. Without the Retry-After, with another status, or with POST, it is one request. requests, which is
#   built upon urllib3, sends one in each case.
# Source: urllib3's user guide, "Retrying Requests"; its reference names the three statuses at
#   `Retry.RETRY_AFTER_STATUS_CODES`, and True as the default of `respect_retry_after_header`.
# Output seen:
#   urllib3  PUT  503, Retry-After: 1   status 503, 4 requests, 400000 bytes of body, after 3 s
#   urllib3  PUT  413, Retry-After: 1   status 413, 4 requests, 400000 bytes of body, after 3 s
#   urllib3  PUT  503                   status 503, 1 requests, 100000 bytes of body, after 0 s
#   urllib3  PUT  500, Retry-After: 1   status 500, 1 requests, 100000 bytes of body, after 0 s
#   urllib3  POST 503, Retry-After: 1   status 503, 1 requests, 100000 bytes of body, after 0 s
#   requests PUT  503, Retry-After: 1   status 503, 1 requests, 100000 bytes of body, after 0 s
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --no-compile --disable-pip-version-check urllib3==2.8.0 requests==2.34.2

cat > "$folder/see.py" << 'PYTHON'
import http.server
import sys
import threading
import time

import requests
import urllib3

bodies = []


class Refusing(http.server.BaseHTTPRequestHandler):
    """Reads the body, and refuses with what its path says: /STATUS or /STATUS/SECONDS."""

    protocol_version = 'HTTP/1.1'

    def do_PUT(self):
        bodies.append(len(self.rfile.read(int(self.headers['Content-Length']))))
        _, status, *seconds = self.path.split('/')
        self.send_response(int(status))
        for each in seconds:
            self.send_header('Retry-After', each)
        self.send_header('Content-Length', '0')
        self.end_headers()

    do_POST = do_PUT

    def log_message(self, *_):
        pass


def by_urllib3(method, url, body):
    with urllib3.PoolManager() as pool:
        return pool.request(method, url, body=body, timeout=0.5).status


def by_requests(method, url, body):
    return requests.request(method, url, data=body, timeout=0.5).status_code


server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Refusing)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
rows = (
    ('urllib3', by_urllib3, 'PUT', '503/1', 4),
    ('urllib3', by_urllib3, 'PUT', '413/1', 4),
    ('urllib3', by_urllib3, 'PUT', '503', 1),
    ('urllib3', by_urllib3, 'PUT', '500/1', 1),
    ('urllib3', by_urllib3, 'POST', '503/1', 1),
    ('requests', by_requests, 'PUT', '503/1', 1),
)
as_found = True
for library, ask, method, path, expected in rows:
    bodies.clear()
    begin = time.monotonic()
    status = ask(method, f'http://127.0.0.1:{server.server_port}/{path}', b'x' * 100_000)
    taken = time.monotonic() - begin
    what = path.replace('/', ', Retry-After: ')
    print(
        f'{library:8} {method:4} {what:21} status {status}, {len(bodies)} requests, {sum(bodies)} bytes of body,'
        f' after {int(taken)} s'
    )
    as_found &= status == int(path[:3]) and len(bodies) == expected and (taken >= 3) == (expected == 4)
sys.exit(0 if as_found else 'CHANGED: refusals with Retry-After are asked again otherwise')
PYTHON
timeout 40 "$folder/venv/bin/python" "$folder/see.py"
