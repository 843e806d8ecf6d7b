"""The servers that the examples of the documentation ask, and the names by which they are asked.

names    a resolver of gevent that knows the names
answers  what they answer
queues   the services of the page on queues: Zaqar and Keystone
serving  one listening socket for all of them: HTTP, TLS and a proxy

``napix demo --serve`` starts them. A process in whose environment ``GEVENT_RESOLVER`` is ``napixclient.demo.Names``
reaches them by name. ``ca.pem`` is the authority of their certificates; its key was thrown away, and it is for names in
``.example`` only. The key in ``server.pem`` is no secret.
"""

from .names import Names

__all__ = ['Names']
