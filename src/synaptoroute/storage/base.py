"""What a store is, and the changes it is given. The same changes build the next in-memory table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from synaptoroute.models import Route

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderIdentity:
    """Whose vectors these are. Vectors of different fingerprints are never mixed."""

    name: str
    dim: int
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PutRoute:
    """The route as it shall be, whether it is new or replaces one of the same name.

    ``route.utterances`` are those already stored and kept, in their stored order, and then ``added``.

    Attributes:
        route: The whole route.
        added: Utterances that are not stored yet.
        vectors: Theirs, float32 (len(added), dim).
        removed: Stored utterances that shall go.
    """

    route: Route
    added: tuple[str, ...]
    vectors: Vectors
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DropRoute:
    """The route of that name shall go, with all its utterances."""

    name: str


Change = PutRoute | DropRoute


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTable:
    """All that a store holds.

    Attributes:
        revision: Number of the last change; 0 for a new store.
        routes: In the order they were added.
        vectors: Those of all utterances, route after route, float32 (n, dim).
    """

    revision: int
    routes: tuple[Route, ...]
    vectors: Vectors


class BaseStorage(Protocol):
    """A durable, revisioned set of routes with the vectors of their utterances."""

    def load(self, encoder: EncoderIdentity) -> StoredTable:
        """Everything, as of one revision; vectors come back bit for bit as they were given.

        Raises:
            EncoderMismatchError: The vectors were written with another encoder.
            StorageCorruptError: The content is damaged.
        """
        ...

    def commit(self, changes: Sequence[Change], *, encoder: EncoderIdentity, expected_revision: int) -> int:
        """Make all changes durable, or none, and return the new revision.

        Raises:
            RevisionConflictError: The store is not at ``expected_revision``.
            StorageError: The changes could not be written; none was.
        """
        ...

    def close(self) -> None:
        """Release files and connections. Closing twice does nothing."""
        ...
