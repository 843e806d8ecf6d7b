"""What goes wrong with the cluster itself, rather than with a request."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import HTTPError
from ..messages import Request

__all__ = ['ClusterError']


class ClusterError(HTTPError):
    """The cluster cannot do what is asked of it: the broker refuses, or a worker does.

    It is raised once: by ``wait``, or at the end of a loop or a stream, after the outcomes of all other requests. Of
    the requests in ``requests`` nothing was sent, unless the text says otherwise.
    """

    #: The requests that it ended.
    requests: Sequence[Request] = ()
