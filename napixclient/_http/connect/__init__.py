"""Opens connections: names, addresses, proxies, TLS.

dialer            those that are being opened, so many at a time: on the loop, or in a greenlet
connector         the steps of one, in a greenlet: name, TCP, proxy, TLS; foreign errors become ours
name_cache        addresses of names, kept for the time to live (TTL) that the resolver returns
resolvers         the resolvers that come with us: c-ares, and the system's in a thread
nss               which names need the system's resolver
threads           threads for calls that nobody can interrupt
attempts          the addresses that are tried for one
happy_eyeballs    one of several addresses, raced (RFC 8305)
local_end         our own end: source address and ports, socket options
unix_sockets      Unix sockets
proxies           which proxy, by the options, and which answers are its own; no I/O
proxy_signing     proves to a proxy who asks
tunnels           tunnels through a proxy, which may ask who wants one
proxy_handshakes  how a proxy is asked: CONNECT, SOCKS5
tls               handshakes and the checking of names
sessions          sessions of TLS, to resume on reconnection
tls_in_tls        TLS through an https proxy
"""
