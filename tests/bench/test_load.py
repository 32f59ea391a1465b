"""The load benchmarks, each run tiny: what they write down is checked for sense, never for speed."""

from __future__ import annotations

import asyncio
import json
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pytest
from typer.testing import CliRunner

from synaptoroute.bench.load import coldboot, latency, mutation, scale, throughput
from synaptoroute.bench.load.manifest import (
    ROUNDS,
    ColdBootRow,
    EventLoopRow,
    LatencyRow,
    LoadManifest,
    Memory,
    MutationRow,
    OverloadRow,
    Rounds,
    Row,
    ScaleRow,
    StagesRow,
    ThroughputRow,
    Times,
    read,
)
from synaptoroute.bench.load.memory import memory
from synaptoroute.bench.load.pressure import Overload, heartbeat
from synaptoroute.bench.load.spawn import Order, opened
from synaptoroute.bench.load.stored import Stored, stored
from synaptoroute.bench.load.synthetic import BLOCK, UTTERANCES, Synthetic
from synaptoroute.bench.load.tables import load_tables
from synaptoroute.bench.load.timing import MeasurementError, Steps
from synaptoroute.bench.manifest import DataInfo, Manifest, ManifestError, to_json, write_manifest
from synaptoroute.bench.report import html
from synaptoroute.bench.tables import markdown
from synaptoroute.cli import app
from synaptoroute.encoder import BundledEncoder
from synaptoroute.errors import RouterOverloadedError
from synaptoroute.models import Decision, Route
from synaptoroute.router import AdaptiveRouter, RouteOptions
from tests.bench.conftest import TINY
from tests.seeded import SeededEncoder

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def subject() -> Iterator[Stored]:
    with stored(TINY, shots=None, queries=5) as made:
        yield made


class Told:
    """Remembers the progress it was told."""

    def __init__(self, total: int) -> None:
        self.seen: list[tuple[int, int]] = []
        self.total = total
        self.step = Steps(lambda done, of: self.seen.append((done, of)), total)

    @property
    def complete(self) -> bool:
        return self.seen == [(done, self.total) for done in range(1, self.total + 1)]


def ascending(times: Times) -> bool:
    values = (times.p50_ms, times.p90_ms, times.p99_ms, times.p999_ms, times.max_ms)
    return values[0] > 0 and all(less <= more for less, more in pairwise(values))


# --------------------------------------------------------------------------------------------------------- latency
@pytest.mark.slow
def test_latency_asks_every_text_by_every_way_and_shows_the_stages(subject: Stored) -> None:
    told = Told(latency.steps(2))
    rows = latency.measure(subject, rounds=2, step=told.step)
    assert told.complete
    singles = [row for row in rows if isinstance(row, LatencyRow)]
    stages = [row for row in rows if isinstance(row, StagesRow)]
    kinds = ["test queries", "5 tokens", "20 tokens", "80 tokens", "250 tokens"]
    assert [row.texts for row in singles] == [row.texts for row in stages] == kinds
    for row in singles:
        assert row.encode.n == row.route.n == row.aquery.n == 2 * 2 * 5
        assert all(map(ascending, (row.encode, row.route, row.aquery)))
        assert len(row.route_over_ms.by_round) == len(row.aquery_over_ms.by_round) == 2
    assert [row.tokens for row in singles[1:]] == pytest.approx([5, 20, 80, 250], abs=3)
    assert singles[-1].encode.p50_ms > singles[1].encode.p50_ms
    assert all(min(row.tokenise_ms, row.run_ms, row.pool_ms, row.decide_ms) > 0 for row in stages)


def test_the_stages_are_those_of_the_encoder(subject: Stored, encoder: BundledEncoder) -> None:
    for text in subject.queries:
        vector, times = latency.Model(encoder).encode(text)
        np.testing.assert_array_equal(vector, encoder.encode([text])[0])
        assert times == sorted(times)
        assert len(times) == 4


# ------------------------------------------------------------------------------------------------------ throughput
def test_throughput_has_a_row_for_each_way_to_call_beside_the_encoder_alone(subject: Stored) -> None:
    told = Told(throughput.steps(2))
    rows = throughput.measure(subject, rounds=2, adding=12, burst_s=0.05, step=told.step)
    assert told.complete
    calls = [row for row in rows if isinstance(row, ThroughputRow)]
    assert [(row.callers, row.size) for row in calls if not row.repeated] == [
        *(("coroutines", size) for size in (1, 4, 16, 64, 256)),
        *(("threads", size) for size in (1, 2, 8)),
        *(("batches", size) for size in (32, 1000)),
    ]
    assert [(row.callers, row.size) for row in calls if row.repeated] == [("coroutines", 64), ("threads", 1)]
    for row in calls:
        assert row.call.n == (2 if row.callers == "batches" else 10)
        for ratio, ours, bare in zip(
            row.ratio.by_round, row.queries_per_s.by_round, row.encoder_per_s.by_round, strict=True
        ):
            assert ratio == pytest.approx(ours / bare, rel=0.01)
    quiet, busy = (row for row in rows if isinstance(row, EventLoopRow))
    assert (quiet.adding, quiet.add_s, busy.adding) == (0, None, 12)
    assert busy.add_s is not None
    assert len(busy.add_s.by_round) == 2
    (overload,) = (row for row in rows if isinstance(row, OverloadRow))
    assert 0 <= overload.shed_share.median <= 1
    assert overload.offered_per_s.median > 0
    assert ascending(overload.answered)
    with subject.open() as router:
        assert len(router) == 3


class Bounded(AdaptiveRouter):
    """Refuses whoever comes when 256 queries wait."""

    waiting = 0

    async def aquery(self, query: str, **options: Unpack[RouteOptions]) -> Decision:
        if self.waiting >= 256:
            raise RouterOverloadedError("256 queries wait already")
        self.waiting += 1
        try:
            return await super().aquery(query, **options)
        finally:
            self.waiting -= 1


async def test_what_is_refused_in_an_overload_is_counted_and_timed(encoder: BundledEncoder) -> None:
    overload = Overload()
    async with Bounded(encoder, cache_bytes=0) as router:
        router.add_route(Route(name="weather", utterances=["will it rain"]))
        await overload.burst(router, [item.text for item in TINY.validation] * 20, 0.5)
    row = overload.row()
    assert row.shed is not None
    assert row.shed.n + row.answered.n == pytest.approx(row.shed.n / row.shed_share.median, rel=0.01)
    assert row.shed_share.median > 0.3
    assert row.offered_per_s.median > row.capacity_per_s.median
    assert row.shed.p50_ms < row.answered.p50_ms


async def test_the_heartbeat_notices_a_blocked_event_loop() -> None:
    async with heartbeat() as late:
        await asyncio.sleep(0.05)
        time.sleep(0.08)  # noqa: ASYNC251 - this is what shall be noticed
        await asyncio.sleep(0.02)
    assert max(late) > 60
    assert len(late) >= 3


# ------------------------------------------------------------------------------------------------- synthetic tables
def test_synthetic_routes_have_the_geometry_of_real_ones() -> None:
    table = Synthetic(600, dim=384)
    ((routes, vectors),) = table.blocks()
    assert [route.name for route in routes[:2]] == ["route 0", "route 1"]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    scores = (vectors @ vectors.T).reshape(600, UTTERANCES, 600, UTTERANCES)
    own = scores[np.arange(600), :, np.arange(600)]
    assert own[:, ~np.eye(UTTERANCES, dtype=bool)].mean() == pytest.approx(0.75, abs=0.01)
    nearest = (table.queries(300) @ vectors.T).max(axis=1)
    assert nearest.mean() == pytest.approx(0.77, abs=0.03)


def test_a_smaller_synthetic_table_is_the_beginning_of_a_larger_one_and_queries_find_theirs() -> None:
    small, large = Synthetic(50, dim=32), Synthetic(BLOCK + 30, dim=32)
    blocks = list(large.blocks())
    assert [len(routes) for routes, _ in blocks] == [BLOCK, 30]
    assert len(large) == 2
    ((_, vectors),) = small.blocks()
    cosine = (vectors * blocks[0][1][: len(vectors)]).sum(axis=1)
    assert cosine.reshape(50, UTTERANCES).mean(axis=1).min() > 0.4
    np.testing.assert_array_equal(large.queries(40), Synthetic(BLOCK + 30, dim=32).queries(40))
    more = list(islice(large.more(), 3))
    assert [route.name for route, _ in more] == [f"route {BLOCK + 30 + place}" for place in range(3)]
    assert all(own.shape == (UTTERANCES, 32) for _, own in more)


@pytest.mark.slow
def test_scale_builds_a_table_and_asks_it_from_fresh_processes(encoder: BundledEncoder) -> None:
    told = Told(scale.steps([30, 60], 2, encoder.dim))
    rows = list(scale.measure([30, 60], rounds=2, queries=40, encoder=encoder, step=told.step))
    assert told.complete
    assert [(row.routes, row.utterances, row.queries) for row in rows] == [(30, 150, 40), (60, 300, 40)]
    for row in rows:
        assert (row.recall, row.agreement) == (1.0, 1.0)
        assert row.decide.n == 80
        assert row.store_bytes > row.utterances * 4 * encoder.dim
        assert len(row.open_s.by_round) == 2
        assert row.first_s.median > row.open_s.median > 0


def test_mutation_times_changes_and_the_queries_beside_them(encoder: BundledEncoder) -> None:
    told = Told(mutation.steps([20], 2, encoder.dim))
    (row,) = mutation.measure([20], rounds=2, changes=15, encoder=encoder, step=told.step)
    assert told.complete
    assert (row.routes, row.utterances) == (20, 100)
    assert row.add.n == row.delete.n == 30
    assert all(map(ascending, (row.add, row.delete, row.alone, row.beside)))
    assert len(row.p99_ratio.by_round) == 2
    assert row.compacting is None, "so small a table is never compacted"


@pytest.mark.slow
def test_queries_are_timed_beside_a_compaction_of_a_large_table() -> None:
    encoder = SeededEncoder()
    told = Told(mutation.steps([4_000], 1, encoder.dim))
    (row,) = mutation.measure([4_000], rounds=1, changes=2, encoder=encoder, step=told.step)
    assert row.compacting is not None
    assert ascending(row.compacting)


# --------------------------------------------------------------------------------------------------- fresh processes
def test_a_cold_boot_is_the_sum_of_its_steps(subject: Stored) -> None:
    told = Told(2)
    row = coldboot.measure(subject, rounds=2, step=told.step)
    assert told.complete
    assert (row.routes, row.utterances) == (3, 12)
    parts = (row.interpreter_s, row.import_s, row.encoder_s, row.open_s, row.decision_s)
    for number, total in enumerate(row.total_s.by_round):
        assert total == pytest.approx(sum(part.by_round[number] for part in parts), rel=0.01)
    assert row.memory.resident_bytes > 10_000_000


def test_a_process_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match=r"does not exist; create it first"):
        opened(Order(store=tmp_path / "nowhere" / "routes.db"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("smaps_rollup", "00400000-7fff rollup\nRss:  300 kB\nPss: 200 kB\nAnonymous:  100 kB\nLocked: 0 kB\n"),
        ("status", "Name:\tpython\nGroups:\t\nVmRSS:\t 300 kB\nRssAnon:\t 100 kB\nRssFile:\t 200 kB\n"),
    ],
)
def test_memory_is_read_from_what_the_system_tells(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="ascii")
    held = memory(tmp_path)
    assert (held.resident_bytes, held.anonymous_bytes, held.file_bytes) == (307_200, 102_400, 204_800)


def test_where_the_system_tells_only_the_peak_of_memory_that_is_taken(tmp_path: Path) -> None:
    held = memory(tmp_path)
    assert held.resident_bytes > 10_000_000
    assert held.anonymous_bytes is held.file_bytes is None
    assert held.over(held) == Memory(resident_bytes=0, anonymous_bytes=None, file_bytes=None)
    assert Memory.median([held, held]) == held


# --------------------------------------------------------------------------------------------- manifests and reports
def times(scale: float = 1.0) -> Times:
    return Times.of([scale * value for value in (1, 2, 3, 10)])


def load_manifest(rounds: int = ROUNDS) -> LoadManifest:
    few = Rounds.of([0.9, 0.8, 1.0])
    held = Memory(resident_bytes=90_000_000, anonymous_bytes=20_000_000, file_bytes=70_000_000)
    manifest = LoadManifest.begin(
        "latency",
        command="synaptoroute bench latency",
        rounds=rounds,
        encoder=BundledEncoder(),
        dataset=DataInfo.of(TINY),
    )
    rows: tuple[Row, ...] = (
        LatencyRow(
            texts="test queries",
            tokens=9,
            encode=times(),
            route=times(2),
            aquery=times(3),
            route_over_ms=few,
            aquery_over_ms=few,
        ),
        StagesRow(texts="test queries", tokenise_ms=0.1, run_ms=0.8, pool_ms=0.02, decide_ms=0.2, hop_ms=0.05),
        *(
            ThroughputRow(
                callers="coroutines",
                size=size,
                repeated=False,
                queries_per_s=Rounds.of([900.0 + size]),
                encoder_per_s=Rounds.of([1200]),
                ratio=few,
                call=times(),
            )
            for size in (1, 16, 256)
        ),
        EventLoopRow(in_flight=256, adding=0, lag=times(), call=times(), queries_per_s=few, add_s=None),
        OverloadRow(
            capacity_per_s=few,
            offered_per_s=few,
            shed_share=few,
            shed=None,
            answered=times(),
            recovery_s=few,
            recovered=few,
        ),
        *(
            ScaleRow(
                routes=routes,
                utterances=5 * routes,
                build_s=2,
                store_bytes=10_000_000,
                index_bytes=5_000_000,
                open_s=few,
                first_s=few,
                decide=times(routes / 1000),
                queries=1000,
                recall=0.99,
                agreement=0.995,
                memory=held,
            )
            for routes in (50_000, 1_000)
        ),
        MutationRow(
            routes=1000,
            utterances=5000,
            add=times(),
            delete=times(),
            alone=times(),
            beside=times(),
            p99_ratio=few,
            compacting=None,
        ),
        ColdBootRow(
            routes=3,
            utterances=12,
            interpreter_s=few,
            import_s=few,
            encoder_s=few,
            open_s=few,
            decision_s=few,
            total_s=few,
            memory=held,
        ),
    )
    for row in rows:
        manifest = manifest.with_row(row)
    return manifest


def test_a_load_manifest_is_read_back_the_same_and_told_from_one_of_accuracy(
    manifest: Manifest, tmp_path: Path
) -> None:
    load = load_manifest()
    for name, written in (("load.json", load), ("accuracy.json", manifest)):
        write_manifest(written, tmp_path / name)
        assert read(tmp_path / name) == written
    text = (tmp_path / "load.json").read_text(encoding="utf-8")
    assert text == to_json(load)
    assert list(json.loads(text)) == list(LoadManifest.model_fields)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"schema_version": 2}, "schema_version 2, wanted 1"),
        ({"kind": "speed"}, "kind: Input should be 'latency'"),
        ({"rounds": 0}, "rounds: Input should be greater than or equal to 1"),
        ({"rows": [{"measure": "guess"}]}, r"rows\.0: .*does not match any of the expected tags"),
    ],
)
def test_a_wrong_load_manifest_is_refused(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(load_manifest().model_dump(mode="json") | change), encoding="utf-8")
    with pytest.raises(ManifestError, match=told):
        read(path)


def test_figures_of_rounds_are_medians_with_four_digits() -> None:
    assert Rounds.of([3.0, 1.23456, 2.0]) == Rounds(median=2.0, by_round=(3.0, 1.235, 2.0))
    assert (times().n, times().p50_ms, times().max_ms) == (4, 2.5, 10)


def test_the_page_and_the_markdown_hold_accuracy_and_load_together(manifest: Manifest) -> None:
    load = load_manifest()
    page = ElementTree.fromstring(html([manifest, load]))  # noqa: S314 - it was made right here
    charts = page.findall(f".//{SVG}svg")
    labels = [chart.get("aria-label") or "" for chart in charts]
    for chart in charts:
        width, height = (float(chart.get(side) or 0) for side in ("width", "height"))
        for circle in chart.iter(f"{SVG}circle"):
            assert 0 <= float(circle.get("cx") or -1) <= width
            assert 0 <= float(circle.get("cy") or -1) <= height
    for plot in (
        "clinc150: accuracy",
        "Throughput against queries",
        "Latency against routes",
        "Memory against vectors",
    ):
        assert any(label.startswith(plot) for label in labels), plot
    text = markdown([manifest, load])
    titles = [line.removeprefix("### ") for line in text.splitlines() if line.startswith("### ")]
    assert titles[:3] == ["Accuracy", "Negation", "Cost"]
    assert titles[3:] == [
        "Latency", "Stages of one query", "Throughput", "Event loop", "Overload", "Scale", "Changes", "Cold boot",
    ]  # fmt: skip
    assert load.command in text
    scaled = next(table for table in load_tables([load]) if table.title == "Scale")
    assert [row[0] for row in scaled.rows] == ["1,000", "50,000"]
    assert all(len(row) == len(table.columns) for table in load_tables([load]) for row in table.rows)


def test_a_page_of_load_alone_has_no_accuracy_and_few_rounds_are_a_trial() -> None:
    text = markdown([load_manifest(rounds=2)])
    assert text.startswith("### Latency")
    assert "Trial run of 2 rounds, not to be compared." in text
    assert "Trial run" not in markdown([load_manifest()])
    assert "Accuracy" not in html([load_manifest()])


# -------------------------------------------------------------------------------------------------------- commands
def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["bench", *map(str, arguments)], catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


SMALL = ("--dataset", "snips", "--shots", 3, "--rounds", 1)


@pytest.mark.parametrize(
    ("kind", "options", "measures"),
    [
        ("latency", (*SMALL, "--queries", 4), {"latency", "stages"}),
        (
            "throughput",
            (*SMALL, "--queries", 4, "--adding", 5, "--burst", 0.05),
            {"throughput", "event loop", "overload"},
        ),
        ("coldboot", SMALL, {"cold boot"}),
    ],
)
def test_a_command_over_a_data_set_writes_its_manifest(
    data: Path, tmp_path: Path, kind: str, options: Sequence[object], measures: set[str]
) -> None:
    path = tmp_path / "load.json"
    code, stdout, stderr = run(kind, "--data", data, *options, "--output", path, "--json")
    assert (code, stderr.replace("\n", "")) == (0, f"wrote {path}")
    manifest = read(path)
    assert isinstance(manifest, LoadManifest)
    assert LoadManifest.model_validate_json(stdout) == manifest
    assert (manifest.kind, manifest.rounds, manifest.shots) == (kind, 1, 3)
    assert {row.measure for row in manifest.rows} == measures
    assert manifest.command.startswith(f"synaptoroute bench {kind} --data DIR --dataset snips --shots 3")
    assert str(data) not in path.read_text(encoding="utf-8")
    assert manifest.datasets[0].name == "snips"


@pytest.mark.parametrize(
    ("kind", "options"),
    [("scale", ("--routes", 20, "--queries", 10)), ("mutation", ("--routes", 20, "--changes", 3))],
)
def test_a_command_over_synthetic_routes_prints_tables(tmp_path: Path, kind: str, options: Sequence[object]) -> None:
    path = tmp_path / "load.json"
    code, stdout, _ = run(kind, *options, "--rounds", 1, "--output", path)
    assert code == 0
    assert f"Trial run of 1 rounds, not to be compared. `synaptoroute bench {kind} --routes 20" in stdout
    manifest = read(path)
    assert isinstance(manifest, LoadManifest)
    assert manifest.datasets == ()
    code, stdout, _ = run("report", path)
    assert code == 0
    assert stdout.startswith("### Scale" if kind == "scale" else "### Changes")


def test_an_unknown_data_set_is_wrong_usage() -> None:
    code, _, stderr = run("latency", "--dataset", "clinc")
    assert code == 2
    assert "no data set 'clinc'" in " ".join(stderr.replace("│", " ").split())
