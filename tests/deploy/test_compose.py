"""The compose file: what it sets is read, and what it takes away is not needed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import synaptoroute
from tests.deploy.dockerfile import IMAGE_STAGE, ROOT, only
from tests.deploy.promised import variables

FILE = ROOT / "deploy" / "compose.yaml"
COMPOSE = yaml.safe_load(FILE.read_text())
SERVER = COMPOSE["services"]["server"]


def test_it_builds_the_dockerfile_of_this_version() -> None:
    context = (FILE.parent / SERVER["build"]["context"]).resolve()
    assert context == ROOT
    assert (context / SERVER["build"]["dockerfile"]).is_file()
    assert SERVER["image"] == f"synaptoroute:{synaptoroute.__version__}"


def test_its_variables_are_those_of_the_server_and_a_key_is_required() -> None:
    assert set(SERVER["environment"]) <= variables()
    assert SERVER["environment"]["SYNAPTOROUTE_KEYS"].startswith("${SYNAPTOROUTE_KEYS:?")


def test_the_root_is_read_only_and_what_is_written_to_is_mounted() -> None:
    assert SERVER["read_only"] is True
    (volume,) = only(IMAGE_STAGE, "VOLUME").words
    assert [mount.partition(":")[2] for mount in SERVER["volumes"]] == [volume]
    assert [mount.partition(":")[0] for mount in SERVER["tmpfs"]] == ["/tmp"]  # noqa: S108 - of the container
    assert SERVER["user"] == only(IMAGE_STAGE, "USER").rest
    assert SERVER["cap_drop"] == ["ALL"]


def test_it_is_reached_from_this_machine_alone() -> None:
    (port,) = SERVER["ports"]
    address, _, inside = port.split(":")
    assert (address, inside) == ("127.0.0.1", only(IMAGE_STAGE, "EXPOSE").rest)


def test_it_is_given_the_time_to_finish() -> None:
    grace, drain = (float(SERVER["environment"][f"SYNAPTOROUTE_{name}_S"]) for name in ("SHUTDOWN_GRACE", "DRAIN"))
    (seconds,) = re.findall(r"^(\d+)s$", SERVER["stop_grace_period"])
    assert float(seconds) > grace + drain


def test_its_own_linter_is_content() -> None:
    pytest.importorskip("compose_lint", reason="compose-lint is not installed; make test-all installs it")
    program = Path(sys.executable).with_name("compose-lint")
    # Below "high" it asks for a digest, which an image that is built here does not have yet.
    done = subprocess.run(
        [program, "check", "--fail-on", "high", str(FILE)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
