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
from synaptoroute.evaluation import check_queries
from synaptoroute.lane import Lane
from synaptoroute.models import Decision, clean_query
from synaptoroute.storage.base import BaseStorage, EncoderIdentity, PutRoute
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


# ----------------------------------------------------------------------------------------------------- reporting
class Given(NamedTuple):
    """Queries that the caller gave, and what is right, if that is known."""

    texts: Sequence[str]
    labels: Sequence[str | None] | None


def given_queries(queries: Sequence[str] | None, labels: Sequence[str | None] | None) -> Given | None:
    """Clean queries; None if there are none. Raises InvalidInputError."""
    if queries is None:
        if labels is not None:
            raise InvalidInputError("labels are given and no queries; give both, or queries alone")
        return None
    check_queries(queries, [None] * len(queries) if labels is None else labels)
    return Given([clean_query(query) for query in queries], labels)


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
    former: Lane, current: Lane, given: Given | None, terms: Terms, *, revision: int, encoded: int
) -> MigrationReport:
    """Decide the same queries by the table before and the one after."""
    lanes = former, current
    tables: tuple[RouteTable, ...] = former.table, current.table
    labelled = [table.labelled for table in tables]
    basis: Basis
    if given is not None:
        basis, texts, labels = "given", given.texts, given.labels
        vectors = [lane.encode(texts) for lane in lanes]
    elif labelled[0] is not None:
        basis, texts, labels = "labelled", labelled[0].texts, labelled[0].labels
        vectors = [its.vectors for its in labelled if its is not None]
    else:
        basis = "held out"
        if isinstance(former.encoder, FormerEncoder):
            # It could not encode the background sentences either: then both are calibrated without them.
            tables = tuple(replace(table, encode=partial(_nothing, table.index.dim)) for table in tables)
        tables, texts, labels, vectors = _held_out(*tables)
    before, after = (table.decide(texts, rows, **terms._asdict()) for table, rows in zip(tables, vectors, strict=True))
    return MigrationReport(
        former=former.identity,
        current=current.identity,
        revision=revision,
        encoded=encoded,
        basis=basis,
        decisions=compared(texts, before, after, examples=EXAMPLES),
        right_before=_right(before, labels),
        right_after=_right(after, labels),
        thresholds=sum(route.threshold is not None for route in current.table.routes),
    )


def _nothing(dim: int, _texts: tuple[str, ...]) -> Vectors:
    return np.empty((0, dim), np.float32)


def _held_out(
    former: RouteTable, current: RouteTable
) -> tuple[tuple[RouteTable, RouteTable], list[str], list[str], list[Vectors]]:
    """Both tables without the last utterance of up to 1,000 routes, those utterances, their routes and vectors.

    Routes of one utterance keep it. A route that is not the same in both is left out.
    """
    several = [name for name in current.catalog if len(current.get(name).utterances) > 1 and name in former]
    same = [name for name in several if former.get(name).utterances == current.get(name).utterances]
    names = same[:: max(1, -(-len(same) // _HELD_OUT))]
    texts = [current.get(name).utterances[-1] for name in names]
    tables, vectors = [], []
    for table in (former, current):
        rows = [table.index.rows_of(table.catalog.slot(name))[-1] for name in names]
        vectors.append(table.index.vectors_of(np.array(rows, np.int64)))
        none = np.empty((0, table.index.dim), np.float32)
        puts = []
        for name, text in zip(names, texts, strict=True):
            route = table.get(name)
            kept = route.replaced(utterances=route.utterances[:-1])
            puts.append(PutRoute(route=kept, added=(), vectors=none, removed=(text,)))
        tables.append(table.applied(puts, table.revision).with_learned(None))
    return (tables[0], tables[1]), texts, names, vectors


def _right(decisions: Sequence[Decision], labels: Sequence[str | None] | None) -> int | None:
    if labels is None:
        return None
    return sum(decision.name == label for decision, label in zip(decisions, labels, strict=True))
