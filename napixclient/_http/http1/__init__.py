"""HTTP/1.1 (RFC 9112): one connection, what goes over it, and what comes."""
