"""The file of settings, the variables of the environment, and which of them counts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import typer

from synaptoroute.cli import app
from synaptoroute.cli.configured import variable
from synaptoroute.cli.settings import Settings
from synaptoroute.models import Route
from synaptoroute.route_files import write_routes
from tests.cli.test_cli import commands, run, spawn


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, without settings from anywhere else."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("SYNAPTOROUTE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))


def shown(*arguments: object) -> dict[str, Any]:
    result = run(*arguments, "config", "show", "--json")
    assert result.code == 0, result.stderr
    return {each["key"]: (each["value"], each["source"]) for each in result.json["settings"]}


def test_every_setting_fills_an_option_of_the_command_line() -> None:
    root = typer.main.get_command(app)
    declared = {
        name
        for command in (root, *(command for _, command in commands()))
        for parameter in command.params
        for name in (parameter.envvar if isinstance(parameter.envvar, list) else [parameter.envvar])
        if name
    }
    assert {variable(key) for key in Settings.model_fields} <= declared
    for key, info in Settings.model_fields.items():
        assert info.description, f"{key} is not described"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("synaptoroute.toml", 'db = "of-file.db"\nmin_confidence = 0.75\n'),
        ("synaptoroute.yaml", "db: of-file.db\nmin_confidence: 0.75\n"),
        ("home/synaptoroute/config.toml", 'db = "of-file.db"\nmin_confidence = 0.75\n'),
    ],
)
def test_the_file_fills_what_nothing_nearer_says(name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text)
    where = str(Path(name).parent / "of-file.db") if "/" in name else "of-file.db"
    settings = shown()
    assert settings["db"][0].endswith(where)
    assert settings["db"][1] == "file"
    assert settings["min_confidence"] == (0.75, "file")
    assert settings["profile"] == ("balanced", "default")
    assert where in run("routes", "list").stderr
    monkeypatch.setenv("SYNAPTOROUTE_DB", "of-environment.db")
    assert shown()["db"] == ("of-environment.db", "environment")
    assert "of-environment.db" in run("routes", "list").stderr
    assert "of-command-line.db" in run("routes", "list", "--db", "of-command-line.db").stderr


def test_a_file_can_be_named() -> None:
    Path("other.toml").write_text('db = "other.db"\n')
    Path("synaptoroute.toml").write_text('db = "here.db"\n')
    assert shown("--config", "other.toml")["db"] == ("other.db", "file")
    assert run("--config", "other.toml", "config", "path").stdout == "other.toml\n"
    assert run("config", "path").stdout == "synaptoroute.toml\n"
    missing = run("--config", "gone.toml", "routes", "list")
    assert missing.code == 1
    assert missing.stderr == "error: there is no file gone.toml; name another with --config or SYNAPTOROUTE_CONFIG\n"


def test_without_a_file_it_says_where_it_looked() -> None:
    result = run("config", "path", "--json")
    assert result.code == 1
    assert result.json["file"] is None
    assert result.json["looked_for"][0] == "synaptoroute.toml"
    assert "synaptoroute.toml" in run("config", "path").stderr


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("toml", 'db = "a.db"\nmin_confidnce = 0.5\n', "line 2: unknown key 'min_confidnce'; did you mean 'min_confid"),
        ("toml", "zzz = 1\n", "line 1: unknown key 'zzz'; known are db, routes, encoder"),
        ("toml", "# a\nmin_confidence = 1.5\n", "line 2: min_confidence: input should be less than or equal to 1"),
        ("toml", 'profile = "fast"\n', "line 1: profile: input should be 'latency', 'balanced' or 'throughput'"),
        ("toml", "db = = 1\n", "not TOML: "),
        ("toml", "server = 1\n", "line 1: server must be a table"),
        ("yaml", "db: a.db\ndb: b.db\n", "the key 'db' is there twice"),
        ("yaml", "db: [\n", "line 2: not YAML"),
        ("yaml", "- db\n", "wanted keys and values, got list"),
        ("yaml", "encodr: bundled\n", "line 1: unknown key 'encodr'; did you mean 'encoder'?"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_line(name: str, text: str, said: str) -> None:
    path = Path(f"synaptoroute.{name}")
    path.write_text(text)
    for arguments in (["routes", "list"], ["config", "show"], ["config", "check"]):
        result = run(*arguments)
        assert (result.code, result.stdout) == (1, "")
        assert result.stderr.startswith(f"error: {path}")
        assert said in result.stderr
        assert len(result.stderr.splitlines()) == 1
    checked = run("config", "check", "--json")
    assert (checked.code, checked.json["sound"], len(checked.json["problems"])) == (1, False, 1)
    assert run("--help").code == 0, "help works with a broken file"


def test_a_sound_file_is_sound_and_slips_in_the_environment_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("synaptoroute.toml").write_text('db = "a.db"\n')
    assert run("config", "check").stderr == "synaptoroute.toml is sound\n"
    monkeypatch.setenv("SYNAPTOROUTE_MIN_CONFIDENSE", "0.5")
    result = run("config", "check")
    assert result.code == 1
    assert "SYNAPTOROUTE_MIN_CONFIDENSE" in result.stderr
    assert "SYNAPTOROUTE_MIN_CONFIDENCE" in result.stderr


def test_a_variable_with_a_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNAPTOROUTE_MIN_CONFIDENCE", "most")
    result = run("config", "show")
    assert result.code == 2 or "SYNAPTOROUTE_MIN_CONFIDENCE" in result.stderr
    assert "SYNAPTOROUTE_MIN_CONFIDENCE" in result.stderr


def test_secrets_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("synaptoroute.toml").write_text('api_key = "very-secret"\n')
    for result in (run("config", "show"), run("config", "show", "--json")):
        assert result.code == 0
        assert "very-secret" not in result.stdout + result.stderr
        assert "********" in result.stdout
    monkeypatch.setenv("SYNAPTOROUTE_API_KEY", "even-more-secret")
    assert "even-more-secret" not in run("config", "show", "--json").stdout


def test_the_environment_goes_before_the_file_also_between_store_and_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    write_routes([Route(name="weather", utterances=["will it rain", "is it sunny"])], "routes.json")
    Path("synaptoroute.toml").write_text('routes = "routes.json"\nmin_confidence = 0\n')
    assert run("route", "will it rain", "--json").lines[0]["name"] == "weather"
    assert "gone.db" in run("route", "will it rain", "--db", "gone.db").stderr
    monkeypatch.setenv("SYNAPTOROUTE_DB", "of-environment.db")
    assert "of-environment.db" in run("route", "will it rain").stderr
    monkeypatch.setenv("SYNAPTOROUTE_ROUTES", "routes.json")
    assert "of-environment.db" in run("route", "will it rain").stderr, "said in one place, the store is the truth"
    monkeypatch.delenv("SYNAPTOROUTE_DB")
    assert run("route", "will it rain").code == 0


def test_the_encoder_and_the_least_confidence_hold_for_every_command() -> None:
    write_routes([Route(name="weather", utterances=["will it rain", "is it sunny"])], "routes.json")
    sure = run("--min-confidence", "1", "route", "--routes", "routes.json", "will it", "--json")
    assert (sure.code, sure.lines[0]["reason"]) == (3, "below_confidence")
    unsure = run("--min-confidence", "1", "route", "--routes", "routes.json", "--min-confidence", 0, "will it rain")
    assert unsure.code == 0
    wrong = run("--encoder", "nonsense", "route", "--routes", "routes.json", "x")
    assert (wrong.code, "there is no encoder 'nonsense'" in wrong.stderr) == (1, True)


def test_quiet_leaves_data_and_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    done = run("--quiet", "routes", "add", "weather", "-u", "rain", "--json")
    assert (done.code, done.stderr) == (0, "")
    assert done.json == {"name": "weather", "utterance_count": 1, "revision": 1}
    assert run("-q", "routes", "show", "gone").stderr == "error: there is no route 'gone'\n"
    monkeypatch.setenv("SYNAPTOROUTE_QUIET", "1")
    assert run("routes", "remove", "weather").stderr == ""
    monkeypatch.delenv("SYNAPTOROUTE_QUIET")
    assert run("routes", "add", "weather", "-u", "rain").stderr != "", "it is quiet only when told so"


def test_reading_a_file_of_settings_loads_no_engine() -> None:
    Path("synaptoroute.toml").write_text('db = "a.db"\n')
    code = (
        "import sys; sys.argv = ['synaptoroute', 'config', 'show']\n"
        "from synaptoroute.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(sorted({'numpy', 'onnxruntime', 'sklearn'} & set(sys.modules)), file=sys.stderr)\n"
    )
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr.splitlines()[-1] == "[]"


def test_a_secret_of_the_environment_is_not_in_help() -> None:
    shown = spawn("--help", SYNAPTOROUTE_API_KEY="very-secret")
    assert "very-secret" not in shown.stdout
