"""What to test a program with that talks to servers: real ones on loopback, that answer, hold, or break.

clock       a clock that goes when it is told to
serving     serve: a server for a handler or for a WSGI application, and how the two are told apart
apps        servers of WSGI applications, under gevent's pywsgi
faults      servers that play scripts of bytes
server      the listening socket, its connections, and what is answered; imports gate, peer and steps
gate        what holds requests and counts them
peer        one connection, and one request, as the server has them
steps       what scripts are made of

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
