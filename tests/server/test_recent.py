"""Traffic, second by second, on a clock of the test's own."""

from __future__ import annotations

import pytest

from synaptoroute.server.recent import DECISIONS_KEPT, WINDOW_S, Traffic


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.2

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def traffic(clock: Clock) -> Traffic:
    return Traffic(clock, lambda: 1_800_000_000.7)


def test_counts_belong_to_their_second(traffic: Traffic, clock: Clock) -> None:
    traffic.decided([0.9, 0.2, 0.8], 1, 2.0)
    clock.now_s += 1
    traffic.decided([0.7], 0, 2.0)
    traffic.shed(4)
    clock.now_s += 2
    traffic.failed(2)
    found = traffic.to_dict()
    assert found["until"] == 1_800_000_000
    assert found["seconds"]["queries"][-4:] == [3, 1, 0, 0]
    assert found["seconds"]["abstained"][-4:] == [1, 0, 0, 0]
    assert found["seconds"]["shed"][-4:] == [0, 4, 0, 0]
    assert found["seconds"]["failed"][-4:] == [0, 0, 0, 2]
    assert all(len(values) == WINDOW_S for values in found["seconds"].values())
    assert found["totals"] == {"queries": 4, "abstained": 1, "shed": 4, "failed": 2}


@pytest.mark.parametrize("idle_s", [WINDOW_S, WINDOW_S + 1, 10 * WINDOW_S])
def test_what_is_older_than_the_window_is_forgotten(traffic: Traffic, clock: Clock, idle_s: int) -> None:
    traffic.decided([0.9], 0, 2.0)
    clock.now_s += WINDOW_S - 1
    assert traffic.to_dict()["totals"]["queries"] == 1
    clock.now_s += idle_s - WINDOW_S + 1
    found = traffic.to_dict()
    assert found["totals"]["queries"] == 0
    assert found["latency_ms"] == {"p50": None, "p95": None, "p99": None}


def test_percentiles_are_within_nine_per_cent(traffic: Traffic) -> None:
    for number in range(1, 1_001):
        traffic.decided([0.5], 0, number / 10)
    found = traffic.to_dict()["latency_ms"]
    for percent, right_ms in ((50, 50.0), (95, 95.0), (99, 99.0)):
        assert right_ms <= found[f"p{percent}"] <= right_ms * 1.091


def test_latencies_beyond_the_last_bin_count_as_the_last(traffic: Traffic) -> None:
    traffic.decided([0.5], 0, 1e6)
    traffic.decided([0.5], 0, 0.0)
    assert traffic.to_dict()["latency_ms"]["p99"] == pytest.approx(3_276.8)
    assert traffic.to_dict()["latency_ms"]["p50"] == pytest.approx(0.05)


def test_curves_are_by_ten_seconds(traffic: Traffic, clock: Clock) -> None:
    traffic.decided([0.5], 0, 5.0)
    clock.now_s += 15
    traffic.decided([0.5], 0, 50.0)
    curve = traffic.to_dict()["latency_every_10_s"]["p50"]
    assert len(curve) == WINDOW_S // 10
    assert [value is not None for value in curve[-3:]] == [False, True, True]
    assert curve[-2] < 6 < 49 < curve[-1]


def test_the_latest_confidences_are_kept_however_long_ago(traffic: Traffic, clock: Clock) -> None:
    traffic.decided([0.01] * 700, 700, 1.0)
    clock.now_s += 100 * WINDOW_S
    traffic.decided([0.99] * 600, 0, 1.0)
    counts = traffic.confidences()
    assert counts.sum() == DECISIONS_KEPT
    assert (counts[0], counts[-1]) == (400, 600)
    traffic.decided([0.51] * 3_000, 0, 1.0)
    assert traffic.confidences()[10] == DECISIONS_KEPT
