from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from synaptoroute.bench.datasets import load
from synaptoroute.bench.machine import machine, software
from synaptoroute.bench.manifest import DataInfo, EncoderInfo, now, read_content, validated, write_manifest
from synaptoroute.bench.peer_process import PeersError, Worker, WorkerError, environment
from synaptoroute.bench.peer_results import PeersManifest, Scale, SystemResult, compared, table
from synaptoroute.bench.peer_tasks import real_task, synthetic_task
from synaptoroute.bench.peer_workers.worker import Given, MiniLM
from synaptoroute.bench.peers import ENCODER, OURS, Comparison, System, measure
from synaptoroute.cli import app
from synaptoroute.encoder import BundledEncoder
from synaptoroute.encoder.bundled import DEFAULT, WEIGHTS
from tests.bench.conftest import TINY

#: Speaks the protocol without routing anything. Its arguments say how it misbehaves: REQUEST=HOW.
FAKE = """
import json, sys, time
how = dict(argument.split("=") for argument in sys.argv[1:])
for line in sys.stdin:
    request = json.loads(line)
    name = request["do"]
    count = request.get("last", 0) - request.get("first", 0)
    wrong = how.get(name)
    if wrong == "sleep":
        time.sleep(600)
    elif wrong == "die":
        sys.exit("out of luck")
    elif wrong == "error":
        print(json.dumps({"ok": False, "error": "ValueError: no"}), flush=True)
        continue
    figures = {
        "start": {
            "version": how.get("version", "1.0"), "settings": "fake", "saves": "saves" not in how, "software": {},
            "probe": [float(how.get("probe", 1)), 0.0],
        },
        "build": {"build_s": 2.0, "settle_s": 0.0, "resident_bytes": 100},
        "load": {"load_s": 0.5, "settle_s": 0.0, "resident_bytes": int(how.get("memory", 100))},
        "encode": {"answered": count, "seconds": 1.0},
        "concurrent": {
            "answered": count, "seconds": float(how.get("seconds", 1)), "p50_ms": 1.0, "p99_ms": 2.0, "lag_p99_ms": 0.1,
            "chosen": [[number, "weather"] for number in range(request.get("first", 0), request.get("last", 0))],
        },
        "sequential": {"answered": count, "seconds": 0.5, "p50_ms": 1.0, "p99_ms": 2.0},
        "accuracy": {"settings": [{"name": "default", "tuning_s": 0.0, "chosen": ["weather"] * 5}]},
    }
    print(json.dumps({"ok": True, **figures[name]}), flush=True)
"""

PEER = System(name="peer", module="none")


def fake(*how: str) -> list[str]:
    return [sys.executable, "-c", FAKE, *how]


def last(
    folder: Path, ours: list[str], peer: list[str], *, rounds: int = 2, time_limit_s: float = 30
) -> dict[str, SystemResult]:
    commands = {OURS: ours, PEER: peer, ENCODER: fake("memory=40")}
    comparison = Comparison(real_task(TINY, folder), commands, in_flight=8, time_limit_s=time_limit_s)
    *_, results = comparison.run(rounds)
    return {result.name: result for result in results}


def test_systems_are_measured_in_turns_and_compared_round_by_round(tmp_path: Path) -> None:
    commands = {OURS: fake("memory=100"), PEER: fake("memory=160", "seconds=4"), ENCODER: fake("memory=40")}
    told: list[tuple[int, int]] = []
    comparison = Comparison(real_task(TINY, tmp_path), commands, in_flight=8, time_limit_s=30)
    after = list(comparison.run(2, lambda done, total: told.append((done, total))))
    assert told == [(done, 11) for done in range(1, 12)]
    assert [len(results[1].rounds) for results in after] == [0, 1, 2, 2]
    ours, peer, encoder = after[-1]
    # Five queries, one of them alone.
    assert ours.median["concurrent_per_s"] == 4
    assert peer.median["concurrent_per_s"] == 1
    assert peer.ratios["concurrent_per_s"].model_dump() == {"median": 4, "low": 4, "high": 4}
    assert not ours.ratios
    assert [each.median["memory_bytes"] for each in (ours, peer, encoder)] == [60, 120, 0]
    assert "concurrent_right" not in encoder.median
    assert [len(each.accuracy) for each in (ours, peer, encoder)] == [1, 1, 0]
    (setting,) = ours.accuracy
    assert setting.top1 is not None
    assert setting.top1.value == 0.2
    assert setting.oos_recall is not None
    assert setting.oos_recall.value == 0


def test_what_cannot_be_loaded_is_built_again_in_each_round(tmp_path: Path) -> None:
    peer = last(tmp_path, fake(), fake("saves=no", "load=error"))["peer"]
    assert peer.failure is None
    assert [figures["build_s"] for figures in peer.rounds] == [2.0, 2.0]
    assert "load_s" not in peer.median


@pytest.mark.parametrize(
    ("how", "failure", "rounds"),
    [
        ("build=error", "build: ValueError: no", 0),
        ("concurrent=die", "concurrent: the process ended; its last words: out of luck", 0),
        ("start=die", "start: the process ended; its last words: out of luck", 0),
        ("accuracy=error", "accuracy: ValueError: no", 2),
    ],
)
def test_a_system_that_fails_is_given_up_and_the_others_go_on(
    tmp_path: Path, how: str, failure: str, rounds: int
) -> None:
    results = last(tmp_path, fake(), fake(how))
    assert results["peer"].failure == failure
    assert len(results["peer"].rounds) == rounds
    assert results["synaptoroute"].failure is None
    assert len(results["synaptoroute"].rounds) == 2
    assert len(results["encoder alone"].rounds) == 2


def test_a_system_that_takes_too_long_is_killed_and_reported_so(tmp_path: Path) -> None:
    results = last(tmp_path, fake(), fake("build=sleep"), time_limit_s=3)
    assert results["peer"].failure == "build: no answer within 3 s"
    assert results["synaptoroute"].failure is None


def test_our_own_failure_leaves_the_others_without_ratios(tmp_path: Path) -> None:
    results = last(tmp_path, fake("load=error"), fake())
    assert results["synaptoroute"].failure == "load: ValueError: no"
    assert len(results["peer"].rounds) == 2
    assert not results["peer"].ratios


def test_systems_that_encode_differently_are_not_compared(tmp_path: Path) -> None:
    with pytest.raises(PeersError, match="peer and synaptoroute encode differently"):
        last(tmp_path, fake(), fake("probe=0.9"))


def test_another_version_than_asked_for_is_refused(tmp_path: Path) -> None:
    pinned = System(name="peer", module="none", requirements=("peer==1.1",))
    comparison = Comparison(real_task(TINY, tmp_path), {OURS: fake(), pinned: fake()}, in_flight=8, time_limit_s=30)
    with pytest.raises(PeersError, match=r"peer==1\.1 was wanted, 1\.0 is installed"):
        list(comparison.run(1))


def test_a_worker_that_was_killed_answers_nothing_more(tmp_path: Path) -> None:
    with Worker(fake("load=sleep"), tmp_path / "log") as worker:
        assert worker.ask("start", time_limit_s=30)["settings"] == "fake"
        with pytest.raises(WorkerError, match=r"load: no answer within 0\.5 s"):
            worker.ask("load", time_limit_s=0.5)
        with pytest.raises(WorkerError, match="build: the process ended; its last words: none"):
            worker.ask("build", time_limit_s=30)


def test_a_worker_does_not_see_packages_of_another_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    code = "import json, os; input(); print(json.dumps({'ok': True, 'path': os.environ.get('PYTHONPATH')}), flush=True)"
    for isolated, seen in ((True, None), (False, str(tmp_path))):
        with Worker([sys.executable, "-c", code], tmp_path / "log", isolated=isolated) as worker:
            assert worker.ask("start", time_limit_s=30) == {"path": seen}


@pytest.mark.slow
def test_a_finished_environment_is_used_again_and_one_that_cannot_be_made_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(PeersError, match="cannot make the environment of a peer"):
        environment(tmp_path / "a", ["no-such-peer==1.0"])
    assert not (tmp_path / "a" / "requirements.txt").exists()
    # As a finished installation leaves it.
    python = tmp_path / "b" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    shared = "".join(f"{name}=={software()[name]}\n" for name in ("numpy", "onnxruntime", "tokenizers"))
    (tmp_path / "b" / "requirements.txt").write_text(f"peer==1.0\n{shared}", encoding="utf-8")
    assert environment(tmp_path / "b", ["peer==1.0"]) == python


def test_no_query_is_asked_twice_in_a_process_nor_is_any_stored(data: Path, tmp_path: Path) -> None:
    task = real_task(load("clinc150", data=data), tmp_path)
    written: dict[str, Any] = json.loads((tmp_path / "task.json").read_text(encoding="utf-8"))
    (share,) = task.shares
    asked = [written["queries"][number] for number in (*share.together, *share.alone)]
    assert len(task.labels) == len(written["queries"]) == 5_500
    assert len(asked) == len(set(asked)) == 5_498
    stored = {text for texts in written["utterances"].values() for text in texts}
    assert not set(asked) & (stored | set(written["warm_up"]))
    # Fair samples of what is in and out of scope.
    for numbers in (share.together, share.alone):
        assert np.mean([task.labels[number] is None for number in numbers]) == pytest.approx(1_000 / 5_500, abs=0.03)


def test_synthetic_queries_are_nearest_to_the_route_they_were_made_of(tmp_path: Path) -> None:
    task = synthetic_task(TINY, tmp_path, Scale(routes=50, utterances=3))
    utterances, queries = (np.load(tmp_path / f"{name}.npy") for name in ("utterances", "queries"))
    assert utterances.shape == (150, 384)
    assert np.allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-5)
    nearest = (queries[:500] @ utterances.T).argmax(axis=1) // 3
    assert [f"route-{route}" for route in nearest] == list(task.labels[:500])
    given, costly = task.shares
    assert (given.prefix, given.costly, costly.prefix, costly.costly) == ("given_", False, "", True)
    numbers = [number for share in task.shares for number in (*share.together, *share.alone)]
    assert len(numbers) == len(set(numbers)) == task.timed


def manifest(systems: tuple[SystemResult, ...]) -> PeersManifest:
    return PeersManifest(
        command="synaptoroute bench peers --data DIR",
        created_at=now(),
        git=None,
        limit=None,
        shots=None,
        scale=None,
        in_flight=256,
        time_limit_s=1800,
        queries=5_498,
        alone=1_099,
        encoder=EncoderInfo(name="all-MiniLM-L6-v2", fingerprint="minilm-0123456789abcdef", dim=384),
        machine=machine(),
        software=software(),
        dataset=DataInfo.of(TINY),
        systems=systems,
    )


def test_the_table_shows_medians_ratios_and_who_was_given_up(tmp_path: Path) -> None:
    ours, peer, encoder = last(tmp_path, fake(), fake("seconds=4")).values()
    lost = SystemResult(name="other", failure="build: no answer | 3 s")
    text = table(manifest((ours, peer, lost, encoder)))
    assert "| concurrent queries/s | 4 | 1 (ours 4.00 times, 4.00-4.00) | - | 4 (ours 1.00 times, 1.00-1.00) |" in text
    assert "| given up | - | - | build: no answer \\| 3 s | - |" in text
    assert "| peer 1.0 | default | 20.0 (0.0-60.0) | 33.3 (0.0-100.0) | 0.0 (0.0-0.0) | 0 |" in text
    assert "medians of 2 interleaved rounds" in text
    assert "search and decision" not in text


def test_what_is_written_is_read_back_the_same(tmp_path: Path) -> None:
    written = manifest(
        compared((SystemResult(name="synaptoroute", rounds=({"load_s": 1.0, "resident_bytes": None},)),))
    )
    write_manifest(written, tmp_path / "peers.json")
    assert validated(PeersManifest, read_content(tmp_path / "peers.json"), tmp_path / "peers.json") == written


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--peer", "nobody"), "no peer 'nobody'"),
        (("--scale", "many"), "wanted ROUTESxUTTERANCES"),
        (("--scale", "1x5"), "wanted ROUTESxUTTERANCES"),
    ],
)
def test_wrong_options_are_wrong_usage(options: tuple[str, ...], told: str) -> None:
    result = CliRunner().invoke(app, ["bench", "peers", *options])
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.slow
def test_ours_and_the_shared_encoder_are_measured_for_real(data: Path, tmp_path: Path) -> None:
    *_, written = measure(
        load("clinc150", data=data), peers=(), environments=tmp_path, command="-", rounds=2, shots=2, limit=60
    )
    ours, encoder = written.systems
    assert (ours.failure, encoder.failure) == (None, None)
    assert len(ours.rounds) == len(encoder.rounds) == 2
    assert 0 < ours.median["concurrent_p50_ms"] <= ours.median["concurrent_p99_ms"]  # type: ignore[operator]
    assert ours.build["settle_s"] is not None
    assert [setting.name for setting in ours.accuracy] == ["default", "fit on validation queries"]
    assert {"concurrent_per_s", "sequential_per_s", "load_s"} <= set(encoder.ratios)


def test_the_workers_encoder_gives_the_very_vectors_of_the_bundled_one(encoder: BundledEncoder, tmp_path: Path) -> None:
    real_task(TINY, tmp_path)
    worker = Path(sys.modules[measure.__module__].__file__ or "").parent / "peer_workers" / "worker.py"
    probes = []
    for module in ("ours", "encoder_alone"):
        with Worker([sys.executable, str(worker), module, str(tmp_path)], tmp_path / "log", isolated=False) as process:
            probes.append(process.ask("start", time_limit_s=60)["probe"])
    assert probes[0] == probes[1]
    assert np.allclose(probes[0], encoder.encode(["what is my current balance?"])[0], atol=1e-6)


def test_given_vectors_are_returned_and_a_systems_own_texts_really_encoded(
    encoder: BundledEncoder, tmp_path: Path
) -> None:
    synthetic_task(TINY, tmp_path, Scale(routes=5, utterances=2))
    given = Given(tmp_path, MiniLM(WEIGHTS / DEFAULT, 2), ["will it rain"])
    queries = np.load(tmp_path / "queries.npy")
    for given.costly in (False, True):
        rows = given.encode(["q3", "u4", "route-0"])
        assert np.array_equal(rows[:2], [queries[3], given.utterances()[4]])
        assert np.array_equal(rows[2], encoder.encode(["route-0"])[0])
    assert given.encode([]).shape == (0, 384)
