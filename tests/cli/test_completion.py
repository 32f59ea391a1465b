"""Completion as shells ask for it: by variables of the environment, and once through bash itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from synaptoroute.encoder import BundledEncoder
from synaptoroute.models import Route
from synaptoroute.router import AdaptiveRouter
from synaptoroute.storage import SQLiteStorage

SOURCE = Path(__file__).parents[2] / "src"
PROGRAM = "import sys; sys.argv[0] = 'synaptoroute'; from synaptoroute.cli import main; main()"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, encoder: BundledEncoder) -> Path:
    """A folder with a store, files and folders; nothing in it is changed."""
    folder = tmp_path_factory.mktemp("completed")
    with AdaptiveRouter(encoder, SQLiteStorage(folder / "routes.db")) as router:
        router.add_route(Route(name="billing", utterances=["pay my bill"]))
        router.add_route(Route(name="check balance", utterances=["show my balance"]))
        router.save_snapshot("spring")
    for name in ("routes.yaml", "queries.csv", "notes.txt", "deep/er/more.yaml", "rows/one.csv", "rows/two.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "other.json").write_text('[{"name": "of a file", "utterances": ["x"]}]')
    return folder


def asked(folder: Path, line: str, shell: str = "bash", **environment: str) -> list[str]:
    """What a shell is offered for the last word of the line, which may be empty."""
    given = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(SOURCE),
        "HOME": str(folder),
        "_SYNAPTOROUTE_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": "\n".join(line.split(" ")),
        "COMP_CWORD": str(line.count(" ")),
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        **environment,
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=folder, env=given, timeout=60, check=False
    )
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("synaptoroute rou", ["route", "routes"]),
        ("synaptoroute routes show b", ["billing"]),
        ("synaptoroute routes show ", ["billing", "check\\ balance"]),
        ("synaptoroute routes remove zzz", []),
        ("synaptoroute route --allow che", ["check\\ balance"]),
        ("synaptoroute routes log --route b", ["billing"]),
        ("synaptoroute route --routes other.json --allow ", ["of\\ a\\ file"]),
        ("synaptoroute routes show --db gone.db ", []),
        ("synaptoroute routes show --db notes.txt ", []),
        ("synaptoroute routes snapshot use ", ["spring"]),
        ("synaptoroute routes rollback ", ["2", "1"]),
        ("synaptoroute routes import routes", ["routes.yaml"]),
        ("synaptoroute routes import deep", ["deep/er/more.yaml"]),
        ("synaptoroute evaluate ", ["deep/er/", "queries.csv", "rows/"]),
        ("synaptoroute evaluate rows/", ["rows/one.csv", "rows/two.csv"]),
        ("synaptoroute routes list --db r", ["routes.db", "rows/"]),
        ("synaptoroute evaluate nowhere/", []),
        ("synaptoroute --profile lat", ["latency"]),
    ],
)
def test_what_is_offered(folder: Path, line: str, offered: list[str]) -> None:
    expected = [word for word in offered if word != "deep/er/"]
    words = asked(folder, line)
    assert [word for word in words if not word.startswith("deep") or word in expected] == expected


def test_the_store_of_the_environment_and_of_the_file_of_settings_is_read(folder: Path, tmp_path: Path) -> None:
    store = str(folder / "routes.db")
    assert asked(tmp_path, "synaptoroute routes show b", SYNAPTOROUTE_DB=store) == ["billing"]
    (tmp_path / "synaptoroute.toml").write_text(f'db = "{store}"\n')
    assert asked(tmp_path, "synaptoroute routes show b") == ["billing"]
    (tmp_path / "synaptoroute.toml").write_text("db = = broken")
    assert asked(tmp_path, "synaptoroute routes show b") == []
    assert "routes" in asked(tmp_path, "synaptoroute rou")


def test_zsh_and_fish_get_names_as_they_are_and_what_revisions_did(folder: Path) -> None:
    assert asked(folder, "synaptoroute routes show che", "fish") == ["check balance"]
    assert asked(folder, "synaptoroute routes show che", "zsh") == ["_arguments '*: :((\"check balance\"))'"]
    assert asked(folder, "synaptoroute routes rollback 1", "fish")[0].endswith("add billing")


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_itself_completes_a_name_with_a_space(folder: Path, tmp_path: Path) -> None:
    program = tmp_path / "synaptoroute"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{PROGRAM}" "$@"\n')
    program.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(SOURCE), "HOME": str(folder)}
    script = subprocess.run(
        ["synaptoroute", "--show-completion", "bash"],
        capture_output=True, text=True, env=environment | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        timeout=60, check=True,
    ).stdout  # fmt: skip
    asking = (
        f"{script}\nCOMP_WORDS=(synaptoroute routes show che) COMP_CWORD=3\n"
        'COMPREPLY=(); _synaptoroute_completion synaptoroute; printf "%s\\n" "${COMPREPLY[@]}"\n'
        "complete -p synaptoroute\n"
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", asking], capture_output=True, text=True, cwd=folder, env=environment, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.stdout.splitlines()[0] == "check\\ balance"
    assert "-o default" in done.stdout, "where nothing is offered, bash offers files"


def test_a_name_is_completed_without_an_engine(folder: Path) -> None:
    code = (
        "import sys; sys.argv[0] = 'synaptoroute'\n"
        "from synaptoroute.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(sorted({'numpy', 'onnxruntime', 'scipy', 'sklearn'} & set(sys.modules)), file=sys.stderr)\n"
    )
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("SYNAPTOROUTE_")},
        "PYTHONPATH": str(SOURCE),
        "_SYNAPTOROUTE_COMPLETE": "complete_bash",
        "COMP_WORDS": "synaptoroute\nroutes\nshow\nb",
        "COMP_CWORD": "3",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        timeout=60,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("billing\n", "[]\n")
