#!/usr/bin/env bash
# 2026-11-30. Versions: nginx 1.22.1, HAProxy 2.6.12, Apache httpd 2.4.71, Varnish 7.1.1, Squid 5.7, lighttpd 1.4.69
#   (Debian 12).
# One would guess: a GET with a body (Elasticsearch's and OpenSearch's `GET /_search`) is either passed on whole or
#   refused with an error that names the body. RFC 9110 §9.3.1: content in a GET has no generally defined semantics
#   "and might lead some implementations to reject the request".
# What happens: of six in the middle three pass it on (nginx, HAProxy, Apache). Varnish passes the GET on without
#   its body and without Content-Length, so the server answers 200 to a search without its query: all documents.
#   Squid answers 411 Length Required to a request that has a Content-Length. lighttpd answers 400. A POST with
#   the same body arrives through all six.
# Source: RFC 9110 §9.3.1 and §15.5.12 (411 is for a request without Content-Length). Squid's `request_entities` and
#   lighttpd's `server.http-parseopts` change it, and a VCL of one's own: Varnish' built-in one unsets `bereq.body`.
# Output seen:
#              GET with 11 bytes     POST with 11 bytes
#   nginx      200, 11 received      200, 11 received
#   haproxy    200, 11 received      200, 11 received
#   apache     200, 11 received      200, 11 received
#   varnish    200, none received    200, 11 received
#   squid      411                   200, 11 received
#   lighttpd   400                   200, 11 received
set -euo pipefail

require() {
  command -v "$1" > /dev/null || { echo "$1 is missing: apt-get install $2"; exit 77; }
  local version
  version=$("$1" "$3" 2>&1)
  echo "${version%%$'\n'*}"
  case "$version" in *"$4"*) ;; *) echo "this was seen with $2 $4 of Debian 12"; exit 77 ;; esac
}
require nginx nginx -v 1.22.
require haproxy haproxy -v 2.6.
require apache2 apache2 -v Apache/2.4.
require varnishd varnish -V varnish-7.1.
require squid squid -v 'Version 5.7'
require lighttpd lighttpd -v 1.4.69

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/see.py" << 'PYTHON'
import http.client
import http.server
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

folder = pathlib.Path(sys.argv[1])
folder.chmod(0o777)  # some of them become another user


def free():
    with socket.create_server(('127.0.0.1', 0)) as each:
        return each.getsockname()[1]


class Program(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_GET(self):
        length = self.headers['Content-Length']
        body = self.rfile.read(int(length)) if length else b''
        text = f'{len(body) or "none"} received'.encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_POST = do_GET

    def log_message(self, *_):
        pass


def nginx(port, behind):
    kinds = 'client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'
    paths = ''.join(f'{kind}_temp_path {folder}/{kind}; ' for kind in kinds)
    (folder / 'nginx.conf').write_text(f"""
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ }}
http {{ access_log off; {paths}
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{behind}; }} }} }}
""")
    return ['nginx', '-c', f'{folder}/nginx.conf', '-e', f'{folder}/nginx.log']


def haproxy(port, behind):
    (folder / 'haproxy.cfg').write_text(f"""
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
listen front
  bind 127.0.0.1:{port}
  server program 127.0.0.1:{behind}
""")
    return ['haproxy', '-f', f'{folder}/haproxy.cfg']


def apache(port, behind):
    modules = 'mpm_event', 'authz_core', 'proxy', 'proxy_http'
    loads = '\n'.join(f'LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so' for name in modules)
    (folder / 'apache.conf').write_text(f"""{loads}
ServerRoot {folder}
ServerName localhost
PidFile {folder}/apache.pid
ErrorLog {folder}/apache.log
User nobody
Group nogroup
Listen 127.0.0.1:{port}
ProxyPass / http://127.0.0.1:{behind}/
""")
    return ['apache2', '-f', f'{folder}/apache.conf', '-DFOREGROUND']


def varnish(port, behind):
    (folder / 'front.vcl').write_text(f'vcl 4.1; backend program {{ .host = "127.0.0.1"; .port = "{behind}"; }}')
    name = '-n', f'{folder}/varnish', '-f', f'{folder}/front.vcl'
    return ['varnishd', '-F', '-j', 'none', *name, '-a', f'127.0.0.1:{port}', '-s', 'malloc,16m']


def squid(port, _):
    (folder / 'squid.conf').write_text(f"""
http_port 127.0.0.1:{port}
http_access allow all
cache deny all
access_log none
cache_log {folder}/squid.log
cache_store_log none
netdb_filename none
coredump_dir {folder}
pid_filename {folder}/squid.pid
visible_hostname localhost
pinger_enable off
cache_mem 8 MB
shutdown_lifetime 1 second
""")
    return ['squid', '-N', '-n', f'finding{os.getpid()}', '-f', f'{folder}/squid.conf']


def lighttpd(port, behind):
    (folder / 'lighttpd.conf').write_text(f"""
server.modules = ("mod_proxy")
server.document-root = "{folder}"
server.upload-dirs = ("{folder}")
server.errorlog = "{folder}/lighttpd.log"
server.bind = "127.0.0.1"
server.port = {port}
proxy.server = ("" => (("host" => "127.0.0.1", "port" => {behind})))
""")
    return ['lighttpd', '-D', '-f', f'{folder}/lighttpd.conf']


def ask(port, method, target):
    client = http.client.HTTPConnection('127.0.0.1', port, timeout=10)
    client.request(method, target, body=b'{"size": 1}', headers={'Content-Type': 'application/json'})
    answer = client.getresponse()
    body = answer.read().decode('latin-1')
    client.close()
    return f'200, {body}' if answer.status == 200 else str(answer.status)


server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Program)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
behind = server.server_port
seen = {}
print(f'{"":10} {"GET with 11 bytes":21} POST with 11 bytes')
for between in nginx, haproxy, apache, varnish, squid, lighttpd:
    port = free()
    with open(folder / 'output', 'w') as output:
        process = subprocess.Popen(between(port, behind), stdout=output, stderr=output)
    try:
        for _ in range(200):
            try:
                socket.create_connection(('127.0.0.1', port)).close()
                break
            except OSError:
                time.sleep(0.05)
        target = f'http://127.0.0.1:{behind}/' if between is squid else '/'
        seen[between.__name__] = answers = [ask(port, method, target) for method in ('GET', 'POST')]
    finally:
        process.terminate()
        process.wait(15)
    print(f'{between.__name__:10} {answers[0]:21} {answers[1]}')
whole = '200, 11 received'
gets = [whole, whole, whole, '200, none received', '411', '400']
expected = dict(zip(('nginx', 'haproxy', 'apache', 'varnish', 'squid', 'lighttpd'), ([get, whole] for get in gets)))
sys.exit(0 if seen == expected else 'CHANGED: a GET with a body fares otherwise')
PYTHON
timeout 55 python3 "$folder/see.py" "$folder"
