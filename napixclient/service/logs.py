"""Log records on standard error: as lines for people, or as JSON. Imports masking."""

from __future__ import annotations

import json
import logging
import sys
import time

from ..masking import sentence

__all__ = ['set_up']


class _Lines(logging.Formatter):
    def __init__(self) -> None:
        super().__init__('%(asctime)s %(levelname)s %(message)s')

    def format(self, record: logging.LogRecord) -> str:
        return sentence(super().format(record))


class _JSON(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        seconds, ms = divmod(int(record.created * 1000), 1000)
        document = {'time': f'{time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))}.{ms:03}Z',
                    'level': record.levelname.lower(), 'logger': record.name, 'message': sentence(record.getMessage()),
                    **getattr(record, 'fields', {})}
        if record.exc_info:
            document['traceback'] = sentence(self.formatException(record.exc_info))
        return json.dumps(document)


def set_up(as_json: bool) -> None:
    """Have the records of the library, from INFO on, written to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JSON() if as_json else _Lines())
    logger = logging.getLogger('napixclient')
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
