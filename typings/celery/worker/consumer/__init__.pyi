from typing import Any

class Consumer:
    app: Any
    connection: Any
    def on_connection_error_after_connected(self, exc: BaseException) -> None: ...
