"""Routers of RedisVL, as ``SemanticRouter.to_yaml`` writes them and ``export_with_embeddings`` does in JSON."""

from __future__ import annotations

from typing import Any

from synaptoroute.importing.collecting import Collector
from synaptoroute.importing.encoders import encoder_note
from synaptoroute.importing.records import Imported
from synaptoroute.importing.shapes import mapping, mappings, shown

#: Of a route that was given no distance.
_DEFAULT_DISTANCE = 0.5
_KNOWN = ("name", "version", "routes", "tiers", "vectorizer", "routing_config")
_ROUTE_KEYS = ("name", "references", "metadata", "distance_threshold", "model")


def read(document: Any) -> Imported:
    """The routes of a RedisVL router; its references are the utterances.

    Raises:
        InvalidInputError: It has no list of routes, or a route has no name or no list of references.
    """
    found = Collector("redisvl")
    document = mapping(document, "the document")
    vectorizer = document.get("vectorizer")
    if isinstance(vectorizer, dict):
        encoder_note(found, "vectorizer", vectorizer.get("type"), vectorizer.get("model"))
    _routing_config(found, document.get("routing_config"))
    found.unknown("the document", document, _KNOWN)
    vectors = False
    for place, entry in mappings(document.get("routes", document.get("tiers")), "routes"):
        references = entry.get("references")
        if isinstance(references, list) and any(isinstance(each, dict) for each in references):
            vectors = True
            references = [each.get("text") if isinstance(each, dict) else each for each in references]
        metadata = entry.get("metadata")
        if entry.get("model") is not None and isinstance(metadata, dict | None):
            # The language model that the route stands for: what follows the decision needs it.
            metadata = {**(metadata or {}), "model": entry["model"]}
        name = found.route(place, entry.get("name"), references, metadata=metadata)
        if name is None:
            continue
        found.threshold(
            f"{place} {name!r}", name, entry.get("distance_threshold"), "distance", defaults=(_DEFAULT_DISTANCE,),
            why="distances between another encoder's vectors",
        )  # fmt: skip
        found.unknown(f"{place} {name!r}", entry, _ROUTE_KEYS)
    if vectors:
        found.inform("vectors", "routes", "the vectors of the references are another encoder's and were left out")
    return found.finish()


def _routing_config(found: Collector, config: Any) -> None:
    if not isinstance(config, dict):
        return
    if config.get("aggregation_method", "avg") != "min":
        found.inform(
            "aggregation_method",
            "routing_config.aggregation_method",
            f"{shown(config.get('aggregation_method', 'avg'))} is not carried: here one near utterance is enough, and "
            "more of them never hurt",
        )
    if config.get("default_route") is not None:
        found.warn(
            "default_route",
            "routing_config.default_route",
            f"{shown(config['default_route'])} is not carried: where nothing fits, this router abstains, and what "
            "happens then is up to the caller",
        )
    if config.get("cost_optimization"):
        found.warn(
            "cost_optimization", "routing_config.cost_optimization", "it is not carried: costs do not decide here"
        )
