"""What the election example guarantees holds; what it says that it does not, it shows."""

import pytest
from kvclient import Client, KeyValue

from examples import leader_election as election
from examples.leader_election import HEARTBEAT, JOURNAL, LEADER, SILENCE_S, Candidate, Leadership
from kvstore.testing.in_process import InProcessCluster
from tests.examples.running import run

LONG_S = SILENCE_S + 0.1


@pytest.mark.e2e
def test_a_leader_that_dies_or_freezes_is_replaced() -> None:
    ended = run("leader_election.py")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    for said in ("with SIGKILL", "with SIGSTOP", "leads in term 3", "its next line is refused, so it follows"):
        assert said in ended.stdout
    assert ended.stdout.splitlines()[-1] == "done: every term had one leader, and no leader of yesterday wrote anything"


def value(client: Client, key: str) -> bytes | None:
    found = client.get(key)
    return found and found.value


def lead(candidate: Candidate, *, now: float = 0.0) -> None:
    """Look, and look again: nothing has changed, so campaign."""
    candidate.step(now)
    candidate.step(now + LONG_S)


@pytest.mark.kv_cluster(nodes=1)
def test_of_those_that_saw_no_leader_one_is_elected(kv_client: Client) -> None:
    ada, bob = Candidate(kv_client, "Ada"), Candidate(kv_client, "Bob")
    for candidate in (ada, bob, ada, bob):
        candidate.step(0.0)
    assert ada.leads == Leadership(1, "Ada")
    assert bob.leads is None
    assert value(kv_client, LEADER) == b"1 Ada"


@pytest.mark.kv_cluster(nodes=1)
def test_a_leader_whose_heart_beats_is_left_alone(kv_client: Client) -> None:
    ada, bob = Candidate(kv_client, "Ada"), Candidate(kv_client, "Bob")
    lead(ada)
    for turn in range(5):
        ada.step(0.0)
        assert value(kv_client, HEARTBEAT) == f"1 {turn}".encode()
        bob.step(LONG_S * turn)
        bob.step(LONG_S * turn + SILENCE_S)
    assert bob.leads is None


@pytest.mark.kv_cluster(nodes=1)
def test_a_silent_one_is_replaced_and_can_do_nothing_more(kv_client: Client) -> None:
    """For a moment two believe to lead; only one can act on it."""
    ada, bob = Candidate(kv_client, "Ada"), Candidate(kv_client, "Bob")
    lead(ada)
    ada.step(0.0)
    lead(bob)
    assert ada.leads == Leadership(1, "Ada")
    assert bob.leads == Leadership(2, "Bob")
    bob.step(0.0)
    ada.step(0.0)
    assert ada.leads is None
    assert [kv.key.decode() for kv in kv_client.get_prefix(JOURNAL)] == [
        f"{JOURNAL}000001/000000",
        f"{JOURNAL}000002/000000",
    ]
    assert value(kv_client, HEARTBEAT) == b"2 0"
    ada.step(0.0)
    assert ada.leads is None


@pytest.mark.kv_cluster(nodes=1)
def test_a_heartbeat_between_the_last_look_and_the_campaign_defeats_it(kv_client: Client) -> None:
    ada, bob = Candidate(kv_client, "Ada"), Candidate(kv_client, "Bob")
    lead(ada)
    bob.step(0.0)
    beat_just_now = kv_client.get

    def get(key, **options):  # type: ignore[no-untyped-def]
        found = beat_just_now(key, **options)
        if key == HEARTBEAT:
            ada.step(0.0)
        return found

    with Client(kv_client.endpoints) as other:
        bob._client = other
        other.get = get  # type: ignore[method-assign]
        bob.step(LONG_S)
    assert bob.leads is None
    assert value(kv_client, LEADER) == b"1 Ada"


@pytest.mark.kv_cluster(nodes=1)
def test_who_did_not_hear_of_its_own_victory_finds_it(kv_client: Client) -> None:
    kv_client.put(LEADER, "7 Ada")
    ada = Candidate(kv_client, "Ada")
    ada.step(0.0)
    assert ada.leads == Leadership(7, "Ada")


def test_the_election_goes_on_when_the_node_that_leads_the_store_dies(
    kv_cluster: InProcessCluster, kv_client: Client
) -> None:
    ada, bob = Candidate(kv_client, "Ada"), Candidate(kv_client, "Bob")
    lead(ada)
    kv_cluster.kill(kv_cluster.leader())
    kv_cluster.leader()
    kv_cluster.wait_serving()
    kv_client.get(LEADER, timeout=30)
    lead(bob)
    assert bob.leads == Leadership(2, "Bob")


def line(term: int, author: str, *, revision: int) -> KeyValue:
    key = f"{JOURNAL}{term:06}/{revision:06}".encode()
    return KeyValue(key=key, value=author.encode(), create_revision=revision, mod_revision=revision, version=1, lease=0)


def test_the_check_of_the_journal_finds_what_must_not_be() -> None:
    good = (line(1, "Ada", revision=2), line(2, "Bob", revision=3))
    election.check(good)
    with pytest.raises(SystemExit, match="term 1 went on after term 2 had begun"):
        election.check((*good, line(1, "Ada", revision=4)))
    with pytest.raises(SystemExit, match="both b'Bob' and b'Cyd' wrote in term 2"):
        election.check((*good, line(2, "Cyd", revision=4)))
