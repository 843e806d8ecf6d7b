"""The WSGI application, which all servers of that kind run: `python wsgi_app.py SERVER PORT` runs it in one of some."""

import sys
import time
from http import HTTPStatus

import ledger


def app(environ, start_response):
    """Answer as `ledger` says, and write it down."""
    kind, request = ledger.parts(environ['PATH_INFO'])
    ledger.begin(request)
    body = b'' if kind == 'refuse' else _body(environ)
    time.sleep(ledger.WORK_SECONDS)
    status, fields, content = ledger.answer(kind, request, body)
    if status != 204:
        fields = [*fields, ('Content-Length', str(len(content)))]
    ledger.end(request)
    start_response(f'{status} {HTTPStatus(status).phrase}', fields)
    return [] if environ['REQUEST_METHOD'] == 'HEAD' else [content]


def _body(environ):
    """The body, as far as the server tells where it ends."""
    length = environ.get('CONTENT_LENGTH')
    if length:
        return environ['wsgi.input'].read(int(length))
    return environ['wsgi.input'].read() if environ.get('wsgi.input_terminated') else b''


def _wsgiref(port):
    from wsgiref.simple_server import WSGIRequestHandler, make_server

    WSGIRequestHandler.log_message = lambda *_: None
    make_server('127.0.0.1', port, app).serve_forever()


def _werkzeug(port):
    from werkzeug.serving import run_simple

    run_simple('127.0.0.1', port, app, threaded=True)


def _pywsgi(port):
    from gevent.monkey import patch_all

    patch_all()
    from gevent.pywsgi import WSGIServer

    WSGIServer(('127.0.0.1', port), app, log=None).serve_forever()


def _twisted(port):
    from twisted.internet import reactor
    from twisted.web.server import Site
    from twisted.web.wsgi import WSGIResource

    # With a timeout of a second for a connection that is idle.
    site = Site(WSGIResource(reactor, reactor.getThreadPool(), app), timeout=1)
    reactor.listenTCP(port, site, interface='127.0.0.1')
    reactor.run()


def _waitress(port):
    from waitress import serve

    serve(app, listen=f'127.0.0.1:{port}', channel_timeout=1, cleanup_interval=1, threads=8)


def _cheroot(port):
    from cheroot.wsgi import Server

    Server(('127.0.0.1', port), app, timeout=1, shutdown_timeout=2).safe_start()


def _django(port):
    import django
    from django.conf import settings
    from django.core.management import call_command

    settings.configure(DEBUG=False, ALLOWED_HOSTS=['*'], ROOT_URLCONF='wsgi_app', WSGI_APPLICATION='wsgi_app.app')
    django.setup()
    call_command('runserver', f'127.0.0.1:{port}', use_reloader=False, skip_checks=True)


urlpatterns = []  # of Django

if __name__ == '__main__':
    {
        'wsgiref': _wsgiref,
        'werkzeug': _werkzeug,
        'pywsgi': _pywsgi,
        'twisted': _twisted,
        'waitress': _waitress,
        'cheroot': _cheroot,
        'django': _django,
    }[sys.argv[1]](int(sys.argv[2]))
