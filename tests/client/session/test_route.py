"""Whom to connect to: rounds, pauses, and leaders that may not be where they say."""

from random import Random

from kvclient.session.route import MISLED_ENDPOINT_S, MISLED_S, Route


def route(*endpoints: str, first: int = 0) -> Route:
    return Route(endpoints, first=first, rng=Random(1))


def test_the_first_round_has_no_pause_and_the_next_ones_longer_ones():
    going = route("a:1", "b:1", "c:1")
    visited, pauses = [], []
    for _ in range(30):
        visited.append(going.endpoint)
        pauses.append(going.failed(going.endpoint))
    assert visited[:4] == ["a:1", "b:1", "c:1", "a:1"]
    assert pauses[:2] == [0.0, 0.0]
    assert 0.01 <= pauses[2] <= 0.02
    assert 0.02 <= pauses[5] <= 0.04
    assert 0.5 <= pauses[-1] <= 1.0, "and never longer"
    going.opened("b:1")
    assert (going.endpoint, going.failed("b:1"), going.endpoint) == ("b:1", 0.0, "c:1")


def test_an_endpoint_that_was_moved_to_is_not_the_one_that_failed():
    going = route("a:1", "b:1")
    assert going.failed("elsewhere:1") == 0.0
    assert going.endpoint == "a:1"


def test_one_endpoint_is_tried_again_after_a_pause():
    going = route("a:1")
    assert going.failed("a:1") > 0
    assert going.endpoint == "a:1"


def test_the_leader_is_where_its_clients_connect():
    going = route("a:1", "b:1", first=1)
    assert going.index == 1

    def lead(*urls: str, now: float = 0.0) -> str | None:
        return going.to_leader(urls, connected="a:1", now=now)

    assert lead("http://elsewhere:1", "http://b:1") == "b:1", "an endpoint that was given comes first"
    assert lead("http://elsewhere:1/") == "elsewhere:1"
    assert lead() is lead("http://a:1") is lead("https://b:1") is lead("unix:x") is None
    for address, seconds in (("b:1", MISLED_ENDPOINT_S), ("elsewhere:1", MISLED_S)):
        going.misled(address, now=5.0)
        assert lead(address, now=5.0) is lead(address, now=4.9 + seconds) is None
        assert lead(address, now=5.0 + seconds) == address


def test_what_misled_is_forgotten_before_it_is_too_much():
    going = route("a:1")
    for number in range(10_000):
        going.misled(f"h{number}:1", now=0.0)
    assert len(going._misled) <= 64
