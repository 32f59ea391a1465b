"""Networks run by onnxruntime: each text alone, several texts at once on as many cores."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from synaptoroute.encoder.base import Vectors
from synaptoroute.errors import EncoderUnavailableError
from synaptoroute.forking import PerProcess
from synaptoroute.profile import OptimizationProfile

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer

#: An execution provider of onnxruntime, by its name or with options.
Provider: TypeAlias = str | tuple[str, dict[str, Any]]
CPU: tuple[Provider, ...] = ("CPUExecutionProvider",)
#: Most texts that one thread takes at a time.
_STRETCH = 16

#: Of the states of a text's tokens (tokens, dim): their mean, that of the first, that of the last. None if the network
#: does it itself and gives one vector a text.
Pooling: TypeAlias = Literal["mean", "cls", "last"]
_POOLED: dict[Pooling | None, Callable[[Any], Vectors]] = {
    "mean": lambda states: states.mean(axis=0),
    "cls": lambda states: states[0],
    "last": lambda states: states[-1],
    None: lambda states: states,
}
POOLINGS = tuple(_POOLED)


@dataclass(frozen=True, slots=True)
class Network:
    """What a process loads once: nothing in it changes after loading, so threads share it without a lock.

    Attributes:
        session: The graph.
        tokenizer: Cuts what is too long, pads nothing.
        feed: The graph's inputs for the ids of one text (1, tokens).
        output: The name of the output that is wanted; None for the first.
        pooling: What becomes of the states of its tokens.
    """

    session: InferenceSession
    tokenizer: Tokenizer
    feed: Callable[[Any], dict[str, Any]]
    output: str | None = None
    pooling: Pooling | None = "mean"


class TextRuns:
    """Encodes by a network, each text in a run of its own.

    Dynamic quantisation scales activations over all that is in a batch, so in a shared batch a text's vector would
    depend on its neighbours (measured with the bundled weights: by up to 0.024 in cosine). Alone, a text has one
    vector, bit for bit, whatever else is encoded and from whichever thread; several texts are spread over the cores
    instead, which on CPUs is as fast as a batch and needs no padding.

    Args:
        load: Makes the network, on first use and again in a forked child.
        cores: Texts encoded at once.
    """

    def __init__(self, load: Callable[[], Network], *, cores: int) -> None:
        self._load, self._cores = load, cores
        self._loaded: PerProcess[tuple[Network, ThreadPoolExecutor]] = PerProcess()

    def network(self) -> Network:
        """The network, loaded if it is not."""
        return self._loaded.get(self._make)[0]

    def encode(self, texts: Sequence[str], dim: int) -> Vectors:
        """Unit rows, float32 (len(texts), dim). Raises what ``load`` raises."""
        vectors = np.empty((len(texts), dim), np.float32)
        if not texts:
            return vectors
        network, pool = self._loaded.get(self._make)
        length = min(_STRETCH, math.ceil(len(texts) / self._cores))
        starts = range(0, len(texts), length)
        remaining = iter(starts)

        def work() -> None:
            for start in remaining:
                stretch = slice(start, start + length)
                vectors[stretch] = encode_each(network, texts[stretch])

        # The calling thread works too.
        helpers = [pool.submit(work) for _ in range(min(self._cores, len(starts)) - 1)]
        work()
        for helper in helpers:
            # One still queued behind other callers' work has nothing left to do.
            if not helper.cancel():
                helper.result()
        return vectors

    def encode_in_thread(self, texts: Sequence[str], dim: int) -> Vectors:
        """``encode`` in the calling thread alone."""
        vectors = np.empty((len(texts), dim), np.float32)
        if texts:
            vectors[:] = encode_each(self.network(), texts)
        return vectors

    def _make(self) -> tuple[Network, ThreadPoolExecutor]:
        workers = max(1, self._cores - 1)
        return self._load(), ThreadPoolExecutor(workers, thread_name_prefix="synaptoroute-encode")


def encode_each(network: Network, texts: Sequence[str]) -> list[Vectors]:
    """The unit vector of each text, run alone.

    Tokenising, running and pooling take turns by stretches of texts: after each run of the network the caches hold
    nothing of the other two, and going back and forth costs a text a tenth of its time.
    """
    wanted = None if network.output is None else [network.output]
    run, feed, pooled = network.session.run, network.feed, _POOLED[network.pooling]
    # A tokenizer without marks for beginning and end finds nothing in a text of signs it does not know.
    ids = [np.array([encoding.ids or [0]], np.int64) for encoding in map(network.tokenizer.encode, texts)]
    states = [np.asarray(run(wanted, feed(row))[0][0], np.float32) for row in ids]
    vectors = [pooled(each) for each in states]
    return [vector / np.sqrt(vector @ vector) for vector in vectors]


def open_session(
    graph: bytes | Path,
    whose: str,
    *,
    cores: int,
    profile: OptimizationProfile,
    providers: Sequence[Provider] = CPU,
    fused: bool = False,
) -> InferenceSession:
    """A session whose runs take one core each, or all of them for LATENCY.

    Args:
        graph: The content of an ONNX file, or where it is.
        whose: Named in errors.
        cores: All there are to use.
        profile: See above.
        providers: What onnxruntime may compute with, in order of preference.
        fused: The graph is optimised already, and onnxruntime's own changes would make it slower.

    Raises:
        EncoderUnavailableError: A provider is not there or does not start, or onnxruntime cannot load the graph.
    """
    # Imported here: with the tokenizers it takes a third of a second, and `import synaptoroute` must not.
    import onnxruntime

    require_providers(providers, onnxruntime.get_available_providers(), whose)
    options = onnxruntime.SessionOptions()
    latency = profile is OptimizationProfile.LATENCY
    options.intra_op_num_threads = cores if latency else 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if latency else "0")
    if fused:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    given = str(graph) if isinstance(graph, Path) else graph
    try:
        session = onnxruntime.InferenceSession(given, options, providers=list(providers))
    except Exception as exc:
        raise EncoderUnavailableError(f"onnxruntime cannot load {whose}: {exc}") from exc
    # One that is compiled in and finds no driver is left out by onnxruntime with no more than a line in the log.
    if (first := _name(providers[0])) not in session.get_providers():
        raise EncoderUnavailableError(
            f"{first} did not start for {whose} (driver or libraries missing?); running would be "
            f"{', '.join(session.get_providers())}: mend it, or name another provider first"
        )
    return session


def require_providers(providers: Sequence[Provider], available: Sequence[str], whose: str) -> None:
    """Raises EncoderUnavailableError if onnxruntime was built without one of these providers, or none is given."""
    missing = [name for name in map(_name, providers) if name not in available]
    if missing or not providers:
        raise EncoderUnavailableError(
            f"{', '.join(missing) or 'no provider'} is wanted for {whose}, and this onnxruntime has "
            f"{', '.join(available)}; for a GPU install onnxruntime-gpu in the place of onnxruntime"
        )


def _name(provider: Provider) -> str:
    return provider if isinstance(provider, str) else provider[0]
