"""HTTP/1.1 (RFC 9112): one connection, what goes over it, and what comes.

connection   one connection, a state machine on the loop: when it is used, how requests start, how things end
states       its states, and what leads from one to the next: a table
outgoing     what of a request does not go out at once
upload       bodies that are read while they are sent, and files that the system can send by itself
receiver     the answer, read when there is something to read
feed         the body of a streamed answer, on its way to its reader
usage        what a connection was used for: its answers, since when it is quiet, until when it is kept
failures     the errors of a request in flight
transport    the socket and its watchers
writer       requests -> bytes, no I/O
parser       bytes -> answers, by llhttp, no I/O
incoming     the response that is being parsed, as far as it is known
head_buffer  finds the final head in what is received
heads        what a head says: is it valid, where does the body end, how long does the connection live
body_buffer  collects a body, counts it and bounds it
llhttp       errors of llhttp, turned into ours
chunks       chunked bodies that llhttp does not read, no I/O
sized        large bodies of known length, which llhttp does not read either, no I/O
"""
