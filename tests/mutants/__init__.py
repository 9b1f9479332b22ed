"""Is the simulator worth its trust? Each mutant is a mistake that somebody could make; every one must be caught.

- ``mutant``: a mistake, and how it is planted. ``hunt``: the search for a seed that shows it.
- ``consensus``, ``durability``, ``replication``, ``leases``: the mistakes, by room.
- ``python -m tests.mutants`` hunts them all from the first seed on and writes ``caught.json`` and the table of
  ``docs/testing.md``; the tests repeat each catch by its recorded seed.
"""
