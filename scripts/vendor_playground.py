"""Bring the scripts of others that the playground and the API page use into the package, just as they were published.

They are committed, so that installing, testing and building need no npm; this script is how they got there, and how a
newer version does: change ``PACKAGES``, run it, commit what it wrote. It needs npm and its registry.

    python scripts/vendor_playground.py           # fetch, verify, write
    python scripts/vendor_playground.py --check   # only compare what is there with the manifest
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

VENDOR = Path(__file__).parents[1] / "src" / "synaptoroute" / "server" / "playground" / "vendor"
MANIFEST = VENDOR / "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """An npm package, the hash the registry publishes for it, and the files of it that are used."""

    name: str
    version: str
    licence: str
    integrity: str
    files: tuple[str, ...]


PACKAGES = (
    Package(
        name="uplot",
        version="1.6.32",
        licence="MIT",
        integrity="sha512-KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw==",
        files=("LICENSE", "dist/uPlot.iife.min.js", "dist/uPlot.min.css"),
    ),
    Package(
        name="swagger-ui-dist",
        version="5.35.0",
        licence="Apache-2.0",
        integrity="sha512-U06rpMtW9V3XPGOBeamTUSr0Z09jMX4IJuANpE/EZbAhw0G8CgwrzU4YmXkn/h0wCDNsXdGarTNNHC3sU8yVUQ==",
        files=("LICENSE", "NOTICE", "swagger-ui-bundle.js", "swagger-ui-bundle.js.LICENSE.txt", "swagger-ui.css"),
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="only compare the files that are there")
    if not parser.parse_args().check:
        entries = [fetched(package) for package in PACKAGES]
        MANIFEST.write_text(json.dumps({"packages": entries}, indent=2) + "\n", encoding="utf-8")
    wrong = differing()
    for line in wrong:
        print(line, file=sys.stderr)
    sys.exit(1 if wrong else 0)


def fetched(package: Package) -> dict[str, object]:
    """Write the files of a package and describe them. Leaves at a hash that is not the pinned one."""
    folder = VENDOR / package.name
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        packed = subprocess.run(
            ["npm", "pack", "--json", f"{package.name}@{package.version}"],  # noqa: S607
            cwd=temporary,
            check=True,
            capture_output=True,
            text=True,
        )
        print(f"fetched {package.name} {package.version} ({len(packed.stdout)} bytes said about it)")
        (archive,) = Path(temporary).glob("*.tgz")
        digest = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if digest != package.integrity:
            sys.exit(f"{package.name} {package.version} has {digest}, wanted {package.integrity}; nothing was written")
        hashes = {}
        with tarfile.open(archive) as tar:
            for name in package.files:
                source = tar.extractfile(f"package/{name}")
                if source is None:
                    sys.exit(f"{package.name} {package.version} has no file {name}")
                content = source.read()
                target = folder / Path(name).name
                target.write_bytes(content)
                hashes[f"{package.name}/{target.name}"] = hashlib.sha256(content).hexdigest()
    return {
        "name": package.name,
        "version": package.version,
        "licence": package.licence,
        "integrity": package.integrity,
        "sha256": hashes,
    }


def differing() -> list[str]:
    """What is not as the manifest says: one line for each file that differs, is missing, or is not named there."""
    manifest = json.loads(MANIFEST.read_text(encoding="utf-8"))
    wanted: dict[str, str] = {}
    for entry in manifest["packages"]:
        wanted |= entry["sha256"]
    present = {
        path.relative_to(VENDOR).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.rglob("*")
        if path.is_file() and path != MANIFEST
    }
    names = sorted(wanted.keys() | present.keys())
    return [
        f"{name}: {present.get(name, 'missing')}, wanted {wanted.get(name, 'no such file')}"
        for name in names
        if wanted.get(name) != present.get(name)
    ]


if __name__ == "__main__":
    main()
