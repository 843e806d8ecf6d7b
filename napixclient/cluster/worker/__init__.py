"""``napix worker``: sends the requests of its lanes, within its cap, and says what became of them.

program     the worker as a program: from its start to its exit code
app         the Celery application, and the one task
consumer    what Celery's consumer does in addition: Prefetch, Fence, Watch, Drain
listening   hears what is said to all workers
fence       that a connection still holds its lanes is proved over the connection itself
asking      sends the requests of a batch
withdrawn   which requests are not to be sent any more
signing     signs them in the name of who submitted them
saying      groups what is said to submitters
"""
