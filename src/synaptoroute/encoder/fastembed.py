"""The models of the fastembed package (bge-small-en-v1.5 and some forty more), as an extra."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from synaptoroute.encoder.base import Vectors
from synaptoroute.encoder.networks import Provider, require_providers
from synaptoroute.errors import EncoderOutputError, EncoderUnavailableError, InvalidInputError, MissingExtraError
from synaptoroute.forking import PerProcess

if TYPE_CHECKING:
    from fastembed import TextEmbedding

#: Texts run together. Measured with MiniLM in float32 on 2 cores, texts a second: 322 one at a time, 805 in batches
#: of 8, 852 of 32; a batch of 32 texts of 512 tokens takes four times the memory (fastembed issue #222).
BATCH = 8
#: How long the model hub may take to answer before it counts as unreachable. fastembed alone tries for 39 s.
HUB_ANSWERS_WITHIN_S = 2.5

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "config.json")
_STATIC = "StaticTextEmbedding"
_DYNAMIC = b"DynamicQuantize"
_CHUNK_BYTES = 1 << 20


class FastEmbedEncoder:
    """Any text model of fastembed, by its name there; float32 unit vectors, downloaded once or read from a folder.

    Constructing finds the model's files, downloads them if they are in no cache, and hashes them; the model itself
    is loaded on first use. After a fork the child loads its own. Downloads go to ``FASTEMBED_CACHE_PATH``, by default
    a folder under the system's temporary one, which many systems empty at boot: set it, or pass ``model_path``.

    Texts are sorted by length and run in small batches, so that padding costs little. In float32 and float16 models
    a text's vector moves with its batch by rounding at most (about 1e-7). Dynamically quantised models scale
    activations over a whole batch, which would make a vector depend on its neighbours, so they get one text at a time.

    Static models (minishlab/potion-base-8M and its like) are tables of token vectors, summed by NumPy: far faster, and
    less accurate, for no word is read in its context. A text in which one knows no token gets a row that is near to
    none.

    Queries and utterances go through fastembed's ``query_embed`` and ``passage_embed``, which differ for models with
    tasks (jina-embeddings-v3). The prefixes that others want (e5, bge v1) fastembed does not put there: pass them.
    Texts past the model's own limit, mostly 512 tokens, are cut there.

    Args:
        model_name: A name in ``fastembed.TextEmbedding.list_supported_models()``, or one added there.
        threads: Cores one batch may use; all by default. A static model takes one.
        model_path: Folder with the model's files, named as in its repository; nothing is downloaded then.
        providers: onnxruntime execution providers, in order of preference, each a name or (name, options);
            fastembed's choice by default.
        cuda: Compute with CUDA or not at all, instead of ``providers``.
        query_prefix: Put before every query, such as "query: " for e5.
        prefix: Put before every utterance, such as "passage: ". To match like with like, give both the same.

    Raises:
        MissingExtraError: The package fastembed is not installed.
        InvalidInputError: fastembed has no model of that name, or the arguments contradict.
        EncoderUnavailableError: A provider is absent. Or the files are not there and cannot be downloaded: a hub that
            does not answer is given up after 2.5 seconds; one that breaks off in the middle of a download is retried
            by fastembed.
    """

    #: Who makes the vectors, as OpenTelemetry names them.
    provider = "fastembed"

    def __init__(
        self,
        model_name: str = "BAAI/bge-small-en-v1.5",
        *,
        threads: int | None = None,
        model_path: str | Path | None = None,
        providers: Sequence[Provider] | None = None,
        cuda: bool = False,
        query_prefix: str = "",
        prefix: str = "",
    ) -> None:
        self._requested = model_name
        self._dim = _registered_dim(model_name)
        self._query_prefix, self._prefix = query_prefix, prefix
        self._options = _options(model_name, threads, providers, cuda=cuda)
        found = self._from_cache_or_hub() if model_path is None else self._found(specific_model_path=str(model_path))
        description: Any = found.model.model_description  # type: ignore[attr-defined] # every fastembed model has one
        self._name = str(description.model)
        # The folder is known to the model only, under a private name, up to fastembed 0.9 at least.
        self._folder: Path = found.model._model_dir  # type: ignore[attr-defined] # noqa: SLF001
        weights = [self._folder / name for name in (description.model_file, *description.additional_files)]
        tokenizer = [self._folder / name for name in _TOKENIZER_FILES]
        self._require([*weights, tokenizer[0]])
        # The class decides the pooling, which fastembed has changed between releases for the same model; models
        # added by the user keep it in a mapping.
        added = getattr(found.model, "POSTPROCESSING_MAPPING", {}).get(self._name)
        kind = type(found.model).__name__
        digest = hashlib.sha256(f"{self._name}|{kind}|{added}".encode())
        if query_prefix or prefix:
            digest.update(json.dumps([query_prefix, prefix]).encode())
        dynamic = [hash_into(digest, path) for path in weights + tokenizer if path.exists()]
        # Static vectors are sums, which a batch would add up in another order.
        self._batch = 1 if any(dynamic) or kind == _STATIC else BATCH
        self._fingerprint = f"{self._name.split('/')[-1]}-{digest.hexdigest()[:16]}"
        self._model: PerProcess[TextEmbedding] = PerProcess()

    @property
    def name(self) -> str:
        """The model's name, as fastembed spells it."""
        return self._name

    @property
    def dim(self) -> int:
        """Length of every vector."""
        return self._dim

    @property
    def fingerprint(self) -> str:
        """Changes with weights, tokenizer, pooling and prefixes; the same wherever the files were read from."""
        return self._fingerprint

    def __repr__(self) -> str:
        return f"FastEmbedEncoder({self.name!r}, dim={self.dim}, fingerprint={self.fingerprint!r})"

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit rows of utterances, float32 (len(texts), dim), in order.

        Raises:
            EncoderUnavailableError: fastembed cannot load the files.
            EncoderOutputError: The files are those of a model with another dim.
        """
        return self._encoded(self._prefix, texts, "passage_embed")

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Unit rows of queries; raises as ``encode``."""
        return self._encoded(self._query_prefix, texts, "query_embed")

    def _encoded(self, prefix: str, texts: Sequence[str], side: Literal["passage_embed", "query_embed"]) -> Vectors:
        vectors = np.empty((len(texts), self.dim), np.float32)
        if not texts:
            return vectors
        embed = getattr(self._model.get(self._load), side)
        by_length = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        for start in range(0, len(texts), self._batch):
            rows = by_length[start : start + self._batch]
            encoded = np.array(list(embed([prefix + texts[row] for row in rows], batch_size=self._batch)), np.float32)
            if encoded.shape != (len(rows), self.dim):
                raise EncoderOutputError(
                    f"the model in {self._folder} returned {encoded.shape} for {len(rows)} texts, wanted "
                    f"{(len(rows), self.dim)}; is it another model than {self.name}?"
                )
            vectors[rows] = encoded
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors[lengths[:, 0] == 0] = 1 / np.sqrt(np.float32(self.dim))
        lengths[lengths == 0] = 1
        unit: Vectors = vectors / lengths
        return unit

    def _load(self) -> TextEmbedding:
        from fastembed import TextEmbedding

        try:
            return TextEmbedding(self._requested, specific_model_path=str(self._folder), **self._options)
        except Exception as exc:
            raise EncoderUnavailableError(f"fastembed cannot load {self.name} from {self._folder}: {exc}") from exc

    def _from_cache_or_hub(self) -> TextEmbedding:
        try:
            with cache_misses_unlogged():
                return self._found(local_files_only=True)
        except Exception as exc:
            # Not there, or damaged: either way it has to be downloaded.
            if problem := hub_problem(_repository(self._requested)):
                raise self._unavailable(problem) from exc
        try:
            return self._found()
        except Exception as exc:
            raise self._unavailable(f"the download failed: {exc}") from exc

    def _found(self, **where: Any) -> TextEmbedding:
        """The model as fastembed knows it: its files in place, nothing loaded yet."""
        from fastembed import TextEmbedding

        return TextEmbedding(self._requested, lazy_load=True, **where)

    def _unavailable(self, problem: str) -> EncoderUnavailableError:
        return EncoderUnavailableError(
            f"{self._requested} is in no cache and cannot be downloaded ({problem}); pass model_path=<folder with its "
            "files>, set FASTEMBED_CACHE_PATH to a cache that has it, or use BundledEncoder, which needs no download"
        )

    def _require(self, paths: list[Path]) -> None:
        missing = [path for path in paths if not path.is_file()]
        if missing:
            raise EncoderUnavailableError(
                f"{self._folder} is no complete copy of {self.name}: {missing[0].relative_to(self._folder)} is missing"
            )


def _registered_dim(model_name: str) -> int:
    try:
        from fastembed import TextEmbedding
    except ImportError as exc:
        raise MissingExtraError("FastEmbedEncoder", "fastembed") from exc
    try:
        return TextEmbedding.get_embedding_size(model_name)
    except ValueError:
        raise InvalidInputError(
            f"fastembed has no model {model_name!r}; see TextEmbedding.list_supported_models() and add_custom_model()"
        ) from None


def _options(
    model_name: str, threads: int | None, providers: Sequence[Provider] | None, *, cuda: bool
) -> dict[str, Any]:
    """What fastembed takes for these arguments."""
    from fastembed.text.static_embedding import supported_static_models

    if cuda and providers is not None:
        raise InvalidInputError("cuda=True and providers are both given; the one says what the others would be")
    wanted: Sequence[Provider] | None = ["CUDAExecutionProvider"] if cuda else providers
    if model_name.lower() in {model.model.lower() for model in supported_static_models}:
        if wanted is not None:
            raise InvalidInputError(f"{model_name} is a static model, which NumPy runs: leave cuda and providers out")
        return {}
    if wanted is not None:
        from onnxruntime import get_available_providers

        require_providers(wanted, get_available_providers(), model_name)
    return {"threads": threads, "providers": wanted}


def _repository(model_name: str) -> str | None:
    from fastembed import TextEmbedding

    models = {model["model"].lower(): model for model in TextEmbedding.list_supported_models()}
    repository: str | None = models[model_name.lower()]["sources"]["hf"]
    return repository


def hub_problem(repository: str | None) -> str | None:
    """Why the hub cannot serve a repository, or None if it can; asked as fastembed will ask (endpoint, proxy, token).

    Asked in a thread, because neither name resolution nor an answer that trickles in obeys the client's timeout.
    """
    if repository is None:
        return None
    from huggingface_hub import model_info

    problems: SimpleQueue[str | None] = SimpleQueue()

    def ask() -> None:
        try:
            model_info(repository, timeout=HUB_ANSWERS_WITHIN_S)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the caller reports it
            problems.put(f"the model hub: {type(exc).__name__}: {str(exc).partition(chr(10))[0]}")
        else:
            problems.put(None)

    Thread(target=ask, name="synaptoroute-hub", daemon=True).start()
    try:
        return problems.get(timeout=HUB_ANSWERS_WITHIN_S)
    except Empty:
        return f"the model hub did not answer within {HUB_ANSWERS_WITHIN_S:g} s"


@contextmanager
def cache_misses_unlogged() -> Iterator[None]:
    """Keeps quiet the two errors that fastembed logs for a model that is merely not downloaded yet."""
    from loguru import logger

    logger.disable("fastembed.common.model_management")
    try:
        yield
    finally:
        logger.enable("fastembed.common.model_management")


def hash_into(digest: hashlib._Hash, path: Path) -> bool:
    """Add a file's name, size and content to the digest; tell whether it is a dynamically quantised graph."""
    digest.update(f"|{path.name}|{path.stat().st_size}|".encode())
    dynamic, tail = False, b""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            dynamic = dynamic or _DYNAMIC in tail + chunk
            tail = chunk[-len(_DYNAMIC) :]
    return dynamic
