"""Measures this store, by itself (``python -m benchmarks``) and beside others (``python -m benchmarks.compare``).

How a figure comes about, and why it may be believed:

- **Servers are real**: processes of their own with their own disks, on loopback, stopped and killed as an operator
  would. ``stores`` has one class for each kind of cluster, all with the same face.
- **Load comes from processes of its own**, one for each store and client library, so that none shares an interpreter
  with another or with who measures. ``drivers`` has them; all run the same loops over a library's public calls.
- **Rounds alternate**: every store is measured within seconds of every other, several times over; medians are quoted,
  and ratios rather than absolute figures, because machines differ and move.
- **Raw results are kept** in ``results``, with what the machine and the versions were; what the page says is written
  from these files, by ``page`` and ``charts``, and never by hand.

``measures`` has what is measured, ``sizes`` how much of it. Linux only: processor time and memory come from /proc.
"""
