"""The cross-encoders of the fastembed package, as an extra."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synaptoroute.encoder.fastembed import cache_misses_unlogged, hash_into, hub_problem
from synaptoroute.errors import InvalidInputError, MissingExtraError, RerankerUnavailableError
from synaptoroute.forking import PerProcess
from synaptoroute.rerank.base import Scores

if TYPE_CHECKING:
    from fastembed.rerank.cross_encoder import TextCrossEncoder

#: Pairs run together where that moves a score by rounding at most.
BATCH = 8

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "config.json")


class FastEmbedReranker:
    """Any cross-encoder of fastembed, by its name there; downloaded once or read from a folder.

    Constructing finds the model's files, downloads them if they are in no cache, and hashes them; the model itself is
    loaded on first use. After a fork the child loads its own. Downloads go where those of ``FastEmbedEncoder`` go.

    Args:
        model_name: A name in ``TextCrossEncoder.list_supported_models()``, or one added there.
        threads: Cores one batch may use; all by default.
        model_path: Folder with the model's files, named as in its repository; nothing is downloaded then.
        providers: onnxruntime execution providers, in order of preference; fastembed's choice by default.

    Raises:
        MissingExtraError: The package fastembed is not installed.
        InvalidInputError: fastembed has no cross-encoder of that name.
        RerankerUnavailableError: The files are not there and cannot be downloaded.
    """

    def __init__(
        self,
        model_name: str = "Xenova/ms-marco-MiniLM-L-6-v2",
        *,
        threads: int | None = None,
        model_path: str | Path | None = None,
        providers: Sequence[str] | None = None,
    ) -> None:
        self._requested = model_name
        self._options: dict[str, Any] = {"threads": threads, "providers": providers}
        repository = _repository(model_name)
        if model_path is None:
            found = self._from_cache_or_hub(repository)
        else:
            found = self._found(specific_model_path=str(model_path))
        description: Any = found.model.model_description  # type: ignore[attr-defined] # every fastembed model has one
        self._name = str(description.model)
        # The folder is known to the model only, under a private name, up to fastembed 0.9 at least.
        self._folder: Path = Path(found.model._model_dir)  # type: ignore[attr-defined] # noqa: SLF001
        weights = [self._folder / name for name in (description.model_file, *description.additional_files)]
        tokenizer = [self._folder / name for name in _TOKENIZER_FILES]
        missing = [path for path in (*weights, tokenizer[0]) if not path.is_file()]
        if missing:
            raise RerankerUnavailableError(
                f"{self._folder} is no complete copy of {self._name}: {missing[0].relative_to(self._folder)} is missing"
            )
        digest = hashlib.sha256(self._name.encode())
        dynamic = [hash_into(digest, path) for path in weights + tokenizer if path.exists()]
        self._batch = 1 if any(dynamic) else BATCH
        self._fingerprint = f"{self._name.split('/')[-1]}-{digest.hexdigest()[:16]}"
        self._model: PerProcess[TextCrossEncoder] = PerProcess()

    @property
    def name(self) -> str:
        """The model's name, as fastembed spells it."""
        return self._name

    @property
    def fingerprint(self) -> str:
        """Changes with the weights and the tokenizer; the same wherever the files were read from."""
        return self._fingerprint

    def __repr__(self) -> str:
        return f"FastEmbedReranker({self.name!r}, fingerprint={self.fingerprint!r})"

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        """The model's logit for each pair, float32 (len(texts),).

        Raises:
            RerankerUnavailableError: fastembed cannot load the files.
        """
        if not len(texts):
            return np.empty(0, np.float32)
        model = self._model.get(self._load)
        return np.array(list(model.rerank(query, list(texts), batch_size=self._batch)), np.float32)

    def _load(self) -> TextCrossEncoder:
        from fastembed.rerank.cross_encoder import TextCrossEncoder

        try:
            return TextCrossEncoder(self._requested, specific_model_path=str(self._folder), **self._options)
        except Exception as exc:
            raise RerankerUnavailableError(f"fastembed cannot load {self.name} from {self._folder}: {exc}") from exc

    def _from_cache_or_hub(self, repository: str | None) -> TextCrossEncoder:
        try:
            with cache_misses_unlogged():
                return self._found(local_files_only=True)
        except Exception as exc:
            # Not there, or damaged: either way it has to be downloaded.
            if problem := hub_problem(repository):
                raise self._unavailable(problem) from exc
        try:
            return self._found()
        except Exception as exc:
            raise self._unavailable(f"the download failed: {exc}") from exc

    def _found(self, **where: Any) -> TextCrossEncoder:
        """The model as fastembed knows it: its files in place, nothing loaded yet."""
        from fastembed.rerank.cross_encoder import TextCrossEncoder

        return TextCrossEncoder(self._requested, lazy_load=True, **where)

    def _unavailable(self, problem: str) -> RerankerUnavailableError:
        return RerankerUnavailableError(
            f"{self._requested} is in no cache and cannot be downloaded ({problem}); pass model_path=<folder with its "
            "files>, or set FASTEMBED_CACHE_PATH to a cache that has it"
        )


def _repository(model_name: str) -> str | None:
    """Where fastembed downloads the model from."""
    try:
        from fastembed.rerank.cross_encoder import TextCrossEncoder
    except ImportError as exc:
        raise MissingExtraError("FastEmbedReranker", "fastembed") from exc
    models = {model["model"].lower(): model for model in TextCrossEncoder.list_supported_models()}
    if model_name.lower() not in models:
        raise InvalidInputError(
            f"fastembed has no cross-encoder {model_name!r}; see TextCrossEncoder.list_supported_models() and "
            "add_custom_model()"
        )
    repository: str | None = models[model_name.lower()]["sources"]["hf"]
    return repository
