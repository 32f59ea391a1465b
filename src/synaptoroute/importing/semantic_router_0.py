"""Files of semantic-router 0.x, YAML or JSON, and LiteLLM's ``router.json``, which is one of them.

The file holds routes and the name of an encoder. What made 0.x decide, such as the number of hits, their aggregation
and the threshold of the router, it does not hold. It may name code to be loaded, ``llm: {module, class}``, which 0.x
does load and this module never does.
"""

from __future__ import annotations

from typing import Any

from synaptoroute.importing.collecting import Collector
from synaptoroute.importing.encoders import encoder_note
from synaptoroute.importing.records import Imported
from synaptoroute.importing.shapes import mapping, mappings, shown

#: The threshold of each type of encoder, which 0.x writes into every route that was given none: read in 0.3.3. A
#: HybridRouter multiplies it by its alpha, 0.3.
_DEFAULTS: dict[str, tuple[float, ...]] = {
    "openai": (0.82, 0.3), "azure": (0.82,), "cohere": (0.3,), "fastembed": (0.5,), "huggingface": (0.5, 0.8, 0.2),
    "vit": (0.5,), "clip": (0.2,), "ollama": (0.5,), "google": (0.75,), "mistral": (0.4,), "voyage": (0.4,),
    "jina_ai": (0.4,), "jina": (0.4,), "nvidia_nim": (0.4,), "bedrock": (0.3,), "litellm": (0.3,),
}  # fmt: skip
#: These OpenAI models have another default than ada-002.
_OPENAI_DEFAULTS = {
    "text-embedding-3-small": (0.3,),
    "text-embedding-3-large": (0.3,),
    "text-embedding-ada-002": (0.82,),
}
_HYBRID_ALPHA = 0.3
#: What 0.x writes, from ``encoder.type``, and then cannot read again.
_UNREADABLE = ("jina", "local", "base", "sparse")
_KNOWN = ("encoder_type", "encoder_name", "routes")
_ROUTE_KEYS = ("name", "utterances", "description", "function_schemas", "llm", "score_threshold", "metadata")


def read(document: Any, *, file_format: str = "semantic-router-0") -> Imported:
    """The routes of a 0.x document.

    Raises:
        InvalidInputError: It has no list of routes, or a route has no name or no list of utterances.
    """
    found = Collector(file_format)
    document = mapping(document, "the document")
    encoder = document.get("encoder_type")
    _encoder(found, encoder, document.get("encoder_name"))
    found.unknown("the document", document, _KNOWN)
    defaults = _default_thresholds(encoder, document.get("encoder_name"))
    for place, entry in mappings(document.get("routes"), "routes"):
        name = found.route(
            place,
            entry.get("name"),
            entry.get("utterances"),
            description=entry.get("description"),
            metadata=entry.get("metadata"),
        )
        if name is None:
            continue
        where = f"{place} {name!r}"
        found.threshold(
            where, name, entry.get("score_threshold"), "score", defaults=defaults,
            why="the mean of a route's hits among the best five, in another encoder's scores",
        )  # fmt: skip
        _left_out(found, where, entry)
    if file_format != "litellm":
        found.inform(
            "settings",
            "the file",
            "0.x keeps neither top_k, aggregation, alpha, the sparse encoder nor the router's own threshold in its "
            "files, so whatever they were is not carried",
        )
    else:
        found.inform("target", "routes", "each route is the name of a model to LiteLLM; what it does here is up to you")
    return found.finish()


def _encoder(found: Collector, kind: object, name: object) -> None:
    if kind in _UNREADABLE:
        found.inform(
            "encoder", "encoder_type", f"{shown(kind)} is what 0.x writes for some encoders and cannot read again"
        )
    encoder_note(found, "encoder_type", kind, name)


def _default_thresholds(kind: object, name: object) -> tuple[float, ...]:
    defaults = _DEFAULTS.get(str(kind), (0.3, 0.5))
    if kind == "openai" and isinstance(name, str):
        defaults = _OPENAI_DEFAULTS.get(name, defaults)
    return (*defaults, *(each * _HYBRID_ALPHA for each in defaults))


def _left_out(found: Collector, where: str, entry: dict[Any, Any]) -> None:
    if entry.get("llm"):
        found.warn(
            "llm",
            where,
            "it names code for a language model to be loaded; nothing was loaded, and dynamic routes are not carried",
        )
    if entry.get("function_schemas"):
        found.warn(
            "function_schemas",
            where,
            "its function schemas are not carried: this router chooses a route and extracts no arguments. "
            "Route.from_schema makes routes of schemas",
        )
    found.unknown(where, entry, _ROUTE_KEYS)
