from typing import Any

from gevent.pywsgi import WSGIHandler

class WebSocketHandler(WSGIHandler):
    websocket: Any
    def upgrade_connection(self) -> Any: ...
    def run_websocket(self) -> None: ...
