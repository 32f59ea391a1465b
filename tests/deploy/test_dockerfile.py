"""The Dockerfile names what there is, and gives the server no more than it needs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.deploy.dockerfile import DOCKERFILE, ROOT, environment, only, stages
from tests.deploy.promised import is_answered, serve_options, variables

ARGUMENTS, BUILD, IMAGE = stages()


def test_the_base_image_has_a_tag_and_both_stages_the_same_one() -> None:
    image = only(ARGUMENTS, "ARG").rest.partition("=")[2]
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", image)
    assert {stage[0].rest.split()[0] for stage in (BUILD, IMAGE)} == {"${PYTHON_IMAGE}"}


def test_it_runs_as_a_number_that_is_not_root_and_starts_without_a_shell() -> None:
    user, group = only(IMAGE, "USER").rest.split(":")
    assert int(user) >= 10_000
    assert int(group) >= 10_000
    created = " ".join(instruction.rest for instruction in IMAGE if instruction.word == "RUN")
    assert f"--uid {user}" in created
    assert only(IMAGE, "ENTRYPOINT").words == ["synaptoroute", "serve"]
    assert only(IMAGE, "STOPSIGNAL").rest == "SIGTERM"
    assert "apt-get" not in DOCKERFILE.read_text()
    assert not [instruction for instruction in (*BUILD, *IMAGE) if instruction.word == "ADD"]


def test_its_arguments_and_variables_are_those_of_the_server() -> None:
    flags = [word for word in only(IMAGE, "CMD").words if word.startswith("--")]
    assert flags
    assert set(flags) <= serve_options()
    given = {name for name in environment(IMAGE) if name.startswith("SYNAPTOROUTE_")}
    assert given
    assert given <= variables()


def test_the_store_is_on_the_volume_which_the_user_owns() -> None:
    (volume,) = only(IMAGE, "VOLUME").words
    assert only(IMAGE, "CMD").words[-1].startswith(f"{volume}/")
    user, group = only(IMAGE, "USER").rest.split(":")
    created = " ".join(instruction.rest for instruction in IMAGE if instruction.word == "RUN")
    assert f"--owner {user} --group {group} --mode 0750 {volume}" in created


def test_its_health_is_asked_without_curl_at_a_path_that_is_there() -> None:
    health = only(IMAGE, "HEALTHCHECK")
    assert health.words[:2] == ["python", "-c"]
    (path,) = re.findall(r"'(/\w+)'", health.words[2])
    assert path == "/readyz"
    assert is_answered(path)
    assert not is_answered("/nowhere")
    assert "curl" not in DOCKERFILE.read_text()
    assert only(IMAGE, "EXPOSE").rest == environment(IMAGE)["SYNAPTOROUTE_PORT"]


def test_the_extras_exist() -> None:
    extras = only(BUILD, "ARG").rest.partition("=")[2].split(",")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras) <= set(project["optional-dependencies"])
    assert "api" in extras


def test_what_is_copied_is_there_and_is_sent_to_the_builder() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {word for instruction in BUILD if instruction.word == "COPY" for word in instruction.rest.split()[:-1]}
    assert copied == sent
    for name in copied:
        assert (ROOT / name).exists(), name


def test_its_own_linter_is_content() -> None:
    program = Path(sys.executable).with_name("hadolint")
    found = str(program) if program.exists() else shutil.which("hadolint")
    if found is None:
        pytest.skip("hadolint is not installed; make test-all installs it")
    done = subprocess.run([found, "--no-color", str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
