"""Routers and files of rows for tests of bulk work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synaptoroute import AdaptiveRouter
from tests import seeded

WORDS = ("billing", "weather", "greeting")


@pytest.fixture(scope="package")
def router() -> Iterator[AdaptiveRouter]:
    """Three routes that are told apart by a query's first word."""
    with AdaptiveRouter(seeded.SeededEncoder()) as router:
        router.add_routes([seeded.route(word) for word in WORDS])
        router.wait_until_fitted()
        yield router


def rows(count: int, start: int = 0) -> pa.Table:
    """So many rows, every tenth without a text."""
    numbers = range(start, start + count)
    texts = [None if number % 10 == 9 else f"{WORDS[number % 3]} question {number}" for number in numbers]
    return pa.table({"id": pa.array(numbers, pa.int64()), "text": pa.array(texts, pa.string())})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """1,000 rows in groups of 300."""
    path = tmp_path / "in.parquet"
    pq.write_table(rows(1_000), path, row_group_size=300)
    return path
