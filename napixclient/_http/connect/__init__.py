"""Opens connections: names, addresses, TLS and proxies."""
