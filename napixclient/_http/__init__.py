"""The engine: the parts that a request goes through, on its one way.

dispatch    one origin: which request goes over which connection
sending     what goes out: the authenticator, the cookies, the bytes
queueing    the requests that wait for one origin, how fast they may go out and how many at a time
pacing      rates and the retry budget: token buckets, no I/O
adapting    a cap that is learned from the answers, no I/O
engine      what all connections of a pool share: caps, clocks, the list of who waits, the fork
dialling    one connection that is being opened: on the loop, or in a greenlet
opening     name, TCP, proxy and TLS, by urllib3 over gevent sockets -> a socket
racing      all addresses of a name, raced
proxying    what proxy= and no_proxy= mean, and what is said to a proxy
relaying    TLS inside TLS, pumped
connection  one socket, a state machine on the loop: writes a request, reads an answer, takes the next
wire        bytes <-> messages, no I/O
decoding    content codings, bounded, no I/O
bodies      streamed answers and uploads
retrying    whether a request is tried again, and when: urllib3.Retry decides
pending     the one outcome of a request, and those who wait for it
settings    the options, checked once
interrupting  Ctrl-C: the hub prints nothing of it
"""
