from __future__ import annotations

import json
import os
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from synaptoroute import AdaptiveRouter
from synaptoroute.bulk import BulkColumns, BulkReport, files, parts, route_file
from synaptoroute.bulk import run as run_module
from synaptoroute.bulk.run import PART_BATCHES
from synaptoroute.errors import InvalidInputError, SynaptoRouteError
from tests import seeded
from tests.bulk.conftest import WORDS, rows

#: Where it matters what has been done and what not; deciding is the same every time.
WATCHED = {files.__file__, parts.__file__, run_module.__file__}


def run(router: AdaptiveRouter, source: Path, name: str = "out.parquet", **options: Any) -> BulkReport:
    return route_file(router, source, source.with_name(name), **{"batch_rows": 10, **options})


def content(source: Path, name: str = "out.parquet") -> bytes:
    return source.with_name(name).read_bytes()


@pytest.fixture
def whole(router: AdaptiveRouter, source: Path) -> bytes:
    """What a run that nothing disturbs writes."""
    run(router, source, "whole.parquet")
    return content(source, "whole.parquet")


# ------------------------------------------------------------------------------------------------- what comes out
def test_every_row_comes_out_in_order_with_its_decision(router: AdaptiveRouter, source: Path) -> None:
    report = run(router, source)
    out = pq.read_table(source.with_name("out.parquet"))
    assert out.select(["id", "text"]).equals(pq.read_table(source))
    expected = [None if number % 10 == 9 else WORDS[number % 3] for number in range(1_000)]
    assert out.column("route_name").to_pylist() == expected
    assert report == BulkReport(
        rows=1_000, resumed=0, routed=900, abstained=0, unrouted={"missing_text": 100}, revision=1
    )
    assert sorted(path.name for path in source.parent.iterdir()) == ["in.parquet", "out.parquet"]


def test_what_is_counted_does_not_depend_on_the_columns_wanted(router: AdaptiveRouter, source: Path) -> None:
    report = run(router, source, columns=BulkColumns(add=("name",)), allow=["billing"], threshold=0.9)
    assert pq.read_schema(source.with_name("out.parquet")).names == ["id", "text", "route_name"]
    assert (report.rows, report.unrouted) == (1_000, {"missing_text": 100})
    assert report.routed + report.abstained == 900
    assert report.abstained >= 600


def test_progress_is_told_after_every_batch(router: AdaptiveRouter, source: Path) -> None:
    told: list[tuple[int, int | None]] = []
    run(router, source, batch_rows=300, progress=lambda *at: told.append(at))
    assert told == [(0, 1_000), (300, 1_000), (600, 1_000), (900, 1_000), (1_000, 1_000)]


def test_a_file_without_rows_becomes_one_without_rows(router: AdaptiveRouter, tmp_path: Path) -> None:
    for name in ("in.parquet", "in.csv"):
        source = tmp_path / name
        empty = rows(0)
        pq.write_table(empty, source) if name == "in.parquet" else pyarrow.csv.write_csv(empty, source)
        assert run(router, source).rows == 0
        assert "route_name" in pq.read_schema(tmp_path / "out.parquet").names
        (tmp_path / "out.parquet").unlink()


@pytest.mark.parametrize("incoming", ["in.parquet", "in.csv", "in.jsonl"])
@pytest.mark.parametrize("outgoing", ["out.parquet", "out.csv", "out.ndjson"])
def test_any_format_becomes_any_other(router: AdaptiveRouter, tmp_path: Path, incoming: str, outgoing: str) -> None:
    table = pa.table({"text": ['billing "now",\nor never', "weather né", None], "day": ["2026-01-02", "", "x"]})
    source = tmp_path / incoming
    if incoming == "in.parquet":
        pq.write_table(table, source)
    elif incoming == "in.csv":
        pyarrow.csv.write_csv(table, source)
    else:
        source.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    run(router, source, outgoing, columns=BulkColumns(add=("name", "revision")))

    path = tmp_path / outgoing
    if outgoing == "out.parquet":
        out = pq.read_table(path).to_pylist()
    elif outgoing == "out.csv":
        out = pyarrow.csv.read_csv(
            path,
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                strings_can_be_null=True, quoted_strings_can_be_null=False, column_types={"day": pa.string()}
            ),
        ).to_pylist()
    else:
        out = [json.loads(line) for line in path.read_text().splitlines()]
    nothing = "" if incoming == "in.csv" else None
    assert out == [
        {"text": 'billing "now",\nor never', "day": "2026-01-02", "route_name": "billing", "route_revision": 1},
        {"text": "weather né", "day": "", "route_name": "weather", "route_revision": 1},
        {"text": nothing, "day": "x", "route_name": None, "route_revision": None},
    ]


def test_columns_of_every_type_survive_from_parquet_to_parquet(router: AdaptiveRouter, tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": pa.array(["billing", None, "weather"] * 20).dictionary_encode(),
            "nested": pa.array([{"a": [1, None]}, None, {"a": []}] * 20),
            "when": pa.array([0, None, 2**40] * 20, pa.timestamp("us", "UTC")),
            "raw": pa.array([b"\xff", None, b""] * 20),
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    run(router, tmp_path / "in.parquet", batch_rows=1)
    out = pq.read_table(tmp_path / "out.parquet")
    assert out.select(table.column_names).to_pylist() == table.to_pylist()
    assert out.schema.field("text").type == table.schema.field("text").type


def test_json_lines_hold_what_json_has_no_word_for(router: AdaptiveRouter, tmp_path: Path) -> None:
    row = {"text": "billing", "raw": b"\xff", "odd": float("nan"), "in": {"when": [pa.scalar(0, pa.date32()).as_py()]}}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "in.parquet")
    run(router, tmp_path / "in.parquet", "out.jsonl", columns=BulkColumns(add=("name",)))
    assert json.loads((tmp_path / "out.jsonl").read_text()) == {
        "text": "billing", "raw": "/w==", "odd": None, "in": {"when": ["1970-01-01"]}, "route_name": "billing",
    }  # fmt: skip


# --------------------------------------------------------------------------------------------------- cut off
def killed_at(line: int, router: AdaptiveRouter, source: Path) -> bool:
    """Whether a child that runs this is killed at so many lines of those files, before it is done."""
    child = os.fork()
    if child == 0:
        left = line

        def trace(frame: FrameType, event: str, _argument: Any) -> Any:
            nonlocal left
            if frame.f_code.co_filename not in WATCHED:
                return None
            if event == "line":
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), 9)
            return trace

        try:
            sys.settrace(trace)
            run(router, source, batch_rows=2)
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -9)
    return code == -9


def test_killed_anywhere_it_goes_on_and_the_output_is_the_same(router: AdaptiveRouter, tmp_path: Path) -> None:
    source = tmp_path / "in.parquet"
    pq.write_table(rows(100), source)
    run(router, source, "whole.parquet", batch_rows=2)
    out, left = tmp_path / "out.parquet", tmp_path / "out.parquet.parts"
    kills, resumed = 0, set()
    while killed_at(67 * kills, router, source):
        kills += 1
        if out.exists() and not (left / "made-of.json").exists():
            # All was done, but perhaps to remove the folder.
            assert not left.exists() or [path.name for path in left.iterdir()] == ["lock"]
        else:
            resumed.add(run(router, source, batch_rows=2).resumed)
            assert not left.exists()
        assert content(source) == content(source, "whole.parquet")
        out.unlink()
    assert content(source) == content(source, "whole.parquet")
    assert resumed >= {0, 32, 64, 96}
    assert kills > 12


def test_a_complete_run_repeated_leaves_its_output_alone(router: AdaptiveRouter, source: Path, whole: bytes) -> None:
    """The kill may come when only the folder was left to remove."""
    source.with_name("out.parquet.parts").mkdir()
    (source.with_name("out.parquet.parts") / "lock").touch()
    source.with_name("out.parquet").write_bytes(whole)
    with pytest.raises(InvalidInputError, match="exists; replace it with --overwrite"):
        run(router, source)
    run(router, source, overwrite=True)
    assert content(source) == whole
    assert not source.with_name("out.parquet.parts").exists()


def test_killed_again_and_again_it_loses_one_part_each_time(router: AdaptiveRouter, source: Path, whole: bytes) -> None:
    """Every attempt gets a little further: what the one before it had stored is not routed again."""
    seen = []

    class Killed(BaseException):
        """Stands for the end of the process; files are as a kill would leave them, and the lock is free."""

    def after_a_part(rows: int, _total: int | None) -> None:
        seen.append(rows)
        if rows >= seen[0] + (PART_BATCHES + 1) * 10:
            raise Killed

    starts = []
    for _ in range(20):
        seen = []
        try:
            report = run(router, source, progress=after_a_part)
            break
        except Killed:
            starts.append(seen[0])
    assert starts == [0, 160, 320, 480, 640, 800]
    assert report.resumed == 960
    assert report.rows == 1_000
    assert content(source) == whole


@pytest.mark.parametrize("name", ["in.parquet", "in.csv", "in.jsonl"])
def test_it_goes_on_in_the_middle_of_every_format(router: AdaptiveRouter, tmp_path: Path, name: str) -> None:
    pq.write_table(rows(500), tmp_path / "first.parquet", row_group_size=77)
    source = tmp_path / name
    run(router, tmp_path / "first.parquet", name, columns=BulkColumns(prefix="first_"))
    run(router, source, "whole.csv")
    with pytest.raises(ZeroDivisionError):
        run(router, source, "out.csv", progress=lambda rows, _: 1 // (rows < 250))
    assert run(router, source, "out.csv").resumed == 160
    assert content(source, "out.csv") == content(source, "whole.csv")


@pytest.fixture
def cut_off(router: AdaptiveRouter, source: Path) -> None:
    """A run towards out.parquet that got 320 rows far."""
    with pytest.raises(ZeroDivisionError):
        run(router, source, progress=lambda rows, _: 1 // (rows < 400))


@pytest.mark.usefixtures("cut_off")
def test_an_input_that_has_changed_is_noticed(router: AdaptiveRouter, source: Path) -> None:
    pq.write_table(rows(1_000, start=1), source)
    with pytest.raises(InvalidInputError, match=r"of a run with another input; begin .* anew with --overwrite"):
        run(router, source)
    assert run(router, source, overwrite=True).resumed == 0
    assert pq.read_table(source.with_name("out.parquet")).column("id")[0].as_py() == 1


@pytest.mark.usefixtures("cut_off")
def test_an_input_that_was_only_touched_counts_as_another(router: AdaptiveRouter, source: Path) -> None:
    os.utime(source, ns=(0, 0))
    with pytest.raises(InvalidInputError, match="another input"):
        run(router, source)


@pytest.mark.usefixtures("cut_off")
@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"batch_rows": 20}, "batch size"),
        ({"columns": BulkColumns(prefix="to_")}, "columns"),
        ({"threshold": 0.5}, "options"),
        ({"allow": ["billing"]}, "options"),
    ],
)
def test_other_options_do_not_go_on_with_what_is_there(
    router: AdaptiveRouter, source: Path, options: dict[str, Any], key: str
) -> None:
    with pytest.raises(InvalidInputError, match=f"with another {key}; begin"):
        run(router, source, **options)
    assert run(router, source).resumed == 320


@pytest.mark.usefixtures("cut_off")
def test_other_routes_do_not_go_on_with_what_is_there(router: AdaptiveRouter, source: Path) -> None:
    with AdaptiveRouter(seeded.SeededEncoder()) as other:
        other.add_routes([*router.routes, seeded.route("more")])
        with pytest.raises(InvalidInputError, match="with another routes; begin"):
            run(other, source)


@pytest.mark.usefixtures("cut_off")
def test_a_part_that_the_disk_has_damaged_is_an_error(router: AdaptiveRouter, source: Path) -> None:
    part = source.with_name("out.parquet.parts") / "part-000000.arrow"
    part.write_bytes(part.read_bytes()[:600])
    with pytest.raises(InvalidInputError, match=r"part-000000.arrow is damaged: .*begin anew with --overwrite"):
        run(router, source)
    assert not source.with_name("out.parquet").exists()


def test_an_input_that_changes_while_it_is_read_gives_no_output(router: AdaptiveRouter, source: Path) -> None:
    with pytest.raises(InvalidInputError, match="was changed while it was being read"):
        run(router, source, progress=lambda rows, _: os.utime(source, ns=(0, rows)))
    assert not source.with_name("out.parquet").exists()


def test_two_runs_towards_one_output_are_one_too_many(router: AdaptiveRouter, source: Path) -> None:
    refused: list[str] = []

    def try_another(_rows: int, _total: int | None) -> None:
        with pytest.raises(InvalidInputError) as caught:
            run(router, source)
        refused.append(str(caught.value))

    run(router, source, batch_rows=1_000, progress=try_another)
    assert refused
    assert all("another process is writing" in message for message in refused)


# ------------------------------------------------------------------------------------------------------ bad input
def test_an_output_that_exists_is_replaced_only_if_that_is_wanted(router: AdaptiveRouter, source: Path) -> None:
    out = source.with_name("out.parquet")
    out.write_text("mine")
    with pytest.raises(InvalidInputError, match="exists; replace it with --overwrite"):
        run(router, source)
    assert out.read_text() == "mine"
    run(router, source, overwrite=True)
    assert pq.read_metadata(out).num_rows == 1_000


def test_a_folder_of_something_else_is_left_alone(router: AdaptiveRouter, source: Path) -> None:
    folder = source.with_name("out.parquet.parts")
    folder.mkdir()
    (folder / "precious").touch()
    with pytest.raises(InvalidInputError, match="is not of a run that was cut off"):
        run(router, source, overwrite=True)
    assert (folder / "precious").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("in.parquet", b"PAR1 and no more"), "cannot read .*in.parquet: "),
        (("in.csv", b""), "cannot read .*in.csv: "),
        (("in.csv", b"text,b\n1\n"), "cannot read .*in.csv: "),
        (("in.jsonl", b"{"), "cannot read .*in.jsonl: "),
        (("in.jsonl", b'{"said": "a"}'), "no such column; there are said"),
        (("in.txt", b"a"), "the extension is '.txt', wanted one of .parquet, .csv"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_an_error(
    router: AdaptiveRouter, tmp_path: Path, given: tuple[str, bytes], message: str
) -> None:
    source = tmp_path / given[0]
    source.write_bytes(given[1])
    with pytest.raises(InvalidInputError, match=message):
        run(router, source)
    assert not (tmp_path / "out.parquet").exists()


def test_paths_that_cannot_be_are_refused(router: AdaptiveRouter, source: Path) -> None:
    with pytest.raises(InvalidInputError, match="No such file"):
        run(router, source.with_name("gone.parquet"))
    with pytest.raises(InvalidInputError, match="is the input"):
        run(router, source, "in.parquet", overwrite=True)
    with pytest.raises(InvalidInputError, match=r"cannot write .*No such file"):
        route_file(router, source, source.parent / "gone" / "out.parquet")
    with pytest.raises(InvalidInputError, match="extension is ''"):
        run(router, source, "out")
    with pytest.raises(InvalidInputError, match="batch_rows is 0"):
        run(router, source, batch_rows=0)


def test_a_format_that_cannot_hold_a_column_says_so_before_anything_is_routed(
    router: AdaptiveRouter, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"text": ["a"], "list": [[1]]}), tmp_path / "in.parquet")
    with pytest.raises(InvalidInputError, match=r"column 'list' is of type list<.*Parquet alone"):
        run(router, tmp_path / "in.parquet", "out.csv")


def test_a_disk_that_is_full_is_an_error_and_afterwards_it_goes_on(
    router: AdaptiveRouter, source: Path, whole: bytes
) -> None:
    """The limit of the process stands for the disk: the kernel refuses to write beyond it."""
    child = os.fork()
    if child == 0:
        import resource
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        # Enough for each part, not for all that is joined of them.
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) - 1, len(whole) - 1))
        try:
            run(router, source)
        except SynaptoRouteError as exc:
            os._exit(42 if "cannot write" in str(exc) else 1)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
    assert run(router, source).resumed == 1_000
    assert content(source) == whole


# --------------------------------------------------------------------------------------------------------- memory
@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.usefixtures("traced")
def test_memory_does_not_grow_with_the_file(router: AdaptiveRouter, tmp_path: Path) -> None:
    """25 and 50 parts in one row group: neither Arrow nor Python ever holds more than a few of them."""
    wide = 2_000

    def most_held(count: int) -> tuple[int, int]:
        source = tmp_path / f"{count}.parquet"
        texts = pa.array([f"billing {number % 50}" for number in range(count)])
        payload = pa.array([f"{number:0{wide}}" for number in range(count)])
        pq.write_table(pa.table({"text": texts, "payload": payload}), source, use_dictionary=False, compression="none")
        assert pq.read_metadata(source).num_row_groups == 1
        del texts, payload
        arrow, python = [], []

        def look(_rows: int, _total: int | None) -> None:
            arrow.append(pa.total_allocated_bytes())
            python.append(tracemalloc.get_traced_memory()[1])

        before = pa.total_allocated_bytes()
        tracemalloc.reset_peak()
        at_start = tracemalloc.get_traced_memory()[0]
        assert run(router, source, batch_rows=20, progress=look, overwrite=True).rows == count
        return max(arrow) - before, max(python) - at_start

    small, large = most_held(8_000), most_held(16_000)
    for held, of_twice_as_many in zip(small, large, strict=True):
        assert of_twice_as_many < 1.25 * held
        assert of_twice_as_many < 16_000 * wide / 4
