"""Nothing that was acknowledged is lost, whoever is killed, when, and however often."""

from pathlib import Path

import pytest

from kvstore.server.failpoints import POINTS
from tests.e2e.kill_loop import KillLoop, Report

pytestmark = pytest.mark.e2e


def check_coverage(report: Report, *, kills: int) -> None:
    """That the loop did what its name says; what it found is asserted within."""
    assert report.kills == kills
    assert report.leader_kills * 3 >= kills
    assert report.at_points.total() + report.points_not_reached == kills // 2
    assert report.points_not_reached <= kills // 20
    assert set(report.at_points) == set(POINTS)
    assert report.whole_cluster_kills == kills // 20
    assert report.in_flight_min >= 64
    assert report.acknowledged > 100 * kills, "a load that is hardly there proves little"


def test_twenty_kills_under_load_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    report = KillLoop(tmp_path, kills=20, seed=20).run()

    print(*report.lines(), sep="\n")
    check_coverage(report, kills=20)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_two_hundred_kills_under_load_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    report = KillLoop(tmp_path, kills=200, seed=200).run()

    print(*report.lines(), sep="\n")
    check_coverage(report, kills=200)
