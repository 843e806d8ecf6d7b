from typing import Any

from . import state as state

class WorkController:
    def __init__(self, **options: Any) -> None: ...
    def start(self) -> None: ...
