"""Arrow batches of texts to the same batches with their decisions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from typing import Any, TypedDict, Unpack

import numpy as np
import pyarrow as pa
import xxhash

from synaptoroute.asking import RouteOptions, terms
from synaptoroute.batching.apart import encoded_apart
from synaptoroute.caching import Vector
from synaptoroute.encoder.base import encode_checked
from synaptoroute.errors import EncoderUnavailableError, InvalidInputError, InvalidQueryError
from synaptoroute.models import MAX_TEXT_CHARS, Decision, clean_query
from synaptoroute.router import AdaptiveRouter

#: What a decision can add to a row, in the order of the columns. A row that was not routed has its reason alone.
_TYPES = {
    "name": pa.string(),
    "score": pa.float64(),
    "confidence": pa.float64(),
    "reason": pa.string(),
    "runner_up": pa.string(),
    "revision": pa.int64(),
    "stage": pa.string(),
}
ADDED = tuple(_TYPES)


class Unrouted(StrEnum):
    """Why a row has no decision; it stands where a decision has its ``Reason``."""

    MISSING = "missing_text"
    EMPTY = "empty_text"
    TOO_LONG = "text_too_long"
    INVALID = "invalid_text"
    FAILED = "not_encoded"


class Asked(TypedDict, total=False):
    """How to decide; as in ``RouteOptions``."""

    threshold: float | None
    min_confidence: float | None
    min_margin: float | None
    allow: Iterable[str] | None
    exact: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkColumns:
    """Which column is routed, and what is added beside the columns that are there.

    Attributes:
        text: The column with the texts.
        add: Some of ``ADDED``: the route's ``name`` (null if none), the ``score`` and ``confidence`` of the best
            route, the ``reason`` (of ``Reason``, or of ``Unrouted``), the ``runner_up``'s name, the ``revision``,
            the ``stage`` that decided.
        prefix: Put in front of each of these.

    Raises:
        InvalidInputError: Nothing is added, or something that does not exist.
    """

    text: str = "text"
    add: tuple[str, ...] = ADDED
    prefix: str = "route_"

    def __post_init__(self) -> None:
        wanted = set(self.add)
        if not wanted or wanted - set(ADDED):
            raise InvalidInputError(f"columns to add are {', '.join(self.add) or 'none'}; wanted of {', '.join(ADDED)}")
        object.__setattr__(self, "add", tuple(name for name in ADDED if name in wanted))

    def after(self, given: pa.Schema) -> pa.Schema:
        """The schema of what comes out: the columns given, then those added, in the order of ``ADDED``.

        Raises:
            InvalidInputError: There is no such column of texts, or one that would be added is there already.
        """
        _require_texts(given, self.text)
        schema = given
        for name in self.add:
            if self.prefix + name in given.names:
                raise InvalidInputError(f"there is a column {self.prefix + name!r} already; choose another prefix")
            schema = schema.append(pa.field(self.prefix + name, _TYPES[name]))
        return schema


def route_batches(
    router: AdaptiveRouter,
    batches: Iterable[pa.RecordBatch],
    *,
    columns: BulkColumns | None = None,
    alone: bool = False,
    **asked: Unpack[Asked],
) -> Iterator[pa.RecordBatch]:
    """Each batch with its decisions, made one after the other as they are asked for.

    All rows are decided by the routes as they were when this was called, after what can be learned from them was
    learned. Calls of ``route`` do not wait for it: it goes past their queue.

    Args:
        router: Any; other threads may use it meanwhile.
        batches: Of one schema. A thousand rows each is plenty.
        columns: Which column is routed, what is added.
        alone: Encode in the calling thread alone, for engines that start a worker for each core.
        asked: How to decide.

    Raises:
        InvalidInputError: The columns do not fit, or an option is out of its range.
        RouteNotFoundError: A name in ``allow`` is not a route.
        EncoderError: The encoder is unavailable, or fails on all texts of a batch.
    """
    return map(BatchRouter(router, columns=columns, alone=alone, **asked).routed, batches)


class BatchRouter:
    """Decides batches by the routes as they are now; see ``route_batches``."""

    def __init__(
        self,
        router: AdaptiveRouter,
        *,
        columns: BulkColumns | None = None,
        alone: bool = False,
        **asked: Unpack[Asked],
    ) -> None:
        self.columns = columns if columns is not None else BulkColumns()
        self._terms = terms(RouteOptions(**asked, top_k=2, deadline_s=None), router.min_confidence)
        router.wait_until_fitted()
        self._table = router.snapshot
        for name in self._terms.allow or ():
            self._table.get(name)
        self._encode = partial(encode_checked, router.encoder, alone=alone, queries=True)
        self._fingerprint = router.encoder.fingerprint

    @property
    def revision(self) -> int:
        """The revision of the routes that decide."""
        return self._table.revision

    def identity(self) -> dict[str, Any]:
        """Everything that the outcome depends on besides the texts, in JSON types."""
        digest = xxhash.xxh3_128()
        for route in self._table.routes:
            digest.update(repr((route.name, route.utterances, route.threshold)).encode("utf-8", "surrogateescape"))
        if (labelled := self._table.labelled) is not None:
            digest.update(repr((labelled.texts, labelled.labels, labelled.min_confidence)).encode())
        if (point := self._table.point) is not None:
            digest.update(repr(point.min_confidence).encode())
        decided = self._terms
        allow = None if decided.allow is None else sorted(decided.allow)
        return {
            "routes": digest.hexdigest(),
            "revision": self.revision,
            "encoder": self._fingerprint,
            "options": {"allow": allow, "exact": decided.exact, **asdict(decided.limits)},
        }

    def routed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with its decisions."""
        schema = self.columns.after(batch.schema)
        outcomes = self._outcomes(_texts(batch.column(self.columns.text)))
        added = [pa.array([_cell(outcome, name) for outcome in outcomes], _TYPES[name]) for name in self.columns.add]
        return pa.RecordBatch.from_arrays([*batch.columns, *added], schema=schema)

    def _outcomes(self, texts: Sequence[str | None]) -> list[Decision | Unrouted]:
        queries = [_query(text) for text in texts]
        # Each text once; in order, so that the same batch is computed in the same way.
        unique = [query for query in dict.fromkeys(queries) if not isinstance(query, Unrouted)]
        encoded: dict[str, Vector] = {}
        failures: dict[str, Exception] = {}
        for query, row in zip(unique, encoded_apart(self._encode, unique), strict=True):
            if isinstance(row, Exception):
                failures[query] = row
            else:
                encoded[query] = row
        for failure in failures.values():
            # The fault is not a text's: go on when it is mended, rather than give all rows a reason.
            if not encoded or isinstance(failure, EncoderUnavailableError):
                raise failure
        outcomes: dict[str, Decision | Unrouted] = dict.fromkeys(failures, Unrouted.FAILED)
        if encoded:
            decisions = self._table.decide([*encoded], np.stack([*encoded.values()]), **self._terms._asdict())
            outcomes.update(zip(encoded, decisions, strict=True))
        return [query if isinstance(query, Unrouted) else outcomes[query] for query in queries]


def _require_texts(schema: pa.Schema, name: str) -> None:
    found = schema.get_all_field_indices(name)
    if len(found) != 1:
        problem = "two columns of that name" if found else "no such column"
        raise InvalidInputError(
            f"the texts are to be in column {name!r}, but there is {problem}; there are {', '.join(schema.names)}"
        )
    kind = schema.field(found[0]).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    is_text = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    if not any(check(kind) for check in is_text):
        raise InvalidInputError(f"column {name!r} is of type {kind}, wanted strings; name the column with the texts")


def _texts(column: pa.Array) -> list[str | None]:
    """The texts. Arrow does not check its strings, so bytes that are not UTF-8 become surrogates, which are refused."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_null(column.type):
        return [None] * len(column)
    texts = column.cast(pa.large_binary()).to_pylist()
    return [None if text is None else text.decode("utf-8", "surrogateescape") for text in texts]


def _query(text: str | None) -> str | Unrouted:
    try:
        return clean_query(text)
    except InvalidQueryError:
        if text is None:
            return Unrouted.MISSING
        if len(text) > MAX_TEXT_CHARS:
            return Unrouted.TOO_LONG
        return Unrouted.INVALID if text.strip() else Unrouted.EMPTY


def _cell(outcome: Decision | Unrouted, name: str) -> Any:
    if isinstance(outcome, Unrouted):
        return outcome.value if name == "reason" else None
    if name == "runner_up":
        return outcome.matches[1].name if len(outcome.matches) > 1 else None
    value = getattr(outcome, name)
    return value.value if isinstance(value, StrEnum) else value
