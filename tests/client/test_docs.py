"""The programs of docs/client.md run as they stand, one after another, on a server without routes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from synaptoroute.bench.http.service import serving

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
PROGRAMS: list[str] = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
WANTED = [
    "billing ['billing', 'weather']\nweather matched\nNone below_confidence\n",
    "['billing', 'weather']\n",
    "somebody was quicker: read it again\n",
    "2 1.0\n",
]


def test_the_programs_print_what_they_should() -> None:
    with serving(settings={"SYNAPTOROUTE_LOG_LEVEL": "warning"}) as service:
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "SYNAPTOROUTE_URL": service.url}
        printed = []
        for program in PROGRAMS:
            code = program.replace("http://127.0.0.1:8000", service.url)
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
            printed.append(done.stdout + done.stderr)
    assert printed == WANTED


def test_every_error_it_names_exists() -> None:
    from synaptoroute import errors

    for name in re.findall(r"`(\w+Error)`", TEXT):
        assert issubclass(getattr(errors, name), errors.SynaptoRouteError)
