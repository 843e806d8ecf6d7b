"""The service for gunicorn; docs/howto/service.rst says with which worker."""

from napixclient.service import create_app

app = create_app(store='sqlite:///service.sqlite')
