"""The logger of the package, which prints nothing unless a program configures it."""

import logging

__all__ = ['log']

log = logging.getLogger('napixclient')
log.addHandler(logging.NullHandler())
