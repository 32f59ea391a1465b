"""Tests of the encoders."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import synaptoroute


def run_python(script: str, *args: str, within_s: float = 30, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a fresh interpreter that knows this synaptoroute, nothing cached and no proxy."""
    source = str(Path(synaptoroute.__file__).parents[1])
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "OPENAI_"))}
    settings = {"PYTHONPATH": source, "NO_PROXY": "*", "no_proxy": "*"} | environment
    return subprocess.run(
        [sys.executable, "-c", script, *args],
        env=inherited | settings,
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )


#: Forks after the encoder named by FORK_ENCODER has been used; exits with 0 if the child gets the same bits.
FORK = """
import os, sys, numpy
from synaptoroute.encoder import BundledEncoder, FastEmbedEncoder, OnnxEncoder, OpenAIEncoder

encoder = eval(sys.argv[1])
texts = ["show my balance", "what do I owe", "cancel my flight"]
before = encoder.encode(texts)
child = os.fork()
if child == 0:
    os._exit(0 if numpy.array_equal(encoder.encode(texts), before) else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
