"""The package's logger, which is silent unless told."""

import logging

__all__ = ['log']

log = logging.getLogger('napixclient')
log.addHandler(logging.NullHandler())
