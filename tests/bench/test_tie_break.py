"""The tie-break benchmark: both sides of one ranking, counted query by query."""

from __future__ import annotations

from pathlib import Path

import pytest

from synaptoroute.bench.datasets import Dataset, Labelled
from synaptoroute.bench.manifest import ManifestError
from synaptoroute.bench.tie_break import BEGIN, END, TieManifest, block, measure, run, tables, update_page
from synaptoroute.encoder import BundledEncoder
from synaptoroute.errors import InvalidInputError
from synaptoroute.rerank import LateInteractionReranker, TieBreak
from tests.bench.conftest import TINY
from tests.bench.test_bench_cli import run as command
from tests.rerank.routes_apart import NAMES, QUERIES, PlaceEncoder, SideReranker, routes

APART = Dataset(
    name="apart",
    train=tuple(Labelled(text, route.name) for route in routes() for text in route.utterances),
    test=(*map(Labelled, QUERIES, NAMES), Labelled("something else entirely", None)),
    files={},
)


@pytest.fixture(scope="module")
def measured() -> TieManifest:
    """A reranker that knows, over routes that vectors cannot tell apart."""
    reached: list[tuple[int, int]] = []
    (manifest,) = measure(
        [APART],
        shots=[None],
        encoder=PlaceEncoder(),
        tie_break=TieBreak(reranker=SideReranker()),
        command="synaptoroute bench tiebreak",
        progress=lambda done, of: reached.append((done, of)),
    )
    assert reached == [(1, 1)]
    return TieManifest.model_validate_json(manifest.model_dump_json())


def test_what_a_reranker_gains_is_measured_query_by_query(measured: TieManifest) -> None:
    (row,) = measured.results
    assert row.telling
    assert row.learned_ties > 20
    assert row.ties == row.asked == pytest.approx(80 / 81)
    assert row.with_reranker.in_scope > 0.95 > 0.7 > row.without.in_scope
    assert row.in_scope.value == pytest.approx(row.with_reranker.in_scope - row.without.in_scope)
    assert row.top1.value == pytest.approx(row.with_reranker.top1 - row.without.top1)
    assert 0 < row.in_scope.low < row.in_scope.value < row.in_scope.high
    assert row.changed == pytest.approx(row.in_scope.value * 80 / 81, abs=0.05)
    assert row.without.oos_recall == row.with_reranker.oos_recall == 1
    assert row.added_ms_per_tie is not None
    assert row.added_ms_per_tie >= row.added_ms_per_query > 0


def test_its_table_shows_both_sides(measured: TieManifest) -> None:
    (table,) = tables(measured)
    (row,) = table.rows
    assert len(row) == len(table.columns)
    assert row[:4] == ("apart", "all", "81", "98.8")
    assert "Reranker: sides" in table.note


def test_a_page_is_changed_between_its_markers_alone(measured: TieManifest, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    update_page(page, measured)
    update_page(page, measured)
    assert page.read_text(encoding="utf-8") == f"before\n{BEGIN}\n{block(measured)}{END}\nafter\n"
    for text in ("none", f"{END}{BEGIN}", f"{BEGIN}{BEGIN}{END}"):
        page.write_text(text, encoding="utf-8")
        with pytest.raises(ManifestError, match="must have the lines"):
            update_page(page, measured)
    with pytest.raises(ManifestError, match="cannot write"):
        update_page(tmp_path / "missing.md", measured)


def test_where_it_does_not_help_both_sides_are_the_same(encoder: BundledEncoder) -> None:
    row = run(TINY, shots=None, encoder=encoder, tie_break=TieBreak(reranker=LateInteractionReranker()))
    assert not row.telling
    assert row.asked == row.changed == 0
    assert row.added_ms_per_tie is None
    assert row.without == row.with_reranker
    assert (row.top1.value, row.top1.low, row.top1.high) == (0, 0, 0)


def test_negated_queries_say_nothing_of_what_is_right(encoder: BundledEncoder) -> None:
    negated = Dataset(name="negated", train=TINY.train, test=TINY.test, negated=True)
    with pytest.raises(InvalidInputError, match="negated says what is wrong"):
        run(negated, shots=None, encoder=encoder, tie_break=TieBreak(reranker=SideReranker()))


def test_the_command_writes_a_manifest_without_paths(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "ties.json"
    options = ("--dataset", "snips", "--shots", "3", "--limit", "30")
    code, stdout, _ = command("tiebreak", "--data", data, *options, "--output", path)
    assert code == 0
    assert "Trial run of at most 30 queries" in stdout
    manifest = TieManifest.model_validate_json(path.read_text(encoding="utf-8"))
    assert manifest.command.startswith("synaptoroute bench tiebreak --data DIR --dataset snips --shots 3 ")
    assert str(data) not in path.read_text(encoding="utf-8")
    assert (manifest.limit, len(manifest.results)) == (30, 1)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--dataset", "clinc"), "no data set 'clinc'"),
        (("--shots", "few"), "wanted a number from 1 or full"),
    ],
)
def test_wrong_options_are_wrong_usage(options: tuple[str, ...], told: str) -> None:
    code, _, stderr = command("tiebreak", *options)
    assert code == 2
    assert told in " ".join(stderr.replace("│", " ").split())
