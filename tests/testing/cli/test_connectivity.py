"""Whoever has a quorum makes progress: in every graph up to symmetry, and in the shapes that broke other systems."""

import pytest

from kvstore.paxos.follower import Follower
from kvstore.testing.cli.connectivity import try_graph
from kvstore.testing.cli.graphs import (
    NAMED,
    Graph,
    all_graphs,
    directed_graphs,
    parse,
    symmetric_graphs,
    up_to_symmetry,
)
from tests.testing.cli.command import invoke

REDUCED = list(up_to_symmetry(all_graphs()))


def test_there_are_as_many_graphs_as_there_should_be() -> None:
    assert len({graph.lanes for graph in symmetric_graphs(5)}) == 1024
    assert len({graph.lanes for graph in directed_graphs(3)}) == 64
    # Graphs of five nodes with one marked, up to isomorphism: the sequence A000666.
    assert sum(graph.nodes == 5 for graph in REDUCED) == 90


def test_a_graph_is_what_its_text_says() -> None:
    for graph in all_graphs():
        again = parse(str(graph))
        assert (again.nodes, again.lanes) == (graph.nodes, tuple(sorted(graph.lanes)))


@pytest.mark.parametrize(
    ("text", "with_quorum"),
    [("5:", ()), ("5:1-2,2-3", (2,)), ("3:1-2", (1, 2)), ("3:1>2,2>3,3>1", ()), ("5:1-2,1-3,4>1,5>1", (1,))],
)
def test_a_quorum_needs_both_ways(text: str, with_quorum: tuple[int, ...]) -> None:
    assert parse(text).with_quorum == with_quorum


@pytest.mark.parametrize("graph", REDUCED, ids=str)
def test_where_a_node_has_a_quorum_there_is_progress_and_elsewhere_nobody_is_answered(graph: Graph) -> None:
    result = try_graph((graph, 1))
    assert not result.mistake, result.mistake
    assert (result.progress_s is not None) == bool(graph.with_quorum)


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("seed", range(1, 6))
def test_a_shape_of_a_partial_partition_costs_one_change_of_leader_at_most(name: str, seed: int) -> None:
    """Quorum loss, constrained election and chains neither stop the cluster nor set it against itself."""
    result = try_graph((NAMED[name], seed))
    assert not result.mistake, result.mistake
    assert result.progress_s is not None
    assert result.progress_s <= result.bound_s
    assert result.leader_changes <= 1


def test_a_cluster_that_never_elects_anybody_again_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake is told with the graph and the command that repeats it; the status is 1."""
    monkeypatch.setattr(Follower, "_stand_if_doubted", lambda _self, _now: None)
    result = invoke("connectivity", "--graph", "quorum-loss")
    assert result.exit_code == 1
    assert "no progress" in result.output
    assert "kv-sim connectivity --graph 'quorum-loss' --seed 1" in result.output


def test_the_table_has_a_line_for_each_named_shape() -> None:
    result = invoke("connectivity", "--graph", "chained")
    assert result.exit_code == 0, result.output
    assert "chained, 3 nodes" in result.output
    assert "there was progress" in result.output
