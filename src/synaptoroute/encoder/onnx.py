"""Any sentence encoder that is an ONNX file beside its tokenizer, such as an export by Optimum or fastembed's files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synaptoroute.encoder.base import Vectors
from synaptoroute.encoder.networks import (
    CPU,
    POOLINGS,
    Network,
    Pooling,
    Provider,
    TextRuns,
    encode_each,
    open_session,
)
from synaptoroute.errors import EncoderUnavailableError, InvalidInputError
from synaptoroute.profile import OptimizationProfile, usable_cores

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer

#: Where exporters put the graph, in order of preference; a folder with one other ONNX file needs no name either.
MODEL_FILES = ("model.onnx", "model_optimized.onnx", "model_quantized.onnx")
#: Tokens a text is cut at where neither the caller nor the tokenizer's files say.
_MAX_TOKENS = 512
#: transformers writes 10**30 where a tokenizer has no limit.
_NO_LIMIT = 1_000_000
#: What exporters call the states of the tokens, and one vector a text.
_STATES, _SENTENCE = ("last_hidden_state", "token_embeddings", "hidden_states"), ("sentence_embedding",)
_INTEGERS: dict[str, type[np.integer[Any]]] = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
_CHUNK_BYTES = 1 << 20


class OnnxEncoder:
    """Any folder with an ONNX graph and its ``tokenizer.json``; float32 unit vectors, on this machine.

    Each text runs through the network alone (see ``TextRuns``): its vector depends on no other text, bit for bit, in
    quantised models too. Constructing hashes the files, loads them and runs one text, so that whatever does not fit is
    told there. After a fork the child loads its own.

    Args:
        path: The folder: ``model.onnx``, ``onnx/model.onnx`` and the like, and ``tokenizer.json`` in either place.
        pooling: What becomes of the states of a text's tokens: their "mean", the first ("cls"), the "last". None for
            a graph that has an output with one vector a text.
        query_prefix: Put before every query, such as "query: " for e5.
        prefix: Put before every utterance, such as "passage: ". To match like with like, give both the same.
        max_tokens: A longer text is cut there; by default what the tokenizer's files say, else 512.
        threads: Texts encoded at once; all usable cores by default.
        profile: LATENCY gives one text all cores instead of one.
        providers: onnxruntime execution providers, in order of preference, each a name or (name, options).
        model_file: The graph's path in the folder, where there are several.
        output: The graph's output to take, where its name says nothing.

    Raises:
        InvalidInputError: An argument is out of its range.
        EncoderUnavailableError: A file is missing or damaged, a provider absent, or the graph wants or gives something
            else than a sentence encoder.
    """

    #: Who makes the vectors, as OpenTelemetry names them.
    provider = "onnxruntime"

    def __init__(
        self,
        path: str | Path,
        *,
        pooling: Pooling | None = "mean",
        query_prefix: str = "",
        prefix: str = "",
        max_tokens: int | None = None,
        threads: int | None = None,
        profile: OptimizationProfile = OptimizationProfile.BALANCED,
        providers: Sequence[Provider] = CPU,
        model_file: str | None = None,
        output: str | None = None,
    ) -> None:
        if pooling not in POOLINGS:
            raise InvalidInputError(f"pooling is {pooling!r}, wanted 'mean', 'cls', 'last' or None")
        for name, value in (("max_tokens", max_tokens), ("threads", threads)):
            if value is not None and value < 1:
                raise InvalidInputError(f"{name} is {value}, wanted at least 1")
        self._folder = Path(path)
        self._graph = _graph_in(self._folder, model_file)
        self._tokenizer = _tokenizer_beside(self._graph, self._folder)
        self._pooling, self._query_prefix, self._prefix = pooling, query_prefix, prefix
        self._max_tokens = max_tokens or _limit_of(self._tokenizer)
        self._output, self._profile, self._providers = output, profile, providers
        self._cores = threads or usable_cores()
        self._fingerprint = self._hashed()
        self._runs = TextRuns(self._load, cores=self._cores)
        self._dim = self._tried()

    @property
    def name(self) -> str:
        """The folder's name."""
        return self._folder.resolve().name

    @property
    def dim(self) -> int:
        """Length of every vector."""
        return self._dim

    @property
    def fingerprint(self) -> str:
        """Changes with the weights, the tokenizer, the pooling and the prefixes; the same wherever the folder is."""
        return self._fingerprint

    def __repr__(self) -> str:
        return f"OnnxEncoder({self.name!r}, dim={self.dim}, fingerprint={self.fingerprint!r})"

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit rows of utterances, float32 (len(texts), dim)."""
        return self._runs.encode(_prefixed(self._prefix, texts), self._dim)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Unit rows of queries; see ``query_prefix``."""
        return self._runs.encode(_prefixed(self._query_prefix, texts), self._dim)

    def encode_in_thread(self, texts: Sequence[str]) -> Vectors:
        """``encode`` in the calling thread alone, for callers that have a thread for each core."""
        return self._runs.encode_in_thread(_prefixed(self._prefix, texts), self._dim)

    def encode_queries_in_thread(self, texts: Sequence[str]) -> Vectors:
        """``encode_queries`` in the calling thread alone."""
        return self._runs.encode_in_thread(_prefixed(self._query_prefix, texts), self._dim)

    def _hashed(self) -> str:
        said = [self._pooling, self._query_prefix, self._prefix, self._max_tokens, self._output]
        digest = hashlib.sha256(json.dumps(said).encode())
        # Weights past 2 GB stand in files of their own beside the graph, named after it.
        beside = sorted(self._graph.parent.glob(f"{self._graph.name}[._]*"))
        for file in (self._graph, *beside, self._tokenizer):
            try:
                digest.update(f"|{file.name}|{file.stat().st_size}|".encode())
                with file.open("rb") as content:
                    while chunk := content.read(_CHUNK_BYTES):
                        digest.update(chunk)
            except OSError as exc:
                raise EncoderUnavailableError(f"cannot read {file}: {exc.strerror}") from exc
        return f"onnx-{digest.hexdigest()[:16]}"

    def _load(self) -> Network:
        session = open_session(
            self._graph, str(self._graph), cores=self._cores, profile=self._profile, providers=self._providers
        )
        inputs = {each.name: _INTEGERS.get(each.type) for each in session.get_inputs()}
        unknown = [name for name, kind in inputs.items() if kind is None or name not in _FEEDS]
        if unknown or "input_ids" not in inputs:
            raise EncoderUnavailableError(
                f"{self._graph} wants {', '.join(inputs)}; a graph over texts has input_ids and perhaps "
                f"{', '.join(name for name in _FEEDS if name != 'input_ids')}, all integers: export it for "
                "feature extraction"
            )

        def feed(ids: Any) -> dict[str, Any]:
            return {name: _FEEDS[name](ids).astype(kind, copy=False) for name, kind in inputs.items()}

        return Network(session, self._read_tokenizer(), feed, self._chosen_output(session), self._pooling)

    def _read_tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_file(str(self._tokenizer))
        except Exception as exc:
            raise EncoderUnavailableError(f"{self._tokenizer} is no tokenizer, or damaged: {exc}") from exc
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length=self._max_tokens)
        return tokenizer

    def _chosen_output(self, session: InferenceSession) -> str:
        """The output by its name if it was given, else by what exporters call it, else the only one."""
        names = [each.name for each in session.get_outputs()]
        usual = _STATES if self._pooling is not None else _SENTENCE
        likely = [self._output] if self._output is not None else [name for name in usual if name in names] or names
        if likely[0] not in names or (len(likely) > 1 and likely is names):
            raise EncoderUnavailableError(
                f"{self._graph} gives {', '.join(names)}; pass output=<the one with the vectors> and the pooling for it"
            )
        return likely[0]

    def _tried(self) -> int:
        """The length of a vector, by running a text through network and pooling."""
        network = self._runs.network()
        try:
            # Not by ``encode``, which knows the length beforehand.
            (states,) = network.session.run([network.output], network.feed(np.array([[0, 0]], np.int64)))
        except Exception as exc:
            raise EncoderUnavailableError(f"{self._graph} does not run: {exc}") from exc
        wanted = 2 if self._pooling is None else 3
        if states.ndim != wanted or states.shape[0] != 1:
            gives = "one vector a text: pass pooling=None" if states.ndim == 2 else "no vectors of tokens or texts"
            raise EncoderUnavailableError(
                f"output {network.output} of {self._graph} has the shape {states.shape} for one text of two tokens, "
                f"wanted {wanted} axes for pooling={self._pooling!r}; it gives {gives}"
            )
        try:
            (vector,) = encode_each(network, ["what do I owe"])
        except Exception as exc:
            raise EncoderUnavailableError(
                f"{self._graph} does not run on what {self._tokenizer} makes of a text: {exc}; are they of one model?"
            ) from exc
        return len(vector)


#: What a graph may want for the ids of one text (1, tokens).
_FEEDS: dict[str, Callable[[Any], Any]] = {
    "input_ids": lambda ids: ids,
    "attention_mask": np.ones_like,
    "token_type_ids": np.zeros_like,
    "position_ids": lambda ids: np.arange(ids.shape[1])[None, :],
}


def _prefixed(prefix: str, texts: Sequence[str]) -> Sequence[str]:
    return [prefix + text for text in texts] if prefix else texts


def _graph_in(folder: Path, model_file: str | None) -> Path:
    if not folder.is_dir():
        raise EncoderUnavailableError(f"{folder} is no folder; wanted one with an ONNX graph and tokenizer.json")
    if model_file is not None:
        if not (folder / model_file).is_file():
            raise EncoderUnavailableError(f"{folder / model_file} is no file; model_file is looked for in {folder}")
        return folder / model_file
    places = (folder, folder / "onnx")
    for name in MODEL_FILES:
        for place in places:
            if (place / name).is_file():
                return place / name
    others = [file for place in places for file in sorted(place.glob("*.onnx"))]
    if len(others) != 1:
        found = f"has {', '.join(str(file.relative_to(folder)) for file in others)}" if others else "has no ONNX file"
        wanted = "pass model_file=<one of them>" if others else f"wanted {MODEL_FILES[0]}, also in a folder onnx"
        raise EncoderUnavailableError(f"{folder} {found}; {wanted}")
    return others[0]


def _tokenizer_beside(graph: Path, folder: Path) -> Path:
    for place in (graph.parent, folder):
        if (place / "tokenizer.json").is_file():
            return place / "tokenizer.json"
    raise EncoderUnavailableError(
        f"{folder} has no tokenizer.json; save it there from the model's fast tokenizer (save_pretrained)"
    )


def _limit_of(tokenizer: Path) -> int:
    """The tokens a text is cut at, by what stands in the tokenizer's own file or in its settings beside it."""
    settings = tokenizer.with_name("tokenizer_config.json")
    for file, keys in ((tokenizer, ("truncation", "max_length")), (settings, ("model_max_length",))):
        try:
            value: Any = json.loads(file.read_text(encoding="utf-8"))
            for key in keys:
                value = value[key]
            if 0 < int(value) < _NO_LIMIT:
                return int(value)
        except (OSError, ValueError, TypeError, KeyError):
            continue
    return _MAX_TOKENS
