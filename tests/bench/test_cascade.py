"""``bench cascade``: what is compared with what, and how it is written down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from synaptoroute.bench import cascade
from synaptoroute.bench.cascade_results import COLUMNS, CascadeManifest, rows_of, table
from synaptoroute.bench.datasets import Dataset, Labelled
from synaptoroute.bench.manifest import read_content, validated
from synaptoroute.encoder import BundledEncoder, StaticEncoder
from synaptoroute.errors import InvalidInputError
from tests.bench.test_bench_cli import run
from tests.first_stage_routes import QUERIES, first_stage_routes

CLEAR = Dataset(
    name="clear",
    train=tuple(Labelled(text, route.name) for route in first_stage_routes() for text in route.utterances),
    test=tuple(Labelled(text, name) for text, name in QUERIES),
    reading="made for the tests",
    licence="MIT",
    files={"clear/all.txt": "0" * 64},
)


@pytest.fixture(scope="module")
def manifest(encoder: BundledEncoder) -> CascadeManifest:
    *_, manifest = cascade.measure(
        [CLEAR], shots=[None], seeds=[0], rounds=2, encoder=encoder, command="synaptoroute bench cascade"
    )
    return manifest


def test_a_row_says_how_much_the_first_stage_answers_and_that_it_agrees(manifest: CascadeManifest) -> None:
    (full,) = manifest.rows
    assert (full.shots, full.seeds, full.routes, full.utterances) == (None, (0,), 12, 432)
    assert (full.answered.all.n, full.answered.oos.n if full.answered.oos else None) == (15, 3)
    assert 0.1 < full.answered.all.value < 0.9
    assert full.agreement.all.value == 1
    assert full.top1["cascade"].value == full.top1["full"].value >= 0.8
    assert set(full.top1) == {"full", "cascade", "static"}


def test_speeds_are_measured_in_turns_and_compared_within_a_round(manifest: CascadeManifest) -> None:
    for row in manifest.rows:
        assert [rate.callers for rate in row.rates] == ["coroutines", "batches"]
        for rate in row.rates:
            found = zip(rate.cascade_per_s.by_round, rate.full_per_s.by_round, rate.ratio.by_round, strict=True)
            assert [ratio for _, _, ratio in found] == pytest.approx(
                [
                    cascade / full
                    for cascade, full in zip(rate.cascade_per_s.by_round, rate.full_per_s.by_round, strict=True)
                ],
                rel=1e-2,
            )
        assert row.learning["full"].kept_bytes < row.learning["cascade"].kept_bytes


def test_it_says_which_encoders_and_is_read_again(manifest: CascadeManifest, tmp_path: Path) -> None:
    assert manifest.first_encoder.fingerprint == StaticEncoder().fingerprint
    path = tmp_path / "cascade.json"
    path.write_text(json.dumps(manifest.model_dump(mode="json")), encoding="utf-8")
    assert validated(CascadeManifest, read_content(path), path) == manifest
    lines = table(manifest).splitlines()
    assert lines[0] == "| " + " | ".join(COLUMNS) + " |"
    assert [row[:3] for row in rows_of(manifest)] == [("clear", "all", "15")]
    assert manifest.first_encoder.fingerprint in lines[-1]


def test_the_command_writes_manifest_and_table(data: Path, tmp_path: Path) -> None:
    path, text = tmp_path / "cascade.json", tmp_path / "cascade.md"
    options = ("--dataset", "snips", "--shots", "2", "--rounds", "1", "--limit", "20")
    code, stdout, stderr = run("cascade", "--data", data, *options, "--output", path, "--markdown", text)
    assert (code, stdout) == (0, "")
    assert stderr.count("wrote ") == 2
    found = validated(CascadeManifest, read_content(path), path)
    assert found.command == (
        "synaptoroute bench cascade --data DIR --dataset snips --shots 2 --seeds 1 --rounds 1 --limit 20"
    )
    # Two utterances a route prove nothing: everything goes on, and both routers are the same.
    (few,) = found.rows
    assert (few.shots, few.seeds) == (2, (0,))
    assert few.answered.all.by_seed == (0.0,)
    assert few.agreement.all.by_seed == (1.0,)
    assert str(data) not in path.read_text(encoding="utf-8")
    assert "Trial run of at most 20 queries" in text.read_text(encoding="utf-8")


def test_there_must_be_something_to_measure(encoder: BundledEncoder) -> None:
    nothing: list[int] = []
    for name in ("shots", "seeds"):
        given = {"shots": [None], "seeds": [0], name: nothing}
        with pytest.raises(InvalidInputError, match="to measure"):
            next(cascade.measure([CLEAR], rounds=1, encoder=encoder, command="", **given))  # type: ignore[arg-type]
    assert run("cascade", "--shots", "none")[0] == 2
