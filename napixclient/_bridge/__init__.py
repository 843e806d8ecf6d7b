"""One gevent hub in a native thread of its own, which other threads and event loops give requests.

What crosses the border between them crosses it in groups: a deque each way, and one wake-up for all that is in it.

hub         the hub's thread as its callers hold it: started when it is needed, ended, started anew after a fork
dispatcher  what runs in that thread: takes requests, hands outcomes out
ports       where outcomes go, each woken once for a group of them
batches     requests of one caller, handed out by one wait
threads     native threads as destinations, and the greenlets of a patched process
futures     what a request of a thread returns
waits       what each thread has asked for, and the waits for it
feed        the producing side of a stream of a thread
bodies      streamed answers, read from the other side
"""
