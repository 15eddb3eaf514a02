"""Simulated workers of the mock provider: bots and replayed recordings, over the same HTTP and sockets as people's browsers."""
