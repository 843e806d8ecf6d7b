"""The table of servers: how each is found, told its configuration, and made to load it anew."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from tests.servers.install import PYTHON, found
from tests.servers.programs import Program

APPS = Path(__file__).parent / 'apps'
#: Bytes of a body that is refused where that is a matter of the configuration.
REFUSED = 1 << 20
#: Addresses of the row with many hosts.
HOSTS = 100


class Place(NamedTuple):
    """Where a server is to run, and what it may use."""

    folder: Path
    port: int
    behind: int  # the port of the application, for those that have one behind them
    ledger: Path

    def write(self, name: str, text: str) -> str:
        """Write a file of its configuration: its path."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    def environment(self, **more: str) -> dict[str, str]:
        """For an application."""
        return {'LEDGER': str(self.ledger), 'PYTHONPATH': str(APPS), 'PYTHONDONTWRITEBYTECODE': '1', **more}


class Missing(Exception):
    """A server is not installed, or cannot be used here."""


class Server(NamedTuple):
    """One row.

    :param needs: the program, or the distribution of Python, whose version is shown.
    :param keeps: seconds for which it keeps an idle connection, 0 where it keeps none or for good.
    :param takes: as what it is talked to: the origin, or a proxy with that scheme.
    :param known: pieces of work that it does in its own way with every client, and in which.
    """

    name: str
    needs: str
    program: Callable[[Place], Program]
    version: tuple[str, ...] = ()
    keeps: float = 0.0
    takes: Literal['origin', 'http', 'socks5'] = 'origin'
    behind: bool = False
    quick: bool = False
    hosts: int = 1
    known: Mapping[str, str] = {}


def require(program: str) -> str:
    """Its path.

    :raises Missing: where there is none.
    """
    path = found(program)
    if path is None:
        raise Missing(f'{program} is not installed')
    return path


def version_of(server: Server) -> str:
    """What a server says that it is.

    :raises Missing: where it is not installed.
    """
    command = [str(PYTHON), '-c', f'import importlib.metadata as m; print(m.version({server.needs!r}))']
    if server.version:
        path = require(server.needs)
        command = [require(server.version[0]) if server.version[0] else path, *server.version[1:]]
    elif not PYTHON.exists():
        raise Missing(f'{server.needs} is not installed')
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode and not server.version:
        raise Missing(f'{server.needs} is not installed')
    match = re.search(r'\d+\.\d[\w.~+-]*', done.stdout)
    return match[0] if match else '?'


# Web servers, with an application behind them ------------------------------------------------------------------------


def nginx(place: Place) -> Program:
    """nginx with two workers: a proxy."""
    here = place.folder
    config = place.write(
        'nginx.conf',
        f"""
daemon off; worker_processes 2; pid {here}/pid; error_log {here}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_timeout 1s; keepalive_requests 100000; client_max_body_size {REFUSED};
  client_body_temp_path {here}/b; proxy_temp_path {here}/p;
  fastcgi_temp_path {here}/f; uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;
  upstream app {{ server 127.0.0.1:{place.behind}; keepalive 16; }}
  server {{
    listen 127.0.0.1:{place.port};
    location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
""",
    )
    return Program([require('nginx'), '-c', config, '-e', f'{here}/error.log'], signal.SIGHUP)


def nginx_of_hosts(place: Place) -> Program:
    """nginx itself on 100 addresses, one worker: it writes down what it has carried out."""
    here = place.folder
    listens = ' '.join(f'listen 127.0.0.{number + 1}:{place.port};' for number in range(HOSTS))
    config = place.write(
        'nginx.conf',
        f"""
daemon off; worker_processes 1; pid {here}/pid; error_log {here}/error.log;
events {{ worker_connections 4096; }}
http {{
  log_format id 'B $request_id_sent'; map $request_uri $request_id_sent {{ ~^/\\w+/(?<id>\\w+)$ $id; }}
  access_log {place.ledger} id; keepalive_requests 100000;
  client_body_temp_path {here}/b; proxy_temp_path {here}/p;
  fastcgi_temp_path {here}/f; uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;
  server {{ {listens} location / {{ return 200 $request_id_sent; }} }}
}}
""",
    )
    return Program([require('nginx'), '-c', config, '-e', f'{here}/error.log'], signal.SIGHUP)


def haproxy(place: Place) -> Program:
    """HAProxy with a master, which starts its workers anew."""
    config = place.write(
        'haproxy.cfg',
        f"""
global
  maxconn 500
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  timeout http-keep-alive 1s
frontend front
  bind 127.0.0.1:{place.port}
  http-request deny deny_status 413 if {{ req.hdr_val(content-length) gt {REFUSED} }}
  default_backend back
backend back
  server app 127.0.0.1:{place.behind}
""",
    )
    return Program([require('haproxy'), '-W', '-f', config], signal.SIGUSR2)


def apache(place: Place) -> Program:
    """Apache httpd with its event MPM: a proxy."""
    modules = 'mpm_event', 'authz_core', 'proxy', 'proxy_http'
    loads = '\n'.join(f'LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so' for name in modules)
    config = place.write(
        'apache.conf',
        f"""
{loads}
ServerRoot {place.folder}
ServerName localhost
PidFile {place.folder}/pid
ErrorLog {place.folder}/error.log
User nobody
Group nogroup
Listen 127.0.0.1:{place.port}
KeepAliveTimeout 1
MaxKeepAliveRequests 0
LimitRequestBody {REFUSED}
ProxyPass / http://127.0.0.1:{place.behind}/
""",
    )
    return Program([require('apache2'), '-f', config, '-DFOREGROUND'], signal.SIGUSR1)


def lighttpd(place: Place) -> Program:
    """lighttpd: a proxy."""
    config = place.write(
        'lighttpd.conf',
        f"""
server.modules = ("mod_proxy")
server.document-root = "{place.folder}"
server.upload-dirs = ("{place.folder}")
server.errorlog = "{place.folder}/error.log"
server.bind = "127.0.0.1"
server.port = {place.port}
server.max-keep-alive-idle = 1
server.max-keep-alive-requests = 100000
server.max-request-size = {REFUSED // 1024}
server.feature-flags = ("server.graceful-shutdown-timeout" => 5)
proxy.server = ("" => (("host" => "127.0.0.1", "port" => {place.behind})))
""",
    )
    return Program([require('lighttpd'), '-D', '-f', config], signal.SIGUSR1)


def varnish(place: Place) -> Program:
    """Varnish, which passes everything on."""
    vcl = place.write(
        'front.vcl',
        f"""
vcl 4.1;
import std;
backend app {{ .host = "127.0.0.1"; .port = "{place.behind}"; }}
sub vcl_recv {{
  if (std.integer(req.http.content-length, 0) > {REFUSED}) {{ return (synth(413)); }}
  return (pass);
}}
""",
    )
    name = str(place.folder / 'varnish')
    admin = f'{require("varnishadm")} -n {name}'
    load = place.write('load.sh', f'n=r$$; {admin} vcl.load $n {vcl} && {admin} vcl.use $n\n')
    return Program(
        [
            *(require('varnishd'), '-F', '-j', 'none', '-n', name, '-f', vcl, '-a', f'127.0.0.1:{place.port}'),
            *('-s', 'malloc,32m', '-p', 'timeout_idle=1'),
        ],
        ['sh', load],
    )


def caddy(place: Place) -> Program:
    """Caddy: a proxy."""
    config = place.write(
        'Caddyfile',
        f"""
{{
  admin unix/{place.folder}/admin
  auto_https off
  servers {{
    timeouts {{
      idle 1s
    }}
  }}
}}
http://127.0.0.1:{place.port} {{
  bind 127.0.0.1
  request_body {{
    max_size {REFUSED}
  }}
  reverse_proxy 127.0.0.1:{place.behind}
}}
""",
    )
    home = {'HOME': str(place.folder), 'XDG_DATA_HOME': str(place.folder), 'XDG_CONFIG_HOME': str(place.folder)}
    told = ['--config', config, '--adapter', 'caddyfile']
    reload = [require('caddy'), 'reload', *told, '--address', f'unix/{place.folder}/admin', '--force']
    return Program([require('caddy'), 'run', *told], reload, home)


# Proxies -------------------------------------------------------------------------------------------------------------


def squid(place: Place) -> Program:
    """Squid, which keeps nothing."""
    place.folder.chmod(0o777)  # as root it becomes another user
    config = place.write(
        'squid.conf',
        f"""
http_port 127.0.0.1:{place.port}
http_access allow all
cache deny all
access_log none
cache_log {place.folder}/cache.log
cache_store_log none
netdb_filename none
coredump_dir {place.folder}
pid_filename {place.folder}/squid.pid
visible_hostname localhost
pinger_enable off
cache_mem 8 MB
shutdown_lifetime 1 second
client_idle_pconn_timeout 1 second
request_body_max_size {REFUSED} bytes
""",
    )
    # A name of its own, or its shared memory is that of another one.
    return Program([require('squid'), '-N', '-n', f'tests{place.port}', '-f', config], signal.SIGHUP)


def tinyproxy(place: Place) -> Program:
    """tinyproxy."""
    config = place.write(
        'tinyproxy.conf', f'Port {place.port}\nListen 127.0.0.1\nTimeout 30\nMaxClients 200\nLogLevel Critical\n'
    )
    return Program([require('tinyproxy'), '-d', '-c', config], signal.SIGUSR1)  # in the foreground SIGHUP ends it


def microsocks(place: Place) -> Program:
    """microsocks."""
    return Program([require('microsocks'), '-i', '127.0.0.1', '-p', str(place.port)])


def dante(place: Place) -> Program:
    """Dante."""
    config = place.write(
        'danted.conf',
        f"""
logoutput: {place.folder}/danted.log
internal: 127.0.0.1 port = {place.port}
external: lo
clientmethod: none
socksmethod: none
user.privileged: root
user.unprivileged: nobody
client pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
socks pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
""",
    )
    return Program([require('danted'), '-f', config, '-p', f'{place.folder}/pid'], signal.SIGHUP)


# Servers of programs -------------------------------------------------------------------------------------------------


def _python(*arguments: str, reload: int | None = None) -> Callable[[Place], Program]:
    """A program of the environment of Python's servers; `PORT` in its arguments is the port."""

    def program(place: Place) -> Program:
        command = [str(PYTHON), *(argument.replace('PORT', str(place.port)) for argument in arguments)]
        return Program(command, reload, place.environment())

    return program


def _gunicorn(*worker: str) -> Callable[[Place], Program]:
    options = '-b', '127.0.0.1:PORT', '--keep-alive', '1', '--log-level', 'error', '--no-control-socket'
    return _python('-m', 'gunicorn', *options, '-w', '2', *worker, 'wsgi_app:app', reload=signal.SIGHUP)


def _wsgi(name: str) -> Callable[[Place], Program]:
    return _python(str(APPS / 'wsgi_app.py'), name, 'PORT')


def node(place: Place) -> Program:
    """Node's http."""
    return Program([require('node'), str(APPS / 'node_app.js'), str(place.port)], None, place.environment())


def golang(place: Place) -> Program:
    """Go's net/http."""
    program = place.folder / 'go_app'
    building = {'HOME': str(place.folder), 'GOCACHE': str(PYTHON.parents[2] / 'go'), 'GOFLAGS': '-mod=mod'}
    _build([require('go'), 'build', '-o', str(program), str(APPS / 'go_app.go')], place, building)
    return Program([str(program), str(place.port)], None, place.environment())


def _build(command: list[str], place: Place, environment: dict[str, str]) -> None:
    done = subprocess.run(
        ['env', *(f'{name}={value}' for name, value in environment.items()), *command],
        cwd=place.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise Missing(f'cannot be built: {done.stdout.strip()[-200:]}')


def _servlet(place: Place, package: str, api: str, folder: str) -> None:
    """Compile the servlet, as the only one of a root application."""
    source = place.write('source/App.java', (APPS / 'App.java').read_text().replace('SERVLETS', package))
    classes = place.folder / folder / 'WEB-INF/classes'
    classes.mkdir(parents=True)
    _build([require('javac'), '-cp', require(api), '-d', str(classes), source], place, {})
    place.write(
        f'{folder}/WEB-INF/web.xml',
        '<web-app><servlet><servlet-name>app</servlet-name><servlet-class>App</servlet-class></servlet>'
        '<servlet-mapping><servlet-name>app</servlet-name><url-pattern>/</url-pattern></servlet-mapping></web-app>',
    )


def tomcat(place: Place) -> Program:
    """Tomcat."""
    home = '/usr/share/tomcat10'
    _servlet(place, 'jakarta', f'{home}/lib/servlet-api.jar', 'webapps/ROOT')
    (place.folder / 'temp').mkdir()
    place.write(
        'conf/server.xml',
        f"""<Server port="-1"><Service name="Catalina">
<Connector port="{place.port}" address="127.0.0.1" protocol="HTTP/1.1" keepAliveTimeout="1000"
  maxKeepAliveRequests="-1"/>
<Engine name="Catalina" defaultHost="localhost"><Host name="localhost" appBase="webapps"/></Engine>
</Service></Server>""",
    )
    place.write('conf/web.xml', '<web-app/>')
    command = [require('java'), '-Xmx128m', f'-Dcatalina.home={home}', f'-Dcatalina.base={place.folder}']
    jars = f'{home}/bin/bootstrap.jar:{home}/bin/tomcat-juli.jar'
    start = ['-cp', jars, f'-Djava.io.tmpdir={place.folder}/temp', 'org.apache.catalina.startup.Bootstrap', 'start']
    return Program([*command, *start], None, place.environment())


def jetty(place: Place) -> Program:
    """Jetty."""
    _servlet(place, 'javax', '/usr/share/java/servlet-api.jar', 'webapps/ROOT')
    place.write('start.d/all.ini', '--module=http,deploy,server\njetty.http.host=127.0.0.1\n')
    more = [f'jetty.http.port={place.port}', 'jetty.http.idleTimeout=1000']
    start = [
        '-jar',
        require('/usr/share/jetty9/start.jar'),
        'jetty.home=/usr/share/jetty9',
        f'jetty.base={place.folder}',
        *more,
    ]
    return Program([require('java'), '-Xmx128m', f'-Djava.io.tmpdir={place.folder}', *start], None, place.environment())


def application(place: Place) -> Program:
    """What is behind those that have an application behind them: it keeps its connections."""
    return _python(str(APPS / 'aiohttp_app.py'), 'PORT', '600')(place._replace(port=place.behind))


UNSEEN = 'the program does not see the chunked body'

SERVERS = [
    Server('nginx', 'nginx', nginx, ('', '-v'), 1, behind=True, quick=True),
    Server('nginx, 100 hosts', 'nginx', nginx_of_hosts, ('', '-v'), hosts=HOSTS, quick=True),
    Server('HAProxy', 'haproxy', haproxy, ('', '-v'), 1, behind=True, quick=True),
    Server('Apache httpd (event)', 'apache2', apache, ('', '-v'), 1, behind=True, quick=True),
    Server('lighttpd', 'lighttpd', lighttpd, ('', '-v'), 1, behind=True),
    Server(
        *('Varnish', 'varnishd', varnish, ('', '-V'), 1),
        behind=True,
        known={'header_sent': 'it ends the connection without an answer'},
    ),
    Server('Caddy', 'caddy', caddy, ('', 'version'), 1, behind=True),
    Server('Squid', 'squid', squid, ('', '-v'), 1, 'http', behind=True),
    Server('tinyproxy', 'tinyproxy', tinyproxy, ('', '-v'), 0, 'http', behind=True, quick=True),
    Server(
        'microsocks', 'microsocks', microsocks, ('dpkg-query', '-W', 'microsocks'), 0, 'socks5', behind=True, quick=True
    ),
    Server('Dante', 'danted', dante, ('dpkg-query', '-W', 'dante-server'), 0, 'socks5', behind=True),
    Server('gunicorn sync', 'gunicorn', _gunicorn('-k', 'sync')),
    Server('gunicorn gthread', 'gunicorn', _gunicorn('-k', 'gthread', '--threads', '4'), (), 1, quick=True),
    Server('gunicorn gevent', 'gunicorn', _gunicorn('-k', 'gevent'), (), 1),
    Server(
        'uvicorn',
        'uvicorn',
        _python(
            *('-m', 'uvicorn', 'asgi_app:app', '--port', 'PORT', '--timeout-keep-alive', '1'),
            *('--no-access-log', '--log-level', 'warning'),
        ),
        (),
        1,
        quick=True,
    ),
    Server(
        *(
            'hypercorn',
            'hypercorn',
            _python('-m', 'hypercorn', '-b', '127.0.0.1:PORT', '--keep-alive', '1', 'asgi_app:app'),
        ),
        *((), 1),
        known={'refused': 'it reads nothing more over a connection whose last body the program has not read'},
    ),
    Server(
        'granian',
        'granian',
        _python('-m', 'granian', '--interface', 'asgi', '--port', 'PORT', 'asgi_app:app', reload=signal.SIGHUP),
    ),
    Server('waitress', 'waitress', _wsgi('waitress'), (), 1),
    Server('cheroot', 'cheroot', _wsgi('cheroot'), (), 1),
    Server('Twisted', 'twisted', _wsgi('twisted'), (), 1, known={'chunked': UNSEEN}),
    Server('aiohttp', 'aiohttp', _python(str(APPS / 'aiohttp_app.py'), 'PORT', '1'), (), 1, quick=True),
    Server('Node', 'node', node, ('', '--version'), 1),
    Server('werkzeug', 'werkzeug', _wsgi('werkzeug')),
    Server('Django runserver', 'django', _wsgi('django'), known={'chunked': UNSEEN}),
    Server('wsgiref', 'python3', _wsgi('wsgiref'), ('', '--version'), known={'chunked': UNSEEN}),
    Server('gevent pywsgi', 'gevent', _wsgi('pywsgi')),
    Server(
        'Tomcat',
        '/usr/share/tomcat10/bin/bootstrap.jar',
        tomcat,
        ('java', '-cp', '/usr/share/tomcat10/lib/catalina.jar', 'org.apache.catalina.util.ServerInfo'),
        1,
    ),
    Server('Jetty', '/usr/share/jetty9/start.jar', jetty, ('dpkg-query', '-W', 'jetty9'), 1),
    Server('Go net/http', 'go', golang, ('', 'version'), 1),
]
