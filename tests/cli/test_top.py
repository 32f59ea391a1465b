"""What ``top`` shows of a real server, and how it reads what servers tell."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from synaptoroute.cli.figures import Samples, parsed, sampled
from synaptoroute.cli.remote import Remote
from tests.cli.running import Running, environment, served
from tests.cli.test_cli import run

KEYS = {
    "ready", "version", "uptime_s", "encoder", "routes", "utterances", "revision", "settled", "queries_per_s",
    "abstained", "shed_per_s", "latency_ms", "queue", "queue_wait_p95_ms", "drift_psi", "sync", "seconds",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("SYNAPTOROUTE_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with served("--demo", folder=tmp_path_factory.mktemp("server")) as running:
        yield running


def test_once_as_json_has_a_stable_shape(server: Running) -> None:
    for _ in range(3):
        Remote(url=server.url).post("/v1/route", b'{"text": "what is the weather"}')
    result = run("top", "--url", server.url, "--once", "--json")
    assert (result.code, result.stderr) == (0, "")
    assert set(result.json) == KEYS
    assert result.json["routes"] > 0
    assert set(result.json["latency_ms"]) == {"p50", "p95", "p99"}
    assert set(result.json["queue"]) == {"queries", "waiting", "encoding", "workers"}
    assert None not in result.json["queue"].values()
    assert result.json["sync"] is None


def test_two_looks_at_a_server_give_its_rate_and_its_latency(server: Running) -> None:
    remote = Remote(url=server.url)
    while not sampled(remote).ready:
        time.sleep(0.05)
    before = sampled(remote)
    for number in range(20):
        remote.post("/v1/route", b'{"text": "what is the weather in %d days"}' % number)
    figures = sampled(remote).figures(before)
    assert figures["queries_per_s"] > 0
    assert 0 < figures["latency_ms"]["p50"] <= figures["latency_ms"]["p95"] <= figures["latency_ms"]["p99"]
    assert figures["queue_wait_p95_ms"] > 0
    assert figures["shed_per_s"] == 0


def test_once_is_a_table(server: Running) -> None:
    shown = run("top", "--url", server.url, "--once").stdout
    for word in ("queries per second", "latency p50 / p95 / p99, ms", "abstained", "in the queue", "revision"):
        assert word in shown


def test_the_address_may_come_from_the_environment(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNAPTOROUTE_URL", server.url)
    assert run("top", "--once", "--json").json["ready"] in {True, False}


def test_a_server_that_wants_a_key_says_so(tmp_path: Path) -> None:
    made = run("keys", "new", "--name", "me", "--json").json
    with served(folder=tmp_path, SYNAPTOROUTE_KEYS=made["line"]) as running:
        refused = run("top", "--url", running.url, "--once")
        assert refused.code == 1
        assert "401" in refused.stderr
        assert "SYNAPTOROUTE_API_KEY" in refused.stderr
        shown = run("top", "--url", running.url, "--api-key", made["key"], "--once", "--json")
        assert shown.code == 0, shown.stderr
        assert made["key"] not in shown.stdout + shown.stderr


def test_it_draws_on_a_terminal_and_ends_by_ctrl_c(server: Running) -> None:
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "synaptoroute", "top", "--url", server.url, "--interval", "0.2"],
        stdin=end, stdout=end, stderr=end, env=environment(TERM="xterm-256color", NO_COLOR="1", COLUMNS="100"),
        start_new_session=True,
    )  # fmt: skip
    os.close(end)
    try:
        shown = ""
        while "queries per second" not in shown:
            shown += os.read(terminal, 65_536).decode(errors="replace")
        process.send_signal(signal.SIGINT)
        while True:
            assert select.select([terminal], [], [], 60)[0], "it neither ends nor draws"
            try:
                if not os.read(terminal, 65_536):
                    break
            except OSError:
                break
        assert process.wait(timeout=60) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(terminal)


METRICS = """\
# HELP synaptoroute_requests_total Queries by what became of them.
# TYPE synaptoroute_requests_total counter
synaptoroute_requests_total{route_result="matched"} 90.0
synaptoroute_requests_total{route_result="abstained"} 10.0
synaptoroute_request_duration_seconds_bucket{le="0.001"} 50.0
synaptoroute_request_duration_seconds_bucket{le="0.01"} 100.0
synaptoroute_request_duration_seconds_bucket{le="+Inf"} 100.0
synaptoroute_queue_wait_seconds_bucket{le="0.5"} 0.0
synaptoroute_queue_wait_seconds_bucket{le="+Inf"} 0.0
broken
synaptoroute_index_revision 7 1700000000000
"""
STATUS = {
    "version": "1", "uptime_s": 1.0, "encoder": "e", "routes": 1, "utterances": 1, "revision": 7, "settled": True,
    "health": {}, "sync": None,
}  # fmt: skip


def samples(metrics: str, at_s: float) -> Samples:
    return Samples(status=STATUS, ready=True, traffic=None, metrics=parsed(metrics), at_s=at_s)


def test_rates_and_percentiles_are_of_the_time_between_two_looks() -> None:
    later = METRICS.replace("90.0", "110.0").replace(" 100.0", " 120.0")
    figures = samples(later, 12.0).figures(samples(METRICS, 10.0))
    assert figures["queries_per_s"] == pytest.approx(10)
    assert figures["latency_ms"]["p50"] == pytest.approx(1 + 9 / 2), "all 20 new ones lie in the second bucket"
    assert figures["queue_wait_p95_ms"] is None, "nothing was observed"
    first = samples(METRICS, 10.0).figures(None)
    assert first["queries_per_s"] is None
    assert first["latency_ms"]["p50"] == pytest.approx(1)


def test_a_server_that_was_started_anew_counts_from_zero() -> None:
    figures = samples(METRICS.replace("90.0", "5.0").replace("10.0", "1.0"), 12.0).figures(samples(METRICS, 10.0))
    assert figures["queries_per_s"] == pytest.approx(3)


def test_lines_that_are_no_samples_are_left_out() -> None:
    metrics = parsed(METRICS)
    assert metrics["synaptoroute_index_revision"] == {"": 7.0}
    assert "broken" not in metrics
