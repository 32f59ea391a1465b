"""What goes in and out as JSON, where the models of the router do not say it already."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from synaptoroute.models import MAX_TEXT_CHARS, Reason, Route, Stage
from synaptoroute.route_files import route_entry

Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Cosine = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARS)]
#: The first wrong item is enough: a small body of wrong items would take a thousand times its size in errors.
Texts = Annotated[list[str], Field(min_length=1, fail_fast=True)]


class Asked(BaseModel):
    """A body that is sent; what it does not know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class RouteRequest(Asked):
    """What to route, and how: one ``text`` or several ``texts``."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"text": "what is my balance", "top_k": 3}],
            "oneOf": [{"required": ["text"]}, {"required": ["texts"]}],
        }
    )

    text: Text | None = Field(None, description="One text.")
    texts: Annotated[list[Text], Field(min_length=1, fail_fast=True)] | None = Field(
        None, description="Several, all decided alike."
    )
    top_k: int = Field(5, ge=1, le=10_000, description="How many matches each decision lists.")
    threshold: Cosine | None = Field(None, description="Least cosine, in place of the routes' thresholds.")
    min_confidence: Probability | None = Field(None, description="Least confidence, in place of the server's.")
    min_margin: Probability | None = Field(None, description="Least lead in confidence over the runner-up.")
    allow: Annotated[list[str], Field(fail_fast=True)] | None = Field(
        None, max_length=10_000, description="Names of the only routes to consider."
    )
    exact: bool = Field(False, description="Compare with every utterance, however many there are.")  # noqa: FBT003
    deadline_ms: int | None = Field(None, ge=1, le=600_000, description="Give up after so many milliseconds.")
    explain: bool = Field(False, description="Say of each decision how it came about.")  # noqa: FBT003

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.text is None) == (self.texts is None):
            raise ValueError("either text or texts is wanted")
        return self


class MatchAnswer(BaseModel):
    """One route's evidence for a text."""

    name: str
    score: float = Field(description="Cosine of the text and the utterance.")
    confidence: float = Field(description="Probability that this route is right.")
    utterance: str = Field(description="The route's nearest utterance.")


class DecisionAnswer(BaseModel):
    """The outcome of routing one text."""

    name: str | None = Field(description="The chosen route; null if none fits.")
    score: float | None = Field(description="Cosine of the best route's nearest utterance.")
    confidence: float = Field(description="Probability that the best route is right.")
    margin: float | None = Field(description="Lead in confidence over the runner-up.")
    matches: list[MatchAnswer] = Field(description="The best routes, best first, passed or not.")
    reason: Reason = Field(description="Why it was chosen, or none was.")
    revision: int = Field(description="The revision of the routes that decided.")
    stage: Stage = Field(description="What made the decision.")
    explanation: dict[str, Any] | None = Field(None, description="How it came about; only if asked for.")


class RouteAnswer(BaseModel):
    """The decisions, one for each text in order."""

    decisions: list[DecisionAnswer]
    revision: int = Field(description="The revision of the routes that decided.")
    took_ms: float = Field(description="Milliseconds in the server, without reading and sending.")


class RouteBody(Asked):
    """A route to be created or put."""

    utterances: Texts
    threshold: Cosine | None = None
    description: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class NewRoute(RouteBody):
    """A route to be created."""

    name: str


class PutBody(RouteBody):
    """A route as it shall be. A name may be given, if it is the path's."""

    name: str | None = None


class RoutePatch(Asked):
    """The fields of a route to change; null removes a threshold or description."""

    utterances: Texts | None = None
    threshold: Cosine | None = None
    description: str | None = None
    metadata: dict[str, Any] | None = None


class Utterances(Asked):
    """Example texts."""

    utterances: Texts


class RouteListed(BaseModel):
    """A route in a list."""

    name: str
    description: str | None
    threshold: float | None
    metadata: dict[str, Any]
    utterance_count: int
    revision: int = Field(description="At which it changed last; what If-Match takes.")
    utterances: list[str] | None = Field(None, description="In a list only if asked for.")

    @classmethod
    def of(cls, route: Route, revision: int, *, utterances: bool = True) -> Self:
        """What is shown of a route."""
        entry = route_entry(route)
        return cls(
            name=route.name,
            description=route.description,
            threshold=route.threshold,
            metadata=entry.get("metadata", {}),
            utterance_count=len(route.utterances),
            revision=revision,
            utterances=list(route.utterances) if utterances else None,
        )


class RouteShown(RouteListed):
    """A route with its utterances."""

    utterances: list[str]


class RouteList(BaseModel):
    """A page of routes, in the order they were added."""

    routes: list[RouteListed]
    total: int = Field(description="How many there are, or match the query.")
    next: str | None = Field(description="Name to give as `after` for the next page; null on the last.")
    revision: int = Field(description="The revision of all routes.")


class Revised(BaseModel):
    """The revision after a change."""

    revision: int


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    code: str = Field(description="A stable word to compare.")
    instance: str | None = None
    request_id: str | None = None
    errors: list[dict[str, str]] | None = Field(None, description="Where the request is wrong, and how.")
