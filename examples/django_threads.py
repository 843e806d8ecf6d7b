"""A Django view in gunicorn's gthread worker: all threads share one pool, and with it the caps and the connections.

    python examples/django_threads.py --port 8007 --hosts 127.0.0.1:8001,127.0.0.1:8004

is the same as

    gunicorn -k gthread --threads 16 --bind 127.0.0.1:8007 --chdir examples \
        'django_threads:make_app("127.0.0.1:8001,127.0.0.1:8004")'
"""

from __future__ import annotations

import os
import sys

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path

from napixclient.threads import SharedPool

urlpatterns = []


def make_app(hosts: str):
    """The application; `hosts` are asked for a virtual machine each."""
    pool = SharedPool(timeout=10)

    def fan_out(request):
        answers = list(pool.stream((host, 'POST', '/vms/', {'size': 1}) for host in hosts.split(',')))
        failed = any(answer.status != 201 for answer in answers)
        return JsonResponse({answer.request.host: answer.status for answer in answers}, status=502 if failed else 201)

    urlpatterns.append(path('', fan_out))
    settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=['127.0.0.1', 'localhost'])
    return get_wsgi_application()


if __name__ == '__main__':
    from serving import options

    given = options(__doc__, hosts='127.0.0.1:8001,127.0.0.1:8004')
    # The process becomes gunicorn's, whose workers import this file.
    os.execv(
        sys.executable,
        [
            sys.executable,
            *('-m', 'gunicorn', '-k', 'gthread', '--threads', '16', '--bind', f'127.0.0.1:{given.port}'),
            *('--chdir', os.path.dirname(os.path.abspath(__file__)), f'django_threads:make_app({given.hosts!r})'),
        ],
    )
