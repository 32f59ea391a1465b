"""Whether an integration leaves the event loop free while texts are encoded."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Sequence
from typing import TypeVar

from synaptoroute.encoder import BundledEncoder
from synaptoroute.encoder.base import Vectors

Result = TypeVar("Result")


class GatedEncoder:
    """An encoder that waits while its gate is shut, and fails if nobody opens it."""

    def __init__(self, encoder: BundledEncoder) -> None:
        self._encoder = encoder
        self.name, self.dim, self.fingerprint = encoder.name, encoder.dim, encoder.fingerprint
        self.calls: list[list[str]] = []
        self._held: str | None = None
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.calls.append(list(texts))
        # What is learned in the background passes.
        if self._held is None or any(self._held in text for text in texts):
            self.entered.set()
            if not self.gate.wait(60):
                raise TimeoutError("nobody opened the gate: the event loop was blocked")
        return self._encoder.encode(texts)

    async def result_with_a_free_loop(self, work: Awaitable[Result], text: str | None = None) -> Result:
        """What the work returns, where the loop that runs it opens the gate once the encoder has been reached.

        Args:
            work: Has the text encoded, which is not known yet.
            text: At which the gate shuts; any by default.
        """
        self._held = text
        self.entered.clear()
        self.gate.clear()
        task = asyncio.ensure_future(work)
        while not self.entered.is_set():
            await asyncio.sleep(0.001)
            assert not task.done(), "nothing was encoded"
        self.gate.set()
        return await task
