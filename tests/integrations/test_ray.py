"""A real Ray on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synaptoroute.bulk import BulkColumns
from synaptoroute.errors import InvalidInputError, StorageError
from synaptoroute.integrations.ray import RouteBatches
from tests.integrations.conftest import assert_as_on_one_machine


def test_a_worker_routes_tables_of_any_chunks(folder: Path) -> None:
    route = RouteBatches(str(folder / "routes.db"))
    table = pq.read_table(folder / "texts.parquet")
    chunked = pa.concat_tables([table.slice(0, 7), table.slice(7)])
    assert_as_on_one_machine(folder, route(chunked))
    assert route(table.slice(0, 0)).schema == route(table).schema


def test_bad_input_is_refused_where_it_is_given(folder: Path) -> None:
    with pytest.raises(StorageError, match="there is no store"):
        RouteBatches(folder / "gone.db")
    with pytest.raises(InvalidInputError, match="threshold is 2"):
        RouteBatches(folder / "routes.db", threshold=2)
    with pytest.raises(InvalidInputError, match="there are id"):
        RouteBatches(folder / "routes.db")(pa.table({"id": [1]}))


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    ray = pytest.importorskip("ray", reason="Ray is not installed: make test-all, or pip install 'synaptoroute[ray]'")
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield ray
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own, and many
def test_ray_data_gives_what_one_machine_gives(ray: Any, folder: Path) -> None:
    routed = ray.data.read_parquet(str(folder / "texts.parquet"), override_num_blocks=4).map_batches(
        RouteBatches,
        fn_constructor_kwargs={"store": str(folder / "routes.db")},
        batch_format="pyarrow",
        batch_size=64,
        compute=ray.data.ActorPoolStrategy(size=2),
    )
    assert_as_on_one_machine(folder, pa.concat_tables(ray.get(routed.to_arrow_refs())))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own, and many
def test_columns_and_options_reach_the_workers(ray: Any, folder: Path) -> None:
    routed = ray.data.from_items([{"said": "pay my bill"}] * 3).map_batches(
        RouteBatches,
        fn_constructor_kwargs={
            "store": str(folder / "routes.db"),
            "columns": BulkColumns(text="said", add=("name",), prefix="to_"),
            "allow": ["weather"],
            "threshold": -1,
        },
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=1),
    )
    assert routed.take_all() == [{"said": "pay my bill", "to_name": "weather"}] * 3
