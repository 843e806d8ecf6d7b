"""What the worker takes from Celery."""

from typing import Any

class Celery:
    def __init__(self, main: str, **options: Any) -> None: ...
    def __getattr__(self, name: str) -> Any: ...
