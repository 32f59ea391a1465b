"""Files of semantic-router 1.x: one router, or several that are chained or merged."""

from __future__ import annotations

from typing import Any

from synaptoroute.errors import InvalidInputError
from synaptoroute.importing.collecting import Collector
from synaptoroute.importing.encoders import encoder_note
from synaptoroute.importing.records import Imported
from synaptoroute.importing.shapes import mapping, mappings, shown

#: Routers in routers; nobody chains deeper.
_DEEPEST = 16
#: What 1.x writes without anybody having asked.
_DEFAULTS = {"alpha": 0.7, "top_k": 5, "aggregation": "mean"}
_KNOWN = {
    "router_type", "encoder", "sparse_encoder", "alpha", "top_k", "aggregation", "index", "confidence_threshold",
    "calibrator", "refresh_interval", "routes", "model", "instructions", "routers", "weights",
}  # fmt: skip
_ROUTE_KEYS = ("name", "utterances", "description", "confidence_threshold", "metadata")
#: Indexes whose routes are in a database and not in the file.
_STORED = ("pinecone", "postgres", "mongodb", "qdrant")


def read(document: Any) -> Imported:
    """The routes of a 1.x document.

    Raises:
        InvalidInputError: Its routes are in a database, a part has the wrong type, or routers are nested too deeply.
    """
    found = Collector("semantic-router-1")
    _router(found, mapping(document, "the document"), "", 0)
    return found.finish()


def _router(found: Collector, router: dict[Any, Any], prefix: str, depth: int) -> None:
    if depth > _DEEPEST:
        raise InvalidInputError(f"{prefix or 'the document'}: routers are nested too deeply")
    _settings(found, router, prefix)
    kind = router.get("router_type")
    if kind in ("chain", "merge"):
        found.warn(
            "router_type",
            f"{prefix}router_type",
            "routers that are chained or merged are not carried; their routes were joined into one table, in which "
            "the best of all wins",
        )
        for place, inner in mappings(router.get("routers"), f"{prefix}routers"):
            _router(found, inner, f"{place}.", depth + 1)
        return
    if kind not in ("indexed", "decision", None):
        found.warn("router_type", f"{prefix}router_type", f"{shown(kind)} is not known here; its routes were read")
    if "routes" not in router:
        _no_routes(router, prefix)
    calibrated = router.get("calibrator") is not None
    for place, entry in mappings(router.get("routes"), f"{prefix}routes"):
        name = found.route(
            place,
            entry.get("name"),
            entry.get("utterances", []),
            description=entry.get("description"),
            metadata=entry.get("metadata"),
        )
        if name is None:
            continue
        limit = entry.get("confidence_threshold")
        if limit is None:
            limit = router.get("confidence_threshold")
        found.threshold(
            f"{place} {name!r}", name, limit, "confidence" if calibrated else "score",
            why="the mean of a route's hits among the best, in another encoder's scores",
        )  # fmt: skip
        found.unknown(f"{place} {name!r}", entry, _ROUTE_KEYS)


def _no_routes(router: dict[Any, Any], prefix: str) -> None:
    index = router.get("index")
    kind = index.get("type") if isinstance(index, dict) else None
    if kind in _STORED:
        raise InvalidInputError(
            f"{prefix}routes: the routes of this router are in {kind}, not in the file; save them from a router with a "
            "local index, or write their utterances to CSV"
        )
    raise InvalidInputError(f"{prefix}routes: there are none; wanted a list of routes")


def _settings(found: Collector, router: dict[Any, Any], prefix: str) -> None:
    encoder = router.get("encoder")
    if isinstance(encoder, dict):
        encoder_note(found, f"{prefix}encoder", encoder.get("type"), encoder.get("name"))
    if router.get("sparse_encoder") is not None:
        found.inform("sparse_encoder", f"{prefix}sparse_encoder", "not carried: this router reads words by itself")
    for key, default in _DEFAULTS.items():
        if router.get(key, default) != default:
            found.inform(key, f"{prefix}{key}", f"{shown(router[key])} is not carried: this router decides otherwise")
    if router.get("calibrator") is not None:
        found.warn(
            "calibrator",
            f"{prefix}calibrator",
            "it is not carried: it belongs to the other router's scores. This router calibrates itself; "
            "to do it from labelled queries use fit",
        )
    _model_and_index(found, router, prefix)
    for key, why in (
        ("instructions", "this router follows no instructions"),
        ("weights", "this router weighs no routers"),
        ("refresh_interval", "a store that others change is followed without"),
    ):
        if router.get(key) is not None:
            found.inform(key, f"{prefix}{key}", f"it is not carried: {why}")
    found.unknown(prefix.rstrip(".") or "the document", router, _KNOWN)


def _model_and_index(found: Collector, router: dict[Any, Any], prefix: str) -> None:
    model = router.get("model")
    if model is not None:
        named = model.get("type") if isinstance(model, dict) else model
        found.warn("model", f"{prefix}model", f"the model {shown(named)} that decided there is not carried")
    index = router.get("index")
    if isinstance(index, dict) and index.get("type") not in (None, "local", "hybrid_local"):
        found.inform("index", f"{prefix}index", f"the index {shown(index.get('type'))} is not carried")
