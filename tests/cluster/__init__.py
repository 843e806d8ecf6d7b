"""The cluster over a real broker, real workers and servers that count, each a process of its own."""
