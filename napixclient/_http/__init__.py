"""The engine: the way of a request, from top to bottom. ``docs/design.rst`` draws it.

origins        the directory of a pool: the pools of its origins
origin_pool    one origin: its queue, and which request goes over which connection
growth         when another connection is opened, and for which request
in_flight      requests that have a connection: signed, sent, answered, broken off
signing        requests that are with their authenticator
answering      a request that keeps its slot while a challenge is answered
completion     acts on verdicts, and sets outcomes
core           what all origins of a pool share, and how a pool ends
preparer       turns a request into bytes: authenticator, cookies, fields that are propagated
outcomes       judges an answer or a failure: final, again, elsewhere, or for a greenlet
challenges     who is asked about a challenge, and how often
retrying       whether a request is tried again, and when
redirecting    where a redirect leads, and what goes there
request_queue  the requests that wait
throttle       how much may be sent, and when
pacing         token buckets: rates, and the budget for retries
adapting       caps that are learned
reuse          whether a used connection may carry another request
figures        what is counted for ``stats()``
spans          the span of a request
slots          the one ledger: who has a connection, which are idle and for how long, who waits
clock          deadlines, and the sweep that ends what is overdue
exchange       what the engine needs of a protocol: HTTP/1.1 has it, HTTP/2 would be a second
connect        opens connections: names, addresses, proxies, TLS
http1          HTTP/1.1: one connection, requests written, answers read
streaming      streamed answers, as their callers have them
body_stream    a streamed body, between the loop and its reader
event_stream   server-sent events, over as many answers as it takes
continuation   asks for what follows a streamed answer
following      what follows a streamed answer, as those who ask for it know it: protocols
saving         a body into a file
part_file      what has come of a body that may go on
own_files      files that are written by one process alone, also after a fork
resuming       goes on with a range of what broke off
decoding       content codings
cookies        adapts ``http.cookiejar`` to our messages
settings       the options: defaults and checks
options        the options: types and meanings
tls_context    the TLS context that the options stand for
gevent_types   what is used of gevent's loop and of sockets, for the type checker
pending        the one outcome of a request, and those who wait for it
interrupting   Ctrl-C while a pool is open
"""
