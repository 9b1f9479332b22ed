"""A deterministic simulator: the production code on a simulated clock, network and disk, judged at every step.

**What is real**: ``kvstore.paxos``, ``kvstore.replica`` (the same turn that the server's node loop performs),
``kvstore.mvcc`` on SQLite in memory, the encoding of what is decided, and the acceptor log's contract. **What is
simulated**: time, the network between nodes and clients, disks, processes and their deaths.

**What is left out**: the wire's encoding between nodes (messages travel as objects), gRPC, files: what a disk may do to
bytes is the business of ``tests/storage``. Logs are never cut and no snapshot is streamed (``unlearnable`` has what
follows from that). Membership changes come from the simulator, as long as the API has none.

A run from a seed, with everything drawn from it::

    simulation = Simulation(seed)                                   # nothing happens yet
    simulation = Simulation(seed, SimulationConfig.draw(seed, nodes=(5,), kinds=(FaultKind.CRASH,)))
    report = simulation.run()                                       # or: while simulation.step(): ...

``run`` and ``step`` raise ``LawBroken`` (``law``, ``detail``, ``seed``, ``at``, ``events``; its text tells the story).
A ``Report`` has the counters: events, counts by kind of event, operations, faults fired by kind, checks by law,
simulated seconds. ``simulation.config.plan`` is the list of faults; a run with fewer of them is
``Simulation(seed, replace(simulation.config, plan=shorter))``: the rest of the run's chance is not disturbed.

Listening: ``simulation.trace.subscribe(listener)`` before the first step; ``listener`` gets every event
(``kvstore.testing.sim.events``: messages sent, delivered, dropped, duplicated; commits started, persisted, lost;
timers; slots decided and applied; leadership; processes started, crashed, paused; links; faults; clients' calls), in
order. ``narrate(event)`` is its one line of text. The same seed gives the same lines, byte for byte, in every process.

Looking: ``simulation.world`` is the ``World``: ``scheduler.now``, ``processes[node_id]`` (``condition``, ``status()``,
``store``), ``leader()``, ``consensus`` (``chosen``, ``decided``, ``logs``), ``ledger.checked``, ``history()``.

A story by hand::

    world = World(seed, WorldConfig(nodes=3))                       # a world without faults
    world.start()
    assert world.run_until(lambda: world.leader() is not None, within_s=world.config.liveness_bound_s)
    client = world.client("alice")
    client.run(script)                                              # see ``kvstore.testing.sim.clients``
    world.crash(1); world.restart(1); world.pause(2); world.resume(2)
    world.cut(1, 2); world.cut_both(1, 2); world.isolate(3); world.partition((1,), (2, 3)); world.connect_only(lanes)
    world.heal()
    world.run_for(seconds); world.check_histories()

``world.processes[1].inject(lambda replica, now: ...)`` makes any input of the replica happen at its next turn.
"""

from kvstore.testing.sim.events import Event
from kvstore.testing.sim.faults import Fault, FaultKind
from kvstore.testing.sim.laws import LAWS, LawBroken
from kvstore.testing.sim.narrate import narrate
from kvstore.testing.sim.simulation import Report, Simulation, SimulationConfig
from kvstore.testing.sim.world import World, WorldConfig

__all__ = [
    "LAWS",
    "Event",
    "Fault",
    "FaultKind",
    "LawBroken",
    "Report",
    "Simulation",
    "SimulationConfig",
    "World",
    "WorldConfig",
    "narrate",
]
