from typing import Any

class Blueprint:
    def __getattr__(self, name: str) -> Any: ...

class StartStopStep:
    def __init__(self, parent: Any, **options: Any) -> None: ...
