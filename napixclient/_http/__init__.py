"""The engine. One request goes one way through it:

dispatch    the queue of one origin: which request goes over which connection
engine      what all connections of a pool share: caps, clocks, the list of who waits, the fork
dialling    one connection that is being opened: on the loop, or in a greenlet
opening     name, TCP and TLS, by urllib3 over gevent sockets -> a socket
connection  one socket, a state machine on the loop: writes a request, reads an answer, takes the next
wire        bytes <-> messages, no I/O
decoding    content codings, bounded, no I/O
bodies      streamed answers and uploads
retrying    whether a request is tried again, and when: urllib3.Retry decides
pending     the one outcome of a request, and those who wait for it
settings    the options, checked once

Imports messages and errors only.
"""
