"""Importing many routes: JSON Lines, all checked before anything changes, in parts, and again after a kill."""

from __future__ import annotations

import io
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from synaptoroute import AdaptiveRouter, Route, planning, route_files, table, table_files
from synaptoroute.cli import app
from synaptoroute.decision import lessons
from synaptoroute.errors import EncoderError, InvalidInputError, InvalidRouteError
from synaptoroute.route_files import iter_routes, read_routes, route_entry, write_routes
from synaptoroute.storage import SQLiteStorage
from tests.seeded import SeededEncoder, route, small_heads

ROOT = Path(__file__).parents[2]

#: The command, made to store 4 routes at once and to write down what it encodes; killed where it would encode again.
IMPORTER = """
import os, signal, sys
from pathlib import Path
from synaptoroute import planning
from synaptoroute.cli import main
from synaptoroute.encoder import BundledEncoder

encode, calls = BundledEncoder.encode, 0

def encode_and_note(self, texts):
    global calls
    calls += 1
    if calls == int(os.environ["KILLED_AT"]):
        os.kill(os.getpid(), signal.SIGKILL)
    with Path("encoded.txt").open("a") as file:
        file.writelines(f"{text}\\n" for text in texts)
    return encode(self, texts)

BundledEncoder.encode = encode_and_note
planning._ROUTES_AT_ONCE = 4
main()
"""


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SYNAPTOROUTE_DB", raising=False)


def run(*arguments: str, stdin: bytes = b"") -> tuple[int, str]:
    result = CliRunner().invoke(app, arguments, input=stdin, catch_exceptions=False)
    assert result.stdout == ""
    return result.exit_code, result.stderr


def stored(db: str = "routes.db") -> list[Route]:
    storage = SQLiteStorage(db)
    try:
        return list(storage.routes())
    finally:
        storage.close()


def lines(*routes: Route) -> str:
    return "".join(f"{json.dumps(route_entry(each))}\n" for each in routes)


def read(text: str | bytes) -> list[Route]:
    return read_routes(io.StringIO(text) if isinstance(text, str) else io.BytesIO(text), "jsonl")


# ----------------------------------------------------------------------------------------------------- JSON Lines
def test_a_file_of_json_lines_has_one_route_a_line(tmp_path: Path) -> None:
    some = [route("ann", "ä\u2028ö\x85", "two\r\nlines"), Route(name="bob", utterances=["x"], metadata={"a": [1]})]
    for name in ("routes.jsonl", "routes.NDJSON"):
        write_routes(iter(some), name)
        written = Path(name).read_bytes()
        assert [json.loads(line)["name"] for line in written.split(b"\n")[:-1]] == ["ann", "bob"]
        assert read_routes(name) == list(iter_routes(name)) == read(written) == read(b"\xef\xbb\xbf" + written) == some


def test_only_one_line_is_in_memory_at_a_time() -> None:
    class Endless(io.BytesIO):
        lines = 0

        def readline(self, _limit: int | None = -1, /) -> bytes:
            self.lines += 1
            return lines(route(f"r{self.lines}")).encode()

    endless = Endless()
    assert [each.name for each in itertools.islice(iter_routes(endless, "jsonl"), 3)] == ["r1", "r2", "r3"]
    assert endless.lines == 3


def test_routes_are_written_one_by_one() -> None:
    target = io.StringIO()
    seen = []

    def some() -> Iterator[Route]:
        for number in range(3):
            seen.append(target.getvalue().count("\n"))
            yield route(f"r{number}")

    write_routes(some(), target, "jsonl")
    assert seen == [0, 1, 2]


def test_blank_lines_are_skipped() -> None:
    assert read(f"\n{lines(route('ann'))}\r\n  \n{lines(route('bob')).strip()}") == [route("ann"), route("bob")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 3: not JSON: Expecting property name"),
        ("null", "line 3: wanted a mapping with name and utterances, got NoneType"),
        ('{"name": "bob"}', "line 3: it has no utterances"),
        ('{"name": "ann", "utterances": ["x"]}', "line 3: the route 'ann' is in the file twice"),
        ('{"name": "bob", "utterances": ["x"], "name": "bob"}', "line 3: the key 'name' is there twice"),
        ('{"version": 1, "routes": []}', "line 3: unknown keys 'version', 'routes'"),
        ("[" * 100_000, "line 3: it is nested too deeply"),
        (b"\xff", "line 3: it is not UTF-8"),
    ],
)
def test_a_bad_line_is_refused_with_its_number_after_those_before_it(line: str | bytes, message: str) -> None:
    good = lines(route("ann")).encode()
    bad = line.encode() if isinstance(line, str) else line
    found = iter_routes(io.BytesIO(good + b"\n" + bad + b"\n"), "jsonl")
    assert next(found) == route("ann")
    with pytest.raises(InvalidInputError) as caught:
        next(found)
    assert message in str(caught.value)


def test_a_line_over_the_limit_is_refused_and_a_larger_file_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route_files, "MAX_FILE_BYTES", 1 << 20)
    large = Route(name="large", utterances=[f"{number} {'x' * 30_000}" for number in range(25)])
    assert read(lines(large, large.replaced(name="other")))[1].name == "other"
    with pytest.raises(InvalidInputError, match="line 2: it is over 1 MiB"):
        read(
            lines(
                large,
                large.replaced(
                    name="other", utterances=[*large.utterances, *(f"{n} {'y' * 30_000}" for n in range(20))]
                ),
            )
        )


def test_errors_name_the_file(tmp_path: Path) -> None:
    Path("mine.jsonl").write_text('{"name": "a"}\n')
    with pytest.raises(InvalidRouteError, match=r"mine\.jsonl: line 1: it has no utterances"):
        read_routes("mine.jsonl")
    with pytest.raises(InvalidInputError, match=r"gone\.jsonl: cannot be read: No such file"):
        read_routes("gone.jsonl")


# ------------------------------------------------------------------------------------------------------- the command
def test_an_import_that_was_killed_continues_when_it_is_repeated() -> None:
    routes = [route(f"r{number}", "first", "second") for number in range(10)]
    write_routes(routes, "routes.jsonl")

    def imported(killed_at: int) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "KILLED_AT": str(killed_at)}
        command = [sys.executable, "-c", IMPORTER, "routes", "import", "routes.jsonl"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    killed = imported(3)
    assert killed.returncode == -signal.SIGKILL
    assert stored() == routes[:8]

    repeated = imported(0)
    assert repeated.returncode == 0
    assert repeated.stderr == "imported routes.jsonl: 2 routes added, 0 changed, 8 left as they were; revision 3\n"
    assert stored() == routes
    encoded = Path("encoded.txt").read_text().splitlines()
    assert encoded == [text for each in routes for text in each.utterances], "nothing was encoded twice"


@pytest.mark.parametrize("name", ["new.jsonl", "new.json"])
def test_a_file_that_is_not_valid_to_its_end_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "_ROUTES_AT_ONCE", 1)
    entries = [route_entry(route("ann")), {"name": "bob", "utterances": []}]
    Path(name).write_text(json.dumps(entries) if name == "new.json" else "\n".join(map(json.dumps, entries)))
    code, said = run("routes", "import", name)
    assert code == 1
    assert said.startswith(f"error: {name}: ")
    assert not Path("routes.db").exists()
    SQLiteStorage("routes.db").close()
    assert run("routes", "import", name)[0] == 1
    assert stored() == []


def test_a_conflict_in_the_last_line_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "_ROUTES_AT_ONCE", 1)
    write_routes([route("ann")], "old.jsonl")
    assert run("routes", "import", "old.jsonl")[0] == 0
    write_routes([route("bob"), route("ann", "anew")], "new.jsonl")
    code, said = run("routes", "import", "new.jsonl")
    assert code == 1
    assert "there is already a route 'ann', so nothing was imported" in said
    assert stored() == [route("ann")]


@pytest.mark.parametrize("policy", ["error", "skip", "replace", "merge"])
def test_importing_the_same_again_changes_nothing(policy: str) -> None:
    write_routes([route("ann", "one", "two"), route("bob")], "routes.jsonl")
    assert run("routes", "import", "routes.jsonl")[1].endswith(
        "2 routes added, 0 changed, 0 left as they were; revision 1\n"
    )
    again = run("routes", "import", "routes.jsonl", "--on-conflict", policy)
    assert again == (0, "imported routes.jsonl: 0 routes added, 0 changed, 2 left as they were; revision 1\n")


def test_utterances_in_another_order_are_no_change() -> None:
    write_routes([route("ann", "one", "two")], "routes.jsonl")
    run("routes", "import", "routes.jsonl")
    write_routes([route("ann", "two", "one")], "routes.jsonl")
    again = run("routes", "import", "routes.jsonl", "--on-conflict", "replace")
    assert again == (0, "imported routes.jsonl: 0 routes added, 0 changed, 1 left as they were; revision 1\n")


def test_what_can_be_read_only_once_is_imported_too() -> None:
    some = [route("ann"), route("bob")]
    assert run("routes", "import", "-", "--format", "jsonl", "--db", "a.db", stdin=lines(*some).encode())[0] == 0
    assert stored("a.db") == some
    os.mkfifo("pipe.jsonl")
    writer = threading.Thread(target=lambda: Path("pipe.jsonl").write_text(lines(*some)))
    writer.start()
    assert run("routes", "import", "pipe.jsonl", "--db", "b.db")[0] == 0
    writer.join()
    assert stored("b.db") == some


def test_an_export_as_json_lines_gives_the_same_routes() -> None:
    write_routes([route("ann"), Route(name="bob", utterances=["x"], threshold=0.0)], "routes.jsonl")
    run("routes", "import", "routes.jsonl")
    code, said = run("routes", "export", "again.jsonl")
    assert (code, said) == (0, "exported 2 routes to again.jsonl\n")
    assert Path("again.jsonl").read_bytes() == Path("routes.jsonl").read_bytes()


# ------------------------------------------------------------------------------------------------------- load_routes
def test_routes_are_taken_as_they_are_needed_and_each_part_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "_ROUTES_AT_ONCE", 4)
    monkeypatch.setattr(planning, "_UTTERANCES_AT_ONCE", 9)
    # Parts of 4 routes, of 2 with many utterances, of 1 with more, and the rest.
    sizes = [1, 1, 1, 1, 8, 1, 20, 2, 2]
    routes = [route(f"r{number}", *range(size)) for number, size in enumerate(sizes)]
    held = []

    def some() -> Iterator[Route]:
        for taken, each in enumerate(routes):
            held.append(taken - len(loading))
            yield each

    told: list[int] = []
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(tmp_path / "a.db")) as loading:
        assert loading.load_routes(some(), progress=told.append) == loading.revision == 4
        assert list(loading.routes) == routes
    assert max(held) == 3, "what was taken before is stored"
    assert told == [4, 13, 33, 37]


def test_what_was_loaded_before_an_error_stays_and_is_not_encoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "_ROUTES_AT_ONCE", 2)
    routes = [route(f"r{number}") for number in range(5)]
    encoder = SeededEncoder()
    with AdaptiveRouter(encoder) as loading:
        with monkeypatch.context() as patch:
            encode = encoder.encode

            def failing(texts: list[str]) -> object:
                if "r3 0" in texts:
                    raise EncoderError("out of memory")
                return encode(texts)

            patch.setattr(encoder, "encode", failing)
            with pytest.raises(EncoderError, match="out of memory"):
                loading.load_routes(routes)
        assert list(loading.routes) == routes[:2]
        told: list[int] = []
        assert loading.load_routes(routes, progress=told.append) == 3
        assert list(loading.routes) == routes
        assert encoder.encoded == sum(len(each.utterances) for each in routes)
        assert told == [6, 9]
        assert loading.load_routes(routes) == 3


def test_graphs_and_learning_wait_until_all_routes_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("usearch")
    monkeypatch.setattr(planning, "_ROUTES_AT_ONCE", 2)
    monkeypatch.setattr(table, "SEGMENTED_FROM", 10)
    monkeypatch.setattr(table_files, "GRAPH_PAYS_FROM", 12)
    monkeypatch.setattr(lessons, "EFFORTS", small_heads(1))
    routes = [route(f"r{number}") for number in range(12)]
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(tmp_path / "a.db")) as loading:

        def some() -> Iterator[Route]:
            for each in routes:
                assert loading.wait_until_fitted()
                assert loading.snapshot.two_stage is None
                assert getattr(loading.snapshot.index, "graph", None) is None
                yield each

        loading.load_routes(some())
        assert not loading.settled
        loading.wait_until_fitted()
        assert loading.snapshot.two_stage is not None
        assert getattr(loading.snapshot.index, "graph", None) is not None
