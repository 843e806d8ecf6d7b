"""Tools to test programs that talk to servers: real servers on loopback that answer, hold requests, or break.

clock       a clock that stands still until a test advances it
serving     serve: a server for a handler or a WSGI application, whichever it is given
apps        servers of WSGI applications, under gevent's pywsgi
faults      servers that play scripts of bytes
server      the listening socket, its connections, and the answers
gate        holds requests and counts them
peer        one connection, and one request, as the server sees them
steps       the steps of scripts

Everything runs on gevent's hub in the process of the test, which may be patched or not. Nothing here needs pytest.
"""

from .clock import FakeClock
from .faults import FaultServer
from .gate import Gate, wait_until
from .peer import Peer, Received
from .server import Server
from .serving import serve
from .steps import ANSWER, CLOSE, FIN, LATER, READ, RST, SILENCE, Drip, Forever, Pause, Script, Step, Wait

__all__ = [
    'ANSWER',
    'CLOSE',
    'Drip',
    'FIN',
    'FakeClock',
    'FaultServer',
    'Forever',
    'Gate',
    'LATER',
    'Pause',
    'Peer',
    'READ',
    'RST',
    'Received',
    'SILENCE',
    'Script',
    'Server',
    'Step',
    'Wait',
    'serve',
    'wait_until',
]
