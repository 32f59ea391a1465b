"""From one encoder to another: all stored texts are encoded beside the vectors in use, which are then swapped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple, NoReturn

import numpy as np

from synaptoroute.asking import Terms
from synaptoroute.comparison import Comparison, compared
from synaptoroute.encoder.base import BaseEncoder, Vectors, encode_checked
from synaptoroute.errors import EncoderUnavailableError, InvalidInputError
from synaptoroute.evaluation import check_labels, check_queries
from synaptoroute.lane import Lane
from synaptoroute.models import Decision, clean_query
from synaptoroute.storage.base import BaseStorage, EncoderIdentity, LabelledQueries, PutRoute
from synaptoroute.table import RouteTable

#: Encoded and made durable at once: a tenth of a second's work on a CPU, which is what a kill can lose.
_AT_ONCE = 256
#: Utterances that are held out for a report, at most.
_HELD_OUT = 1_000
#: Changed queries that a report names.
EXAMPLES = 20

Basis = Literal["given", "labelled", "held out"]


class FormerEncoder:
    """Stands in for an encoder that wrote a store and is not at hand any more: it has its name and cannot encode.

    A router over it opens the store, and answers nothing new, but can migrate it to an encoder that is there.

    Args:
        identity: What ``storage.encoder()`` says.
    """

    def __init__(self, identity: EncoderIdentity) -> None:
        self.name, self.dim, self.fingerprint = identity.name, identity.dim, identity.fingerprint

    def encode(self, texts: Sequence[str]) -> NoReturn:
        """Raises EncoderUnavailableError."""
        raise EncoderUnavailableError(
            f"{len(texts)} texts were to be encoded by {self.name!r} ({self.fingerprint}), which is not at hand: open "
            "the store with it, or migrate the store to another encoder"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationReport:
    """What came of a migration.

    Attributes:
        former: The encoder before.
        current: The encoder now.
        revision: That the swap led to.
        encoded: Texts that were encoded; what an earlier attempt had encoded is not among them.
        basis: The queries that were decided before and after. "given" by the caller; or "labelled", those of ``fit``;
            or, without either, "held out": an utterance of each route, up to 1,000, decided by the others of its
            route, by nearest neighbours alone.
        decisions: How their decisions changed.
        right_before: How many of them were decided rightly before; None where nobody said what is right.
        right_after: And now.
        thresholds: Routes with a threshold of their own. It is a cosine of the former encoder: look at it again.
    """

    former: EncoderIdentity
    current: EncoderIdentity
    revision: int
    encoded: int
    basis: Basis
    decisions: Comparison
    right_before: int | None
    right_after: int | None
    thresholds: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, the same fields."""
        return asdict(self) | {"decisions": self.decisions.to_dict()}

    def __str__(self) -> str:
        right = "" if self.right_before is None else f", right {self.right_before:,} -> {self.right_after:,}"
        return (
            f"{self.former.name} -> {self.current.name}, revision {self.revision}: {self.encoded:,} texts encoded; of "
            f"{self.basis} queries, {self.decisions}{right}"
        )


def encode_beside(
    storage: BaseStorage,
    encoder: BaseEncoder,
    identity: EncoderIdentity,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Encode all stored texts that lack a vector of that encoder and set the vectors aside, part after part.

    What is done is durable, and is not done again by whoever goes on after a crash.

    Returns:
        How many texts were encoded; 0 once there is nothing left to do.

    Raises:
        EncoderError: The encoder failed.
        StorageError: The store cannot be read or written.
    """
    texts: dict[str, None] = {}
    after = 0
    while after >= 0:
        part, after = storage.unencoded(identity, after=after)
        texts |= dict.fromkeys(part)
    missing = list(texts)
    for start in range(0, len(missing), _AT_ONCE):
        at_once = missing[start : start + _AT_ONCE]
        storage.save_reencoded(at_once, encode_checked(encoder, at_once), encoder=identity)
        if progress:
            progress(start + len(at_once), len(missing))
    return len(missing)


def encoded_as_queries(labelled: LabelledQueries | None, encoder: BaseEncoder) -> LabelledQueries | None:
    """The labelled queries with the vectors that queries have; None where those of utterances are no others.

    What is encoded beside is kept by text, and a text may be an utterance too.

    Raises:
        EncoderError: The encoder failed.
    """
    if labelled is None or not hasattr(encoder, "encode_queries"):
        return None
    return replace(labelled, vectors=encode_checked(encoder, labelled.texts, queries=True))


# ----------------------------------------------------------------------------------------------------- reporting
class Asked(NamedTuple):
    """Queries to be decided before and after.

    Attributes:
        basis: Where they are from.
        texts: The queries (n).
        labels: What is right (n); None if nobody said.
        before: Their vectors by the former encoder (n, dim).
        after: And by the other one.
    """

    basis: Basis
    texts: Sequence[str]
    labels: Sequence[str | None] | None
    before: Vectors
    after: Vectors


def asked_by_caller(
    queries: Sequence[str] | None, labels: Sequence[str | None] | None, lane: Lane, encoder: BaseEncoder
) -> Asked | None:
    """The queries that the caller gave, encoded; None if there are none.

    Raises:
        InvalidInputError: Their lengths differ, or a label is no route.
        EncoderError: One of the encoders failed.
    """
    if queries is None:
        if labels is not None:
            raise InvalidInputError("labels are given and no queries; give both, or queries alone")
        return None
    check_queries(queries, [None] * len(queries) if labels is None else labels)
    names = None if labels is None else check_labels(labels, lane.table)
    texts = [clean_query(query) for query in queries]
    before = lane.encode(texts, queries=True)
    return Asked("given", texts, names, before, encode_checked(encoder, texts, queries=True))


def asked_by_fit(former: RouteTable, current: RouteTable) -> Asked | None:
    """The labelled queries of both tables, which are the same; None if there are none."""
    before, after = former.labelled, current.labelled
    if before is None or after is None:
        return None
    return Asked("labelled", before.texts, before.labels, before.vectors, after.vectors)


def unchanged(lane: Lane) -> MigrationReport:
    """The report of a migration to the encoder that is there."""
    return MigrationReport(
        former=lane.identity,
        current=lane.identity,
        revision=lane.table.revision,
        encoded=0,
        basis="held out",
        decisions=compared([], [], []),
        right_before=None,
        right_after=None,
        thresholds=0,
    )


def reported(
    former: Lane, current: Lane, asked: Asked | None, terms: Terms, *, revision: int, encoded: int
) -> MigrationReport:
    """Decide the same queries by the table before and the one after; held-out utterances if there are none."""
    tables = former.table, current.table
    if asked is None:
        if isinstance(former.encoder, FormerEncoder):
            # It could not encode the background sentences either: then both are calibrated without them.
            one, other = (replace(table, encode=partial(_nothing, table.index.dim)) for table in tables)
            tables = one, other
        tables, asked = _held_out(*tables)
    before = tables[0].decide(asked.texts, asked.before, **terms._asdict())
    after = tables[1].decide(asked.texts, asked.after, **terms._asdict())
    return MigrationReport(
        former=former.identity,
        current=current.identity,
        revision=revision,
        encoded=encoded,
        basis=asked.basis,
        decisions=compared(asked.texts, before, after, examples=EXAMPLES),
        right_before=_right(before, asked.labels),
        right_after=_right(after, asked.labels),
        thresholds=sum(route.threshold is not None for route in current.table.routes),
    )


def _nothing(dim: int, _texts: tuple[str, ...]) -> Vectors:
    return np.empty((0, dim), np.float32)


def _held_out(former: RouteTable, current: RouteTable) -> tuple[tuple[RouteTable, RouteTable], Asked]:
    """Both tables without the last utterance of up to 1,000 routes, and those utterances.

    Routes of one utterance keep it. A route that is not the same in both is left out.
    """
    several = [name for name in current.catalog if len(current.get(name).utterances) > 1 and name in former]
    same = [name for name in several if former.get(name).utterances == current.get(name).utterances]
    names = same[:: max(1, -(-len(same) // _HELD_OUT))]
    (before, rows_before), (after, rows_after) = (_without_last(table, names) for table in (former, current))
    texts = [current.get(name).utterances[-1] for name in names]
    return (before, after), Asked("held out", texts, names, rows_before, rows_after)


def _without_last(table: RouteTable, names: Sequence[str]) -> tuple[RouteTable, Vectors]:
    """The table without the last utterance of each of these routes, and the vectors of those (n, dim)."""
    rows = [table.index.rows_of(table.catalog.slot(name))[-1] for name in names]
    none = np.empty((0, table.index.dim), np.float32)
    puts = []
    for name in names:
        *kept, last = table.get(name).utterances
        route = table.get(name).replaced(utterances=kept)
        puts.append(PutRoute(route=route, added=(), vectors=none, removed=(last,)))
    without = table.applied(puts, table.revision).with_learned(None)
    return without, table.index.vectors_of(np.array(rows, np.int64))


def _right(decisions: Sequence[Decision], labels: Sequence[str | None] | None) -> int | None:
    if labels is None:
        return None
    return sum(decision.name == label for decision, label in zip(decisions, labels, strict=True))
