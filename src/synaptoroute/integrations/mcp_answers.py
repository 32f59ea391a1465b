"""What the MCP server's tools answer; from these models come the output schemas that clients are shown."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from synaptoroute.models import Reason, Route, Stage
from synaptoroute.tools import ToolMatch


class _Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class Matched(_Answer):
    """One route's evidence for a text."""

    name: str
    score: float = Field(description="Cosine of the text and the utterance.")
    confidence: float = Field(description="Probability that this route is right.")
    utterance: str = Field(description="The route's nearest utterance.")


class Decided(_Answer):
    """The outcome of routing one text."""

    name: str | None = Field(description="The chosen route; null if none fits.")
    confidence: float = Field(description="Probability that the best route is right.")
    score: float | None = Field(description="Cosine of the best route's nearest utterance.")
    margin: float | None = Field(description="Lead in confidence over the runner-up.")
    reason: Reason = Field(description="Why it was chosen, or none was.")
    matches: list[Matched] = Field(description="The best routes, best first, passed or not.")
    revision: int = Field(description="The revision of the routes that decided.")
    stage: Stage = Field(description="What made the decision.")


class DecidedMany(_Answer):
    """One decision for each text, in order."""

    decisions: list[Decided]


class Near(_Answer):
    """A stored utterance near the text."""

    name: str = Field(description="Its route.")
    utterance: str
    score: float = Field(description="Cosine of the text and the utterance.")


class Explained(_Answer):
    """A decision and what made it."""

    decision: Decided
    nearest: list[Near] = Field(description="The nearest utterances of all routes, nearest first.")
    limits: dict[str, Any] = Field(description="What the best route had to reach, and who said so.")
    decided_by: str | None = Field(description="What ranked the best route; null without routes.")


class RouteListed(_Answer):
    """A route in a list."""

    name: str
    description: str | None
    threshold: float | None = Field(description="Least cosine a text must reach; null leaves it to the confidence.")
    utterance_count: int
    examples: list[str] = Field(description="Its first utterances.")

    @classmethod
    def of(cls, route: Route, examples: int) -> Self:
        """What is shown of a route.

        Args:
            route: Any.
            examples: Most utterances to show.
        """
        return cls(
            name=route.name,
            description=route.description,
            threshold=route.threshold,
            utterance_count=len(route.utterances),
            examples=list(route.utterances[:examples]),
        )


class Listed(_Answer):
    """A page of routes."""

    routes: list[RouteListed]
    total: int = Field(description="How many there are in all.")
    next: str | None = Field(description="Name to give as `after` for the next page; null on the last.")
    revision: int = Field(description="The revision of all routes.")


class FoundParameter(_Answer):
    """One argument of a tool."""

    name: str
    description: str | None
    type: str | None
    required: bool
    choices: list[str] = Field(description="The values it is limited to; empty if it is not.")


class FoundTool(_Answer):
    """A tool that may serve the query."""

    name: str
    description: str | None
    namespace: str | None
    confidence: float = Field(description="Probability that this tool is the right one.")
    score: float = Field(description="Cosine of the query and the nearest of the tool's texts.")
    parameters: list[FoundParameter]

    @classmethod
    def of(cls, match: ToolMatch) -> Self:
        """What is shown of a tool that was found."""
        tool = match.tool
        return cls(
            name=tool.name,
            description=tool.description,
            namespace=tool.namespace,
            confidence=match.confidence,
            score=match.score,
            parameters=[FoundParameter.model_validate(asdict(parameter)) for parameter in tool.parameters],
        )


class Found(_Answer):
    """The tools that may serve a query, best first; none if no tool does."""

    tools: list[FoundTool]


class Changed(_Answer):
    """The revision of the routes after a change."""

    revision: int
