"""A Django view that asks another server, with its settings in the same file.

python examples/django_view.py --port 8004 --storage 127.0.0.1:8002
gunicorn -k gevent --chdir examples 'django_view:make_app("127.0.0.1:8002")'
"""

from __future__ import annotations

if __name__ == '__main__':
    from gevent import monkey

    monkey.patch_all()

import json

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path
from django.views.decorators.http import require_POST

from napixclient import Client
from napixclient.wsgi import ExceptionsCatcher

urlpatterns = []


def make_app(storage: str) -> ExceptionsCatcher:
    """The application; `storage` is who it asks for volumes."""
    client = Client(storage, timeout=10)

    @require_POST
    def create(request):
        volume = client.request('POST', '/volumes/', {'size': json.loads(request.body)['size']}).body
        return JsonResponse({'vm': 'vm17', 'volume': volume['name']}, status=201)

    urlpatterns.append(path('vms/', create))
    settings.configure(
        # Without this, Django answers "Server Error (500)" before anybody sees the exception.
        DEBUG_PROPAGATE_EXCEPTIONS=True,
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=['127.0.0.1', 'localhost'],
    )
    return ExceptionsCatcher(get_wsgi_application())


if __name__ == '__main__':
    from serving import options, serve

    given = options(__doc__, storage='127.0.0.1:8002')
    serve(make_app(given.storage), given.port)
