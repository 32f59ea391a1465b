"""A real Spark on this machine; Java 17 or newer."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from synaptoroute.bulk import BulkColumns
from synaptoroute.errors import InvalidInputError
from tests.integrations.conftest import assert_as_on_one_machine

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytest.importorskip(
    "pyspark", reason="Spark is not installed: make test-all, or pip install 'synaptoroute[spark]' and Java 17"
)

ROOT = Path(__file__).parents[2]


def test_the_schema_after_is_the_schema_before_and_what_is_added() -> None:
    from pyspark.sql.types import LongType, StringType, StructField, StructType

    from synaptoroute.integrations.spark import schema_after

    given = StructType([StructField("said", StringType(), nullable=False, metadata={"a": 1})])
    after = schema_after(given, BulkColumns(text="said", add=("name", "revision")))
    assert after == StructType(
        [*given.fields, StructField("route_name", StringType()), StructField("route_revision", LongType())]
    )
    with pytest.raises(InvalidInputError, match="there are said"):
        schema_after(given)


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    if shutil.which("java") is None:
        pytest.skip("there is no java: Spark needs Java 17 or newer")
    from pyspark.sql import SparkSession

    folder = tmp_path_factory.mktemp("spark")
    before = dict(os.environ)
    os.environ |= {"PYSPARK_PYTHON": sys.executable, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.local.dir", str(folder))
        .config("spark.sql.warehouse.dir", str(folder / "warehouse"))
        .getOrCreate()
    )
    yield session
    session.stop()
    os.environ.clear()
    os.environ.update(before)


def routed(frame: Any, store: Path, columns: BulkColumns | None = None, **asked: Any) -> Any:
    from synaptoroute.integrations.spark import route_in_arrow, schema_after

    return frame.mapInArrow(route_in_arrow(str(store), columns=columns, **asked), schema_after(frame.schema, columns))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Spark's own
def test_spark_gives_what_one_machine_gives(spark: SparkSession, folder: Path) -> None:
    frame = spark.read.parquet(str(folder / "texts.parquet")).repartition(4)
    assert_as_on_one_machine(folder, routed(frame, folder / "routes.db").toArrow())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Spark's own
def test_columns_and_options_reach_the_workers(spark: SparkSession, folder: Path) -> None:
    frame = spark.createDataFrame([("pay my bill",)] * 3, "said string")
    columns = BulkColumns(text="said", add=("name",), prefix="to_")
    out = routed(frame, folder / "routes.db", columns, allow=["weather"], threshold=-1)
    assert [row.asDict() for row in out.collect()] == [{"said": "pay my bill", "to_name": "weather"}] * 3
