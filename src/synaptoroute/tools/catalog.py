"""Catalog: the tools of one moment, with all that a query needs; immutable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from synaptoroute.decision.background import BACKGROUND
from synaptoroute.encoder.base import Vectors
from synaptoroute.errors import InvalidInputError
from synaptoroute.tools.confidence import served, shares
from synaptoroute.tools.fusing import Floats, Fusion
from synaptoroute.tools.tool import Tool
from synaptoroute.tools.wording import Wording

Allow = Iterable[str] | Callable[[Tool], bool]
#: Which tools may be used, ascending.
Columns = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolMatch:
    """A tool that may serve a query.

    Attributes:
        name: The tool's.
        score: Cosine similarity of the query and the nearest of the tool's texts, in [-1, 1]. The order is not by this
            alone.
        confidence: Calibrated probability in [0, 1] that this tool is the right one. Those of all tools add up to the
            probability that any of them serves the query.
        tool: Itself.
    """

    name: str
    score: float
    confidence: float
    tool: Tool


@dataclass(frozen=True, eq=False)
class Catalog:
    """The tools of one moment.

    Attributes:
        tools: In the order they were added; a tool's column is its place.
        fusion: How well they go with a query; None without tools.
        everyday: What ``BACKGROUND`` has to do with them (sentences, tools).
    """

    tools: tuple[Tool, ...] = ()
    fusion: Fusion | None = None
    everyday: Floats | None = None

    @classmethod
    def of(cls, tools: Iterable[Tool], vectors: Mapping[str, Mapping[str, Vectors]], background: Vectors) -> Catalog:
        """The catalog of these tools.

        Args:
            tools: Of different names.
            vectors: Tool -> text -> its unit row, for all that ``Wording.texts`` has.
            background: Unit rows of ``BACKGROUND`` as queries.
        """
        tools = tuple(tools)
        if not tools:
            return cls()
        wordings = [Wording.of(tool) for tool in tools]
        rows = [
            vectors[tool.name][text] for tool, wording in zip(tools, wordings, strict=True) for text in wording.texts
        ]
        fusion = Fusion.of(wordings, np.stack(rows), everyday=BACKGROUND, everyday_vectors=background)
        return cls(tools, fusion, fusion(BACKGROUND, background).fused)

    @cached_property
    def named(self) -> dict[str, int]:
        """The column of each name."""
        return {tool.name: column for column, tool in enumerate(self.tools)}

    def columns(self, allow: Allow | None, namespaces: Iterable[str] | None) -> Columns | None:
        """Those of the tools that may be used; None for all. Names of no tool are passed over.

        Raises:
            InvalidInputError: A single text where a list of names is wanted.
        """
        for name, value in (("allow", allow), ("namespaces", namespaces)):
            if isinstance(value, str):
                raise InvalidInputError(f"{name} is a single text; a list of names is wanted")
        if allow is None and namespaces is None:
            return None
        spaces = None if namespaces is None else frozenset(namespaces)
        chosen = [column for column, tool in enumerate(self.tools) if spaces is None or tool.namespace in spaces]
        if callable(allow):
            chosen = [column for column in chosen if allow(self.tools[column])]
        elif allow is not None:
            names = frozenset(allow)
            chosen = [column for column in chosen if self.tools[column].name in names]
        return np.array(chosen, np.int64)

    def matches(
        self, texts: Sequence[str], vectors: Vectors, *, k: int, columns: Columns | None, min_confidence: float
    ) -> list[list[ToolMatch]]:
        """The k best of the tools that may be used, best first, for each query; none where none is likely to serve it.

        Of equal tools the one added first comes first.

        Args:
            texts: Queries (n).
            vectors: Their unit rows (n, dim).
            k: At least 1.
            columns: The tools that may be used; None for all. The others take no part.
            min_confidence: Least probability that any of these tools serves the query.
        """
        if self.fusion is None or self.everyday is None or (columns is not None and not len(columns)):
            return [[] for _ in texts]
        found = self.fusion(texts, vectors)
        columns = np.arange(len(self.tools)) if columns is None else columns
        fused, learned = found.fused[:, columns], self.fusion.kernel is not None
        any_serves = served(fused, self.everyday[:, columns], learned=learned)
        confidences = any_serves[:, None] * shares(fused, learned=learned)
        order = np.argsort(-fused, axis=1, kind="stable")[:, :k]
        return [
            [
                ToolMatch(
                    name=self.tools[columns[at]].name,
                    score=float(np.clip(found.nearest[row, columns[at]], -1, 1)),
                    confidence=float(confidences[row, at]),
                    tool=self.tools[columns[at]],
                )
                for at in best
            ]
            if any_serves[row] >= min_confidence
            else []
            for row, best in enumerate(order.tolist())
        ]
