"""Memory of large bodies goes back to the system."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

PROGRAM = """
import sys, threading
from synaptoroute.bench.load.memory import memory
from synaptoroute.server.trimming import keep_little, trim
if sys.argv[1] == "keep":
    keep_little()

together = threading.Barrier(9)

def fill():
    together.wait()
    # Larger than what is taken by itself from the system and given back at once, then much that is small.
    blocks = [bytearray(8 << 20) for _ in range(3)]
    del blocks
    small = [bytearray(1000) for _ in range(60_000)]
    del small
    together.wait()
    together.wait()

# All at once and alive while it is measured: one that has ended leaves its memory to the next, or not, by chance.
threads = [threading.Thread(target=fill, daemon=True) for _ in range(8)]
for thread in threads:
    thread.start()
for _ in range(2):
    together.wait()
before = memory().resident_bytes
trim()
print(before, memory().resident_bytes)
together.wait()
"""


def run(how: str) -> tuple[int, int]:
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    return before, after


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator only")
def test_a_process_keeps_little_of_what_threads_have_freed() -> None:
    kept, _ = run("keep")
    usual, _ = run("usual")
    assert kept < usual


def test_a_circle_of_garbage_is_found() -> None:
    from synaptoroute.server.trimming import trim

    class Circle:
        pass

    circle = Circle()
    circle.__dict__["itself"] = circle
    del circle
    trim()
    assert not [found for found in gc.get_objects() if type(found) is Circle]
