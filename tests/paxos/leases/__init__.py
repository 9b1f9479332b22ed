"""Reads by a lease: nobody is asked, and still none is stale (L7, L14). The judge of the world decides what is stale.

In most stories the leader is cut off while its lease runs, the others hurry to elect another one, which decides a
write; a read that arrives at the old leader after that must not be answered. Time is told by each node's own clock.
"""
