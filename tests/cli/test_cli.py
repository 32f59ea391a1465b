from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from synaptoroute import __version__
from synaptoroute.cli import app, doctor
from synaptoroute.encoder import BundledEncoder
from synaptoroute.models import Route
from synaptoroute.route_files import write_routes
from synaptoroute.router import AdaptiveRouter
from synaptoroute.storage import SQLiteStorage

SOURCE = Path(__file__).parents[2] / "src"

ROUTES = [
    Route(
        name="billing",
        utterances=["what do I owe", "show my balance", "pay my bill", "how much is my invoice"],
        threshold=0.25,
        description="What the customer owes",
        metadata={"team": "finance"},
    ),
    Route(
        name="weather",
        utterances=["will it rain", "is it sunny outside", "weather forecast for tomorrow", "how cold is it"],
    ),
]


class Result:
    """What a command left behind."""

    def __init__(self, code: int, stdout: str, stderr: str) -> None:
        self.code, self.stdout, self.stderr = code, stdout, stderr

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.stdout.splitlines()]


def run(*arguments: object, stdin: str | bytes = "") -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin, catch_exceptions=False)
    return Result(result.exit_code, result.stdout, result.stderr)


def spawn(*arguments: object, stdin: bytes = b"", **environment: str) -> Result:
    """The command as a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "synaptoroute", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE), **environment},
        timeout=60,
        check=False,
    )
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


def on_terminal(*arguments: object, stream: str = "stdout", **environment: str) -> str:
    """What the command writes to that stream when it is a terminal."""
    terminal, end = os.openpty()
    streams: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: end}
    process = subprocess.Popen(
        [sys.executable, "-m", "synaptoroute", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(SOURCE), **environment},
        **streams,
    )
    os.close(end)
    shown = bytearray()
    try:
        # Linux reports the end of a terminal's other side as an error.
        with suppress(OSError):
            while content := os.read(terminal, 65_536):
                shown += content
    finally:
        os.close(terminal)
        process.wait(timeout=60)
    return shown.decode().replace("\r\n", "\n")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("SYNAPTOROUTE_DB", "FORCE_COLOR"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def db(tmp_path: Path, encoder: BundledEncoder) -> Path:
    path = tmp_path / "store.db"
    with AdaptiveRouter(encoder, SQLiteStorage(path)) as router:
        router.add_routes(ROUTES)
    return path


def stored(db: Path) -> list[Route]:
    with AdaptiveRouter(storage=SQLiteStorage(db)) as router:
        return list(router.routes)


# ---------------------------------------------------------------------------------------------------- the whole
def commands(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        yield (*path, name), command
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))


@pytest.mark.parametrize(("path", "command"), [pytest.param(*pair, id=" ".join(pair[0])) for pair in commands()])
def test_every_command_and_option_is_documented(path: tuple[str, ...], command: Any) -> None:
    assert command.help
    for parameter in command.params:
        assert parameter.help, f"{' '.join(path)}: {parameter.name} has no help"
    result = run(*path, "--help")
    assert result.code == 0
    assert result.stderr == ""


def test_these_are_the_commands() -> None:
    assert [" ".join(path) for path, _ in commands()] == [
        "route", "import", "evaluate", "fit", "operating-point", "lint", "replay", "backup", "restore", "verify",
        "repair", "serve", "mcp", "init", "watch", "top", "doctor", "demo", "routes",
        "routes list", "routes show", "routes add", "routes remove", "routes import", "routes export",
        "routes log", "routes diff", "routes rollback", "routes generate", "routes migrate-encoder",
        "routes snapshot",
        "routes snapshot save", "routes snapshot list", "routes snapshot use", "routes snapshot delete",
        "feedback", "feedback add", "feedback list", "feedback export", "feedback show",
        "feedback propose", "feedback accept", "feedback dismiss", "feedback forget", "keys", "keys new",
        "bench", "bench peers", "bench tiebreak", "bench tools", "bench cascade", "bench accuracy", "bench report",
        "bench latency",
        "bench throughput", "bench scale", "bench mutation", "bench coldboot", "bench http",
        "config", "config show", "config path", "config check",
    ]  # fmt: skip


def test_help_loads_no_engine() -> None:
    code = (
        "import sys; sys.argv = ['synaptoroute', '--help']\n"
        "from synaptoroute.cli import main\n"
        "try: main()\n"
        "except SystemExit as exc: assert exc.code == 0\n"
        "loaded = {'onnxruntime', 'sklearn', 'numpy', 'tokenizers', 'sqlite3', 'yaml'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_version() -> None:
    assert spawn("--version").stdout == f"synaptoroute {__version__}\n"


def test_no_command_and_an_unknown_one_are_wrong_usage() -> None:
    assert run().code == 2
    unknown = run("rout")
    assert (unknown.code, unknown.stdout) == (2, "")
    assert "rout" in unknown.stderr


# -------------------------------------------------------------------------------------------------------- route
def test_exit_codes_of_route_in_real_processes(db: Path) -> None:
    matched = spawn("route", "--db", db, "show me my balance")
    assert (matched.code, matched.stderr) == (0, "")
    header, row = matched.stdout.splitlines()
    assert header.split("  ")[0] == "query"
    assert row.startswith("show me my balance  billing ")
    assert "show my balance" in row

    abstained = spawn("route", "--db", db, "--min-confidence", 1, "--json", "show me my balance")
    assert (abstained.code, abstained.stderr) == (3, "")
    assert abstained.json["name"] is None

    failed = spawn("route", "--db", "gone.db", "show me my balance")
    assert (failed.code, failed.stdout) == (1, "")
    assert failed.stderr.startswith("error: there is no store gone.db")
    assert len(failed.stderr.splitlines()) == 1

    misused = spawn("route", "--db", db, "--top-k", 0, "show me my balance")
    assert (misused.code, misused.stdout) == (2, "")
    assert "--top-k" in misused.stderr


def test_stdin_lines_become_json_lines_whatever_the_locale(db: Path) -> None:
    result = spawn(
        "route", "--json", "--threshold", -1, stdin="pay my bill\n\n  will it rain, señor\r\n".encode(),
        SYNAPTOROUTE_DB=str(db), PYTHONIOENCODING="ascii", LC_ALL="C",
    )  # fmt: skip
    assert (result.code, result.stderr) == (0, "")
    assert [(line["query"], line["name"]) for line in result.lines] == [
        ("pay my bill", "billing"),
        ("will it rain, señor", "weather"),
    ]
    with AdaptiveRouter(storage=SQLiteStorage(db)) as router:
        decision = router.route("pay my bill", threshold=-1).to_dict()
    assert list(result.lines[0]) == ["query", *decision]
    assert result.lines[0]["confidence"] == pytest.approx(decision["confidence"], abs=1e-5)


def test_a_bad_line_is_reported_and_the_others_are_answered(db: Path, tmp_path: Path) -> None:
    file = tmp_path / "queries.txt"
    file.write_bytes(b"\xef\xbb\xbfpay my bill\n\n\xff\xfe\n" + b"x" * 40_000 + b"\nwill it rain")
    result = run("route", "--db", db, "--file", file, "--json")
    assert result.code == 1
    assert [line["query"] for line in result.lines] == ["pay my bill", "will it rain"]
    first, second = result.stderr.splitlines()
    assert "queries.txt: line 3: text is not valid Unicode" in first
    assert "queries.txt: line 4: text has 40,000 characters" in second


def test_an_empty_text_is_an_error_and_an_empty_file_is_none(db: Path) -> None:
    result = run("route", "--db", db, "--json", " ", "pay my bill")
    assert (result.code, result.stderr) == (1, "error: text 1: text is empty or only white space\n")
    assert len(result.lines) == 1
    empty = run("route", "--db", db, stdin="\n")
    assert (empty.code, empty.stdout, empty.stderr) == (0, "", "")


def test_more_lines_than_a_batch_come_back_in_order(db: Path) -> None:
    queries = [f"will it rain on day {day}" for day in range(150)]
    result = run("route", "--db", db, "--json", "--top-k", 1, stdin="\n".join(queries))
    assert [line["query"] for line in result.lines] == queries
    assert {len(line["matches"]) for line in result.lines} == {1}


def test_routes_from_a_file_need_no_store(tmp_path: Path) -> None:
    write_routes(ROUTES, tmp_path / "routes.yaml")
    result = run("route", "--routes", "routes.yaml", "--json", "--threshold", -1, "--allow", "weather", "pay my bill")
    assert result.code == 0
    assert result.json["name"] == "weather"
    assert [match["name"] for match in result.json["matches"]] == ["weather"]
    assert [path.name for path in tmp_path.iterdir()] == ["routes.yaml"]


def test_options_that_exclude_each_other_are_wrong_usage(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("route", "--file", "queries.txt", "pay my bill").code == 2
    assert run("route", "--db", db, "--routes", "routes.json", "pay my bill").code == 2
    assert run("route", "--db", db, "--threshold", 1.5, "pay my bill").code == 2
    # A store that only the environment names gives way to --routes, which then is not found.
    monkeypatch.setenv("SYNAPTOROUTE_DB", str(db))
    assert "routes.json" in run("route", "--routes", "routes.json", "pay my bill").stderr


def test_an_unknown_route_in_allow_is_a_failure(db: Path) -> None:
    result = run("route", "--db", db, "--allow", "sports", "pay my bill")
    assert (result.code, result.stdout) == (1, "")
    assert result.stderr == "error: there is no route 'sports'\n"


def test_a_table_keeps_long_and_strange_texts_on_one_line(db: Path) -> None:
    query = "pay my \x1b[31mbill [bold]now[/bold]\n" + "please " * 60
    result = run("route", "--db", db, "--threshold", -1, query)
    header, row = result.stdout.splitlines()
    assert "pay my \\x1b[31mbill [bold]now[/bold]\\n" + ("please " * 60).strip() in row
    assert row.index("billing") == header.index("route")


def test_on_a_terminal_the_table_fits_and_loses_nothing(db: Path) -> None:
    query = "please tell me whether it is going to rain " * 3
    shown = on_terminal("route", "--db", db, "--threshold", -1, query, COLUMNS="80", NO_COLOR="1")
    shown = shown.replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert "\x1b" not in shown, "only bold is left when colour is not wanted"
    assert max(map(len, shown.splitlines())) <= 80
    words = " ".join(line[1:30] for line in shown.splitlines()).split()
    assert words.count("please") == 3


def test_progress_and_errors_appear_on_a_terminal_and_never_on_stdout(tmp_path: Path) -> None:
    write_routes(ROUTES, tmp_path / "routes.json")
    shown = on_terminal("routes", "import", "routes.json", "--db", "new.db", stream="stderr", TERM="xterm")
    assert "encoding" in shown
    assert "2 routes added" in shown
    # As the file is there now, stdout would say so too if it said anything.
    assert on_terminal("routes", "import", "routes.json", "--db", "new.db") == ""


# ------------------------------------------------------------------------------------------------------- routes
def test_list(db: Path) -> None:
    result = run("routes", "list", "--db", db)
    assert (result.code, result.stderr) == (0, "")
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["route", "utterances", "threshold", "description"],
        ["billing", "4", "0.250", "What", "the", "customer", "owes"],
        ["weather", "4", "-", "-"],
    ]
    assert run("routes", "list", "--db", db, "--json").json == [
        {"name": "billing", "utterance_count": 4, "threshold": 0.25, "description": "What the customer owes"},
        {"name": "weather", "utterance_count": 4, "threshold": None, "description": None},
    ]


def test_show(db: Path) -> None:
    shown = run("routes", "show", "billing", "--db", db).stdout.splitlines()
    assert shown[0] == "name: billing"
    assert "  show my balance" in shown
    assert Route(**run("routes", "show", "billing", "--db", db, "--json").json) == ROUTES[0]
    missing = run("routes", "show", "sports", "--db", db)
    assert (missing.code, missing.stdout, missing.stderr) == (1, "", "error: there is no route 'sports'\n")


def test_add_append_and_remove(tmp_path: Path) -> None:
    db = tmp_path / "new.db"
    added = run("routes", "add", "refund", "-u", "money back", "-u", "return it", "--threshold", 0, "--db", db)
    assert (added.code, added.stdout, added.stderr) == (0, "", "route 'refund' has 2 utterances, revision 1\n")
    again = run("routes", "add", "refund", "-u", "x", "--db", db)
    assert again.code == 1
    assert "--append" in again.stderr
    assert run("routes", "add", "refund", "--append", "-u", "refund me", "--description", "Back", "--db", db).code == 0
    assert stored(db) == [
        Route(name="refund", utterances=["money back", "return it", "refund me"], threshold=0, description="Back")
    ]
    assert run("routes", "remove", "refund", "-u", "return it", "--db", db).code == 0
    assert stored(db)[0].utterances == ("money back", "refund me")
    assert run("routes", "remove", "refund", "-u", "return it", "--db", db).code == 1
    assert run("routes", "remove", "refund", "--db", db).code == 0
    assert stored(db) == []
    assert run("routes", "remove", "refund", "--db", db).code == 1


def test_append_to_a_store_or_route_that_is_missing_makes_none(db: Path) -> None:
    assert run("routes", "add", "sports", "--append", "-u", "goal", "--db", db).code == 1
    assert run("routes", "add", "sports", "--append", "-u", "goal", "--db", "gone.db").code == 1
    assert not Path("gone.db").exists()
    assert run("routes", "add", "sports", "--db", db).code == 2


def test_the_environment_names_the_store(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("routes", "list").code == 1
    monkeypatch.setenv("SYNAPTOROUTE_DB", str(db))
    assert len(run("routes", "list", "--json").json) == 2


@pytest.mark.parametrize("name", ["routes.json", "routes.yaml", "routes.csv"])
def test_export_then_import_gives_the_same_routes(db: Path, name: str) -> None:
    exported = run("routes", "export", name, "--db", db)
    assert (exported.code, exported.stdout, exported.stderr) == (0, "", f"exported 2 routes to {name}\n")
    imported = run("routes", "import", name, "--db", "copy.db")
    assert (imported.code, imported.stdout) == (0, "")
    assert "2 routes added" in imported.stderr
    assert stored(Path("copy.db")) == stored(db)


def test_a_store_goes_through_a_pipe(db: Path) -> None:
    exported = spawn("routes", "export", "--db", db)
    assert (exported.code, exported.stderr) == (0, "")
    imported = spawn("routes", "import", "-", "--format", "json", "--db", "copy.db", stdin=exported.stdout.encode())
    assert (imported.code, imported.stdout) == (0, "")
    assert stored(Path("copy.db")) == stored(db)
    assert run("routes", "export", "-", "--format", "csv", "--db", db).stdout.startswith("route,utterance,")
    assert run("routes", "import", "-", "--db", db, stdin="[]").code == 1


@pytest.mark.parametrize(
    ("policy", "utterances", "threshold"),
    [
        ("skip", ROUTES[0].utterances, 0.25),
        ("replace", ("show my balance", "settle up"), None),
        ("merge", (*ROUTES[0].utterances, "settle up"), 0.25),
    ],
)
def test_what_import_does_about_a_route_that_is_there(
    db: Path, policy: str, utterances: tuple[str, ...], threshold: float | None
) -> None:
    news = Route(name="news", utterances=["what happened today"])
    write_routes([Route(name="billing", utterances=["settle up", "show my balance"]), news], "new.json")
    refused = run("routes", "import", "new.json", "--db", db)
    assert refused.code == 1
    assert "there is already a route 'billing'" in refused.stderr
    assert stored(db) == ROUTES

    result = run("routes", "import", "new.json", "--on-conflict", policy, "--db", db)
    assert result.code == 0
    assert "1 route added" in result.stderr
    assert result.stderr.endswith("revision 2\n")
    billing, weather, added = stored(db)
    assert (billing.utterances, billing.threshold) == (utterances, threshold)
    assert (weather, added) == (ROUTES[1], news)

    twice = run("routes", "import", "new.json", "--on-conflict", policy, "--db", db)
    assert twice.stderr.endswith("0 routes added, 0 changed, 2 left as they were; revision 2\n")


def test_imported_vectors_are_those_of_their_utterances(db: Path, encoder: BundledEncoder) -> None:
    other = Route(name="billing", utterances=["settle up", "pay my bill"])
    write_routes([Route(name="first", utterances=["one", "two"]), other], "new.json")
    assert run("routes", "import", "new.json", "--on-conflict", "replace", "--db", db).code == 0
    with AdaptiveRouter(encoder, SQLiteStorage(db)) as router:
        for route in router.routes:
            for text in route.utterances:
                match = router.route(text, threshold=-1).matches[0]
                assert (match.name, match.utterance) == (route.name, text)
                assert match.score == pytest.approx(1, abs=1e-5)


def test_a_file_that_is_half_good_imports_nothing(db: Path) -> None:
    Path("bad.csv").write_text("route,utterance\nnews,what happened\nnews,\n")
    result = run("routes", "import", "bad.csv", "--on-conflict", "merge", "--db", db)
    assert (result.code, result.stdout) == (1, "")
    assert result.stderr == "error: bad.csv: line 3: 'news': the utterance is empty\n"
    assert stored(db) == ROUTES
    assert run("routes", "import", "bad.csv", "--db", "fresh.db").code == 1
    assert not Path("fresh.db").exists()


def test_an_export_that_cannot_be_written_is_a_failure(db: Path) -> None:
    result = run("routes", "export", "none/routes.json", "--db", db)
    assert result.code == 1
    assert result.stderr.startswith("error: none/routes.json: cannot be written")


# ------------------------------------------------------------------------------------------------------- doctor
def test_doctor_without_a_store() -> None:
    result = run("doctor", "--json")
    assert result.code == 0
    checks = {check["name"]: check for check in result.json["checks"]}
    assert result.json["healthy"] is True
    assert {"synaptoroute", "python", "numpy", "onnxruntime", "tokenizers", "pydantic", "scikit-learn", "cpu int8",
            "usable cores", "encoder", "sqlite"} == set(checks)  # fmt: skip
    assert "384 dimensions of length 1.0000" in checks["encoder"]["seen"]
    assert BundledEncoder().fingerprint in checks["encoder"]["seen"]
    old = sqlite3.sqlite_version_info < (3, 51, 3)
    assert (checks["sqlite"]["status"], "WAL-reset" in (checks["sqlite"]["advice"] or "")) == (
        ("warning", True) if old else ("ok", False)
    )


def test_doctor_loads_no_scikit_learn() -> None:
    code = (
        "import sys; from synaptoroute.cli import doctor\n"
        "list(doctor._versions()); assert not {'sklearn', 'onnxruntime', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(SOURCE)}, timeout=60, check=True)


def test_doctor_looks_into_a_store(db: Path) -> None:
    result = run("doctor", "--db", db)
    assert (result.code, result.stderr) == (0, "")
    assert "passes SQLite's integrity check" in result.stdout
    assert "2 routes, 8 utterances, revision 1, vectors of all-MiniLM-L6-v2" in result.stdout


def test_doctor_warns_of_vectors_of_another_encoder(db: Path) -> None:
    connection = sqlite3.connect(db)
    with connection:
        connection.execute("UPDATE encoders SET fingerprint = 'other'")
    connection.close()
    result = run("doctor", "--db", db, "--json")
    assert result.code == 0
    assert result.json["checks"][-1]["status"] == "warning"
    assert "cannot be compared" in result.json["checks"][-1]["seen"]


def test_doctor_finds_a_store_that_is_missing(tmp_path: Path) -> None:
    result = run("doctor", "--db", "gone.db", "--json")
    assert (result.code, result.json["healthy"]) == (1, False)
    assert not list(tmp_path.iterdir())


def damaged_vector(db: Path) -> None:
    connection = sqlite3.connect(db)
    with connection:
        connection.execute("UPDATE utterances SET vector = zeroblob(1536) WHERE id = 2")
    connection.close()


def damaged_page(db: Path) -> None:
    content = bytearray(db.read_bytes())
    content[4096:] = b"\x5a" * (len(content) - 4096)
    db.write_bytes(content)


def foreign(db: Path) -> None:
    db.write_text("no database at all")


@pytest.mark.parametrize("damage", [damaged_vector, damaged_page, foreign])
def test_a_damaged_store_is_one_line_of_error_and_broken_for_doctor(db: Path, damage: Any) -> None:
    damage(db)
    # What does not need the vectors can still be rescued when only they are damaged.
    rescuable = damage is damaged_vector
    for arguments in (["route", "pay my bill"], *([] if rescuable else [["routes", "list"], ["routes", "export"]])):
        result = run(*arguments, "--db", db)
        assert (result.code, result.stdout) == (1, "")
        assert result.stderr.startswith("error: ")
        assert len(result.stderr.splitlines()) == 1
        assert str(db) in result.stderr
    checked = run("doctor", "--db", db, "--json")
    assert checked.code == 1
    assert checked.json["healthy"] is False
    assert "broken" in {check["status"] for check in checked.json["checks"]}


@pytest.mark.parametrize(
    ("content", "features"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512_vnni\n", {"avx2": True, "avx512_vnni": True, "avx_vnni": False}),
        ("processor\t: 0\nFeatures\t: fp asimd asimddp\n", {"asimddp": True, "i8mm": False}),
        ("processor\t: 0\n", None),
    ],
)
def test_cpu_features_are_read_from_cpuinfo(tmp_path: Path, content: str, features: dict[str, bool] | None) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(content)
    assert doctor._int8_features(cpuinfo) == features
    assert doctor._int8_features(tmp_path / "none") is None
