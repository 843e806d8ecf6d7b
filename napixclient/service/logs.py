"""Log records on standard error: as lines for people, or as JSON."""

from __future__ import annotations

import json
import logging
import sys
import time

from ..masking import sentence

__all__ = ['escaped', 'set_up']

#: What a terminal obeys, or a reader takes for another line, or for other text than it is.
_ESCAPES = {
    number: f'\\x{number:02x}' if number < 256 else f'\\u{number:04x}'
    for number in (
        *range(32),
        *range(127, 160),
        *range(0x200B, 0x2010),
        *range(0x2028, 0x202F),
        *range(0x2066, 0x206A),
        0xFEFF,
    )
}
_ESCAPES_OF_LINES = {number: text for number, text in _ESCAPES.items() if chr(number) not in '\t\n'}


def escaped(text: str) -> str:
    r"""The text with each control character escaped, as ``\x1b``: peers choose what stands in a log."""
    return text.translate(_ESCAPES)


class _Lines(logging.Formatter):
    def __init__(self) -> None:
        super().__init__('%(asctime)s %(levelname)s %(message)s')

    def formatMessage(self, record: logging.LogRecord) -> str:
        return escaped(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        return sentence(super().format(record)).translate(_ESCAPES_OF_LINES)  # a traceback has lines


class _JSON(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        seconds, ms = divmod(int(record.created * 1000), 1000)
        document = {
            'time': f'{time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))}.{ms:03}Z',
            'level': record.levelname.lower(),
            'logger': record.name,
            'message': sentence(record.getMessage()),
            **getattr(record, 'fields', {}),
        }
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
