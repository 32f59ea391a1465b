"""A small router for every framework; a store that workers of other processes open, and a file of rows for them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synaptoroute import AdaptiveRouter, Route
from synaptoroute.bulk import route_file
from synaptoroute.encoder import BundledEncoder
from synaptoroute.storage import SQLiteStorage
from tests.integrations.small import small_router

# Haystack reports how it is used, and decides whether to when it is imported.
os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"

SAID = ("how much is my bill number {}", "will it rain on day {}", "who painted picture {}")


@pytest.fixture(scope="package")
def router(encoder: BundledEncoder) -> Iterator[AdaptiveRouter]:
    """Two routes, learned. It is not to be changed."""
    with small_router(encoder) as router:
        yield router


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory, encoder: BundledEncoder) -> Path:
    """``routes.db``, ``texts.parquet`` of 600 rows, and ``routed.parquet`` as this machine alone routes them."""
    folder = tmp_path_factory.mktemp("bulk")
    texts = [None if number % 50 == 49 else SAID[number % 3].format(number) for number in range(600)]
    pq.write_table(pa.table({"id": range(600), "text": texts}), folder / "texts.parquet", row_group_size=150)
    with AdaptiveRouter(encoder, SQLiteStorage(folder / "routes.db")) as router:
        router.add_routes(
            [
                Route(name="billing", utterances=["what do I owe", "show my balance", "pay my bill"]),
                Route(name="weather", utterances=["will it rain", "is it sunny outside", "how cold is it"]),
            ]
        )
        report = route_file(router, folder / "texts.parquet", folder / "routed.parquet")
    assert min(report.routed, report.abstained, report.unrouted["missing_text"]) > 10
    return folder


def assert_as_on_one_machine(folder: Path, table: pa.Table) -> None:
    """Equal names, reasons and revisions; scores and confidences to rounding, which depends on what a batch holds."""
    expected = pq.read_table(folder / "routed.parquet")
    assert table.column_names == expected.column_names
    table = table.sort_by("id").cast(expected.schema)
    for got, wanted in zip(table.to_pylist(), expected.to_pylist(), strict=True):
        assert got == pytest.approx(wanted, abs=1e-5)
