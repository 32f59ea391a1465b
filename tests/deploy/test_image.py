"""The Dockerfile's steps carried out without a container engine: built, installed, and served where nothing else can be
written.

As root on Linux the server runs as the image's user in a mount namespace whose root is read-only but for the places
that the image names; as anybody else it runs as that user, and what it has written is looked for afterwards.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.dockerfile import ROOT, environment, only, stages

pytestmark = pytest.mark.slow

_, BUILD, IMAGE = stages()
USER = int(only(IMAGE, "USER").rest.partition(":")[0])
(VOLUME,) = only(IMAGE, "VOLUME").words
READY_S = 120.0
READ_ONLY = """
set -e
mount --make-rprivate /
mount --bind "$1" "$1"
mount -t tmpfs -o size=64m,mode=1777 tmpfs /tmp
mount -o remount,bind,ro /
shift
exec setpriv --reuid "$1" --regid "$1" --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all -- "${@:2}"
"""


@dataclass(frozen=True, slots=True)
class Image:
    """What the steps made: the places of the image, below a folder of this machine."""

    folder: Path

    def here(self, text: str) -> str:
        """The same with the image's paths where they are here."""
        for path in ("/build", "/opt/synaptoroute", VOLUME):
            text = text.replace(path, f"{self.folder}{path}")
        return text

    @property
    def data(self) -> Path:
        return Path(self.here(VOLUME))

    def environment(self, **more: str) -> dict[str, str]:
        """What the image sets, and nothing of this process."""
        given = {name: self.here(value) for name, value in environment(IMAGE).items()}
        return {**given, "PATH": given["PATH"].replace("$PATH", os.defpath), **more}


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    # Not below the folder of the tests, which only its owner may look into.
    folder = Path(tempfile.mkdtemp(prefix="synaptoroute-image-", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        yield built(Image(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def built(image: Image) -> Image:
    """Copies and runs what the stage "build" says, with an environment in the place of the base image's Python."""
    base, build = image.folder / "base", Path(image.here("/build"))
    subprocess.run([interpreter(), "-m", "venv", base], check=True, timeout=120)
    build.mkdir()
    for instruction in BUILD:
        if instruction.word == "COPY":
            *sources, target = instruction.rest.split()
            for source in sources:
                copied(ROOT / source, build / target)
    extras = only(BUILD, "ARG").rest.partition("=")[2]
    known = {"PATH": f"{base / 'bin'}:{os.environ['PATH']}", "EXTRAS": extras, "HOME": str(image.folder)}
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "HTTP", "http"))}
    for instruction in BUILD:
        if instruction.word == "RUN":
            done = subprocess.run(
                ["/bin/sh", "-c", image.here(instruction.rest)],
                cwd=build, env=kept | environment(BUILD) | known, capture_output=True, text=True, timeout=900,
                check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr[-4_000:]
    image.data.mkdir(parents=True)
    image.data.chmod(0o750)
    if os.geteuid() == 0:
        os.chown(image.data, USER, USER)
    return image


def copied(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"), dirs_exist_ok=True)
    else:
        shutil.copy(source, target)


def interpreter() -> str:
    """A Python that the image's user can run too."""
    ours = getattr(sys, "_base_executable", sys.executable)
    for program in (ours, shutil.which("python3", path="/usr/local/bin:/usr/bin")):
        if program is None:
            continue
        who: dict[str, Any] = {"user": USER, "group": USER, "extra_groups": []} if os.geteuid() == 0 else {}
        try:
            code = "import sys, venv, ensurepip; assert sys.version_info >= (3, 11)"
            if subprocess.run([program, "-c", code], check=False, timeout=60, cwd="/", **who).returncode == 0:
                return str(program)
        except OSError:
            continue
    pytest.skip(f"there is no Python here that user {USER} may run")


@contextmanager
def running(image: Image, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """The image's command, as it would be run."""
    words = [*only(IMAGE, "ENTRYPOINT").words, *(image.here(word) for word in only(IMAGE, "CMD").words), *arguments]
    given = image.environment(**variables)
    program = shutil.which(words[0], path=given["PATH"])
    assert program is not None
    command = [program, *words[1:]]
    if confined():
        command = ["unshare", "--mount", "bash", "-c", READ_ONLY, "-", str(image.data), str(USER), *command]
    elif os.geteuid() == 0:
        command = ["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups", "--", *command]
    process = subprocess.Popen(command, env=given, cwd=image.data, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def confined() -> bool:
    """Whether a read-only root can be had here."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    probe = "mount --make-rprivate / && mount -o remount,bind,ro / && ! touch /var/tmp/synaptoroute-probe 2>/dev/null"
    return subprocess.run(["unshare", "--mount", "sh", "-c", probe], capture_output=True, check=False).returncode == 0


def is_healthy(image: Image, **variables: str) -> bool:
    """What the image's own health check says."""
    words = only(IMAGE, "HEALTHCHECK").words
    program = Path(image.here("/opt/synaptoroute")) / "bin" / words[0]
    done = subprocess.run(
        [program, *words[1:]], env=image.environment(**variables), capture_output=True, timeout=30, check=False
    )
    return done.returncode == 0


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def asked(url: str, key: str, body: Any, content_type: str = "application/json") -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": content_type}
    request = urllib.request.Request(url, content, headers)  # noqa: S310 - of loopback
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return json.loads(answer.read())


def test_without_a_key_it_refuses_to_listen_and_says_what_to_do(image: Image) -> None:
    with running(image, SYNAPTOROUTE_PORT=free_port()) as process:
        _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert b"synaptoroute keys new" in said


def test_it_serves_as_another_user_where_only_its_volume_can_be_written(image: Image) -> None:
    program = Path(image.here("/opt/synaptoroute")) / "bin" / "synaptoroute"
    new: list[str | Path] = [program, "keys", "new", "--name", "me", "--scope", "admin", "--json"]
    key = json.loads(subprocess.run(new, env=image.environment(), capture_output=True, check=True).stdout)
    port = free_port()
    variables = {"SYNAPTOROUTE_PORT": port, "SYNAPTOROUTE_KEYS": key["line"], "SYNAPTOROUTE_SHUTDOWN_GRACE_S": "0"}
    url, began_at = f"http://127.0.0.1:{port}", time.time()
    with running(image, **variables) as process:
        assert not is_healthy(image, SYNAPTOROUTE_PORT=free_port()), "it can fail"
        gives_up_at = time.monotonic() + READY_S
        while not is_healthy(image, **variables):
            assert process.poll() is None, process.communicate()[1].decode()
            assert time.monotonic() < gives_up_at, "it did not become ready"
        # Beyond 1 MiB a body passes through /tmp.
        routes = [{"name": "billing", "utterances": ["pay my bill"], "description": "x" * 8_000}]
        text = json.dumps(routes) + " " * (3 << 20)
        imported = asked(f"{url}/v1/import?format=json", key["key"], text.encode())
        assert imported["added"] == 1
        (decision,) = asked(f"{url}/v1/route", key["key"], {"text": "pay my bill"})["decisions"]
        assert decision["matches"][0]["name"] == "billing"
        with urllib.request.urlopen(f"{url}/", timeout=60) as page:  # noqa: S310 - of loopback
            assert "<script" in page.read().decode(), "the playground's files are in the wheel"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    written = [path for path in image.data.rglob("*") if path.is_file()]
    assert image.data / "routes.db" in written
    if os.geteuid() == 0:
        assert {path.stat().st_uid for path in written} == {USER}
    elsewhere = [path for path in image.folder.rglob("*") if path.is_file() and path.lstat().st_mtime > began_at]
    assert [path for path in elsewhere if image.data not in path.parents] == []
    shown = subprocess.run(
        [program, "routes", "list", "--json", "--db", image.data / "routes.db"],
        env=image.environment(), capture_output=True, check=True,
    )  # fmt: skip
    assert [route["name"] for route in json.loads(shown.stdout)] == ["billing"]
