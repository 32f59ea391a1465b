from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from synaptoroute.bench.machine import git, machine
from synaptoroute.bench.manifest import Manifest, ManifestError, read_manifest, to_json, write_manifest
from tests.bench.conftest import result


def test_what_is_written_is_read_back_the_same_and_in_the_same_order(manifest: Manifest, tmp_path: Path) -> None:
    path = tmp_path / "results" / "accuracy.json"
    write_manifest(manifest, path)
    assert read_manifest(path) == manifest
    assert to_json(read_manifest(path)) == path.read_text(encoding="utf-8") == to_json(manifest)
    assert list(json.loads(path.read_text(encoding="utf-8"))) == list(Manifest.model_fields)
    assert [file.name for file in path.parent.iterdir()] == ["accuracy.json"]


def test_the_reference_run_is_small_enough_to_be_committed(manifest: Manifest) -> None:
    # Seven data sets, most of them with 5, 10 and all utterances, one tuned as well.
    rows = tuple(result("clinc150", shots, tuned=shots is None) for shots in (5, 10, None)) * 7
    assert len(to_json(manifest.model_copy(update={"results": rows}))) < 150_000


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"schema_version": 2}, "schema_version 2, wanted 1"),
        ({"schema_version": None}, "schema_version None, wanted 1"),
        ({"surprise": 1}, "surprise: Extra inputs are not permitted"),
        ({"command": 7}, "command: Input should be a valid string"),
        ({"created_at": "2026-01-01T00:00:00"}, "created_at: .*timezone"),
        ({"limit": 0}, "limit: Input should be greater than or equal to 1"),
        ({"datasets": [{"name": "x"}]}, r"datasets\.0\.licence: Field required"),
    ],
)
def test_another_schema_and_wrong_fields_are_refused(
    manifest: Manifest, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(manifest.model_dump(mode="json") | change), encoding="utf-8")
    with pytest.raises(ManifestError, match=told):
        read_manifest(path)


def test_shares_outside_of_zero_and_one_are_refused(manifest: Manifest, tmp_path: Path) -> None:
    path = tmp_path / "wrong.json"
    content = manifest.model_dump(mode="json")
    content["results"][0]["figures"]["top1"]["value"] = 92.5
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ManifestError, match=r"results\.0\.figures\.top1\.value"):
        read_manifest(path)


def test_a_manifest_from_before_the_baseline_is_read(manifest: Manifest, tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    content = manifest.model_dump(mode="json")
    for row in content["results"]:
        del row["nearest"]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert all(row.nearest is None for row in read_manifest(path).results)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_manifest_is_told_as_such(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "wrong.json"
    path.write_bytes(content)
    with pytest.raises(ManifestError, match=r"wrong\.json"):
        read_manifest(path)
    with pytest.raises(ManifestError, match=r"absent\.json"):
        read_manifest(tmp_path / "absent.json")


def test_a_manifest_that_cannot_be_written_is_an_error_of_ours(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ManifestError, match="cannot write the manifest"):
        write_manifest(manifest, tmp_path / "file" / "accuracy.json")


def test_the_machine_is_described_as_far_as_the_system_tells(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(
        "processor\t: 0\nmodel name\t: Fast CPU @ 3 GHz\nflags\t\t: fpu avx2 avx512_vnni\n", encoding="utf-8"
    )
    found = machine(cpuinfo)
    assert (found.cpu, found.features) == ("Fast CPU @ 3 GHz", ("avx2", "avx512_vnni"))
    assert found.cores >= 1
    unknown = machine(tmp_path / "absent")
    assert unknown.cpu
    assert unknown.features == ()


def test_the_revision_is_that_of_the_package_and_not_of_what_lies_around_it(tmp_path: Path) -> None:
    own, other = tmp_path / "own.py", tmp_path / "other.py"
    own.touch()
    other.touch()
    assert git(own) is None
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    for command in (["init", "--quiet"], ["add", "own.py"], [*identity, "commit", "--quiet", "-m", "one"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    found = git(own)
    assert found is not None
    assert len(found.revision) == 40
    assert not found.dirty
    assert git(other) is None
    own.write_text("changed", encoding="utf-8")
    changed = git(own)
    assert changed is not None
    assert changed.dirty
