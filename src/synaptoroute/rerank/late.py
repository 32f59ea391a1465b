"""LateInteractionReranker: the bundled network once more, this time token by token."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synaptoroute.caching import RecentCache
from synaptoroute.encoder.bundled import WEIGHTS
from synaptoroute.errors import InvalidInputError, RerankerUnavailableError
from synaptoroute.forking import PerProcess
from synaptoroute.rerank.base import Scores
from synaptoroute.rerank.network import Network

States = NDArray[np.float32]

_FOLDER = WEIGHTS / "minilm"


class LateInteractionReranker:
    """How well the tokens of two texts find each other: MaxSim (Khattab and Zaharia 2020), both ways.

    Where a text's vector is the mean of what the bundled network makes of its tokens, here each token of one text looks
    for the nearest of the other; the score is the mean cosine they find, of both directions, in [-1, 1]. It needs no
    weights of its own and no download, reads English, and takes about a millisecond for a text whose tokens are not
    known. Those of utterances are kept.

    The network is loaded on first use, a second time beside the encoder's (23 MB). After a fork the child loads its
    own.

    Args:
        cache_bytes: Memory for the tokens of texts scored lately, about 8 KB a text; 0 keeps none.

    Raises:
        InvalidInputError: ``cache_bytes`` is negative.
        RerankerUnavailableError: The weights are not there.
    """

    def __init__(self, *, cache_bytes: int = 32 << 20) -> None:
        if cache_bytes < 0:
            raise InvalidInputError(f"cache_bytes is {cache_bytes}, wanted 0 or more")
        try:
            manifest = (_FOLDER / "manifest.json").read_bytes()
        except OSError as exc:
            raise RerankerUnavailableError(f"no bundled model: {exc}; reinstall synaptoroute") from exc
        self._manifest: dict[str, Any] = json.loads(manifest)
        self._fingerprint = f"maxsim-{hashlib.sha256(manifest).hexdigest()[:16]}"
        self._network: PerProcess[Network] = PerProcess()
        self._kept: RecentCache[str, States] = RecentCache(cache_bytes, lambda _, states: states.nbytes)

    @property
    def name(self) -> str:
        """For people."""
        return f"late interaction of {self._manifest['name']}"

    @property
    def fingerprint(self) -> str:
        """Changes with the weights and the tokenizer."""
        return self._fingerprint

    def __repr__(self) -> str:
        return f"LateInteractionReranker(fingerprint={self.fingerprint!r})"

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        """Mean cosine of the tokens' best partners, float32 (len(texts),).

        Raises:
            RerankerUnavailableError: The weights are missing or damaged.
        """
        scores = np.empty(len(texts), np.float32)
        if not len(texts):
            return scores
        network = self._network.get(self._load)
        asked = _states(network, query)
        for place, text in enumerate(texts):
            states = self._kept.get(text)
            if states is None:
                states = _states(network, text)
                self._kept.put(text, states)
            met = asked @ states.T
            scores[place] = (met.max(axis=1).mean() + met.max(axis=0).mean()) / 2
        return scores

    def _load(self) -> Network:
        for name, wanted in self._manifest["sha256"].items():
            try:
                seen = hashlib.sha256((_FOLDER / name).read_bytes()).hexdigest()
            except OSError as exc:
                raise RerankerUnavailableError(f"cannot read {_FOLDER / name}: {exc}; reinstall synaptoroute") from exc
            if seen != wanted:
                raise RerankerUnavailableError(
                    f"{_FOLDER / name} is damaged: SHA-256 is {seen}, wanted {wanted}; reinstall synaptoroute"
                )
        return Network.load(
            _FOLDER / "model.onnx",
            _FOLDER / "tokenizer.json",
            max_tokens=int(self._manifest["max_tokens"]),
            threads=1,
            providers=("CPUExecutionProvider",),
            fused=True,
        )


def _states(network: Network, text: str) -> States:
    """Unit rows of a text's tokens (tokens, dim), without the two that mark beginning and end."""
    states = network.run(network.tokenizer.encode(text))[0]
    if len(states) > 2:
        states = states[1:-1]
    return np.asarray(states / np.linalg.norm(states, axis=1, keepdims=True), np.float32)
