"""Who hears whom: the graphs of a few nodes, their symmetries, and the shapes that broke other systems.

A lane (sender, to) carries messages one way. A node has a quorum where it has lanes both ways to a majority, itself
included. The named shapes are those of "Omni-Paxos: Breaking the Barriers of Partial Connectivity" (EuroSys 2023).
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["NAMED", "Graph", "all_graphs", "directed_graphs", "parse", "symmetric_graphs", "up_to_symmetry"]


@dataclass(frozen=True, slots=True)
class Graph:
    """``leader`` leads when the links break; ``behind`` are cut off first and miss what is decided meanwhile."""

    nodes: int
    lanes: tuple[tuple[int, int], ...]
    leader: int = 1
    behind: tuple[int, ...] = ()
    name: str = ""

    def __str__(self) -> str:
        """``5:1-2,3>4`` has a link between 1 and 2, and a lane from 3 to 4."""
        kept = dict.fromkeys(self.lanes)
        parts = [f"{a}-{b}" for a, b in self.lanes if a < b and (b, a) in kept]
        parts += [f"{a}>{b}" for a, b in self.lanes if (b, a) not in kept]
        return f"{self.nodes}:{','.join(parts)}"

    @property
    def with_quorum(self) -> tuple[int, ...]:
        kept = dict.fromkeys(self.lanes)
        majority = self.nodes // 2 + 1
        return tuple(
            node
            for node in range(1, self.nodes + 1)
            if 1 + sum((node, peer) in kept and (peer, node) in kept for peer in range(1, self.nodes + 1)) >= majority
        )


def parse(text: str) -> Graph:
    """What ``str`` of a graph says. Raises ValueError."""
    size, _, links = text.partition(":")
    nodes = int(size)
    lanes: dict[tuple[int, int], None] = {}
    for link in filter(None, links.split(",")):
        one, sign, other = link.partition("-") if "-" in link else link.partition(">")
        a, b = int(one), int(other)
        if not sign or a == b or not (1 <= a <= nodes and 1 <= b <= nodes):
            raise ValueError(f"{link!r} is no link between two of {nodes} nodes")
        lanes[a, b] = None
        if sign == "-":
            lanes[b, a] = None
    return Graph(nodes, tuple(sorted(lanes)))


def symmetric_graphs(nodes: int) -> Iterator[Graph]:
    """All ways in which the links between ``nodes`` can be whole or cut."""
    links = list(itertools.combinations(range(1, nodes + 1), 2))
    for kept in itertools.product((False, True), repeat=len(links)):
        both = [lane for (a, b), is_kept in zip(links, kept, strict=True) if is_kept for lane in ((a, b), (b, a))]
        yield Graph(nodes, tuple(sorted(both)))


def directed_graphs(nodes: int) -> Iterator[Graph]:
    """All ways in which the lanes between ``nodes`` can be whole or cut."""
    lanes = list(itertools.permutations(range(1, nodes + 1), 2))
    for kept in itertools.product((False, True), repeat=len(lanes)):
        yield Graph(nodes, tuple(lane for lane, is_kept in zip(lanes, kept, strict=True) if is_kept))


def all_graphs() -> Iterator[Graph]:
    """The 1,024 symmetric ones of five nodes, and the 64 directed ones of three."""
    yield from symmetric_graphs(5)
    yield from directed_graphs(3)


def up_to_symmetry(graphs: Iterator[Graph]) -> Iterator[Graph]:
    """The first of each class whose members differ only in how the nodes that did not lead are numbered."""
    seen: dict[tuple[int, tuple[tuple[int, int], ...]], None] = {}
    for graph in graphs:
        key = (graph.nodes, _canonical(graph))
        if key not in seen:
            seen[key] = None
            yield graph


def _canonical(graph: Graph) -> tuple[tuple[int, int], ...]:
    others = [node for node in range(1, graph.nodes + 1) if node != graph.leader]
    forms = []
    for order in itertools.permutations(others):
        rename = {graph.leader: graph.leader, **dict(zip(others, order, strict=True))}
        forms.append(tuple(sorted((rename[a], rename[b]) for a, b in graph.lanes)))
    return min(forms)


def _links(nodes: int, *links: tuple[int, int], name: str, behind: tuple[int, ...] = ()) -> Graph:
    lanes = tuple(sorted(lane for a, b in links for lane in ((a, b), (b, a))))
    return Graph(nodes, lanes, behind=behind, name=name)


NAMED: Final = {
    graph.name: graph
    for graph in (
        # Everybody reaches node 2 and nobody else: the leader, 1, has lost its quorum and still hears somebody.
        _links(5, (1, 2), (2, 3), (2, 4), (2, 5), name="quorum-loss"),
        # The leader is gone, and the only one that can be elected is the one whose log is behind.
        _links(5, (2, 3), (2, 4), (2, 5), name="constrained-election", behind=(2,)),
        # The ends of a chain do not hear each other, and one of them leads: it must not be deposed for ever and again.
        _links(3, (1, 2), (2, 3), name="chained"),
    )
}
