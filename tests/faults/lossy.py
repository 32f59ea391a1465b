"""A store that acknowledges too early, to see that the kill runs notice."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from synaptoroute.storage import SQLiteStorage
from synaptoroute.storage.base import Change

#: Changes that are acknowledged and not yet committed. Of one alone, a kill may cost nothing.
_LATE = 2


class LateStorage(SQLiteStorage):
    """Says that a change is committed, and commits it two changes later, or when it is closed."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._waiting: list[tuple[Sequence[Change], dict[str, Any]]] = []

    def commit(self, changes: Sequence[Change], **options: Any) -> int:
        self._catch_up(_LATE - 1)
        self._waiting.append((changes, options))
        return int(options["expected_revision"]) + 1

    def close(self) -> None:
        self._catch_up(0)
        super().close()

    def _catch_up(self, late: int) -> None:
        while len(self._waiting) > late:
            changes, options = self._waiting.pop(0)
            super().commit(changes, **options)
