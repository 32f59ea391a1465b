"""What goes in and what comes out: Route, and Decision with its Matches. All immutable."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from synaptoroute.errors import InvalidInputError, InvalidQueryError, InvalidRouteError

if TYPE_CHECKING:
    from synaptoroute.describing import Described

MAX_NAME_CHARS = 128
MAX_TEXT_CHARS = 32_768
MAX_UTTERANCES = 100_000
MAX_DESCRIPTION_CHARS = 8_192
MAX_METADATA_BYTES = 65_536

#: How a text begins that is a picture; ``encoder.pictures.picture`` writes such texts.
PICTURE = "data:image/"

_NAME = re.compile(r"\w[\w .,:/@+&()?!'-]*", re.UNICODE)


class FrozenDict(dict[str, Any]):
    """A dict that refuses to change, so that a Route's metadata is as immutable as the Route."""

    def _refuse(self, *_args: object, **_kwargs: object) -> NoReturn:
        raise TypeError("a Route's metadata cannot be changed in place; use router.update_route(name, metadata={...})")

    __setitem__ = __delitem__ = clear = pop = popitem = setdefault = update = __ior__ = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return (FrozenDict, (dict(self),))


def frozen(value: Any) -> Any:
    """The same JSON value with dicts and lists that cannot change."""
    if isinstance(value, Mapping):
        return FrozenDict({key: frozen(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return tuple(frozen(item) for item in value)
    return value


def clean_text(text: object, error: type[InvalidInputError]) -> str:
    """The text without surrounding white space.

    Raises:
        InvalidInputError: As ``error``, if the text is not a string, is empty, has more than 32,768 characters or
            cannot be written as UTF-8 (lone surrogates). The message never repeats the text.
    """
    if not isinstance(text, str):
        raise error(f"text must be a string, got {type(text).__name__}")
    if len(text) > MAX_TEXT_CHARS:
        raise error(f"text has {len(text):,} characters, at most {MAX_TEXT_CHARS:,} are accepted; shorten it")
    stripped = text.strip()
    if not stripped:
        raise error("text is empty or only white space")
    if stripped.isascii():
        return stripped
    try:
        stripped.encode("utf-8")
    except UnicodeEncodeError as exc:
        message = f"text is not valid Unicode at character {exc.start} (a lone surrogate); decode it properly"
        raise error(message) from None
    return stripped


def is_picture(text: str) -> bool:
    """Whether a text is a picture, as a data URL: its letters say nothing, and only some encoders can read it."""
    return text.startswith(PICTURE)


def clean_query(text: object) -> str:
    """A query ready for encoding. Raises InvalidQueryError."""
    return clean_text(text, InvalidQueryError)


def clean_name(name: object) -> str:
    """A route's name, normalised to NFC. Raises InvalidRouteError."""
    if not isinstance(name, str):
        raise InvalidRouteError(f"a route's name must be a string, got {type(name).__name__}")
    name = unicodedata.normalize("NFC", name)
    if len(name) > MAX_NAME_CHARS or not _NAME.fullmatch(name) or name != name.strip():
        raise InvalidRouteError(
            f"route name {name[:40]!r} is not accepted: 1 to {MAX_NAME_CHARS} letters, digits, spaces or "
            "_ . , : / @ + & ( ) ? ! ' -, beginning with a letter, digit or underscore"
        )
    return name


def clean_utterances(texts: Iterable[object]) -> tuple[str, ...]:
    """Stripped utterances without repeats, in their first order. Raises InvalidRouteError."""
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        raise InvalidRouteError(f"utterances must be a list of texts, got {type(texts).__name__}")
    unique = tuple(dict.fromkeys(clean_text(text, InvalidRouteError) for text in texts))
    if len(unique) > MAX_UTTERANCES:
        raise InvalidRouteError(f"{len(unique):,} utterances, at most {MAX_UTTERANCES:,} are accepted in one route")
    return unique


class Route(BaseModel):
    """A destination and the example texts that describe it.

    Attributes:
        name: Unique in a router; 1 to 128 characters, see ``clean_name``.
        utterances: At least one example text. Surrounding white space and repeats are removed.
        threshold: Least cosine score in [-1, 1] a query must reach. None leaves it to the calibrated confidence.
        description: One sentence for people and tools; not used for scoring.
        metadata: Any JSON object, for the caller's own use; at most 64 KiB.

    Raises:
        InvalidRouteError: A field cannot be accepted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    utterances: tuple[str, ...] = Field(min_length=1)
    threshold: Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)] | None = None
    description: Annotated[str, Field(max_length=MAX_DESCRIPTION_CHARS)] | None = None
    metadata: dict[str, Any] = Field(default_factory=FrozenDict)

    def __init__(
        self,
        *,
        name: str,
        utterances: Iterable[str],
        threshold: float | None = None,
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        **unknown: Any,
    ) -> None:
        fields = {"name": name, "utterances": utterances, "threshold": threshold, "description": description}
        try:
            super().__init__(**fields, metadata=metadata or {}, **unknown)
        except ValidationError as exc:
            first = exc.errors(include_url=False, include_context=False, include_input=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            message = first["msg"].removeprefix("Value error, ")
            raise InvalidRouteError(f"route {str(name)[:40]!r}: {field}: {message}") from None

    _clean_name = field_validator("name", mode="before")(clean_name)
    _clean_utterances = field_validator("utterances", mode="before")(clean_utterances)

    @field_validator("description", mode="after")
    @classmethod
    def _valid_description(cls, description: str | None) -> str | None:
        return clean_text(description, InvalidRouteError) if description else None

    @field_validator("metadata", mode="plain")
    @classmethod
    def _json_metadata(cls, metadata: object) -> FrozenDict:
        if not isinstance(metadata, Mapping):
            raise InvalidRouteError(f"metadata must be a JSON object, got {type(metadata).__name__}")
        if not metadata:
            return FrozenDict()
        try:
            text = json.dumps(metadata, allow_nan=False, ensure_ascii=False)
            size = len(text.encode())
        except (TypeError, ValueError, RecursionError) as exc:
            raise InvalidRouteError(f"metadata is not JSON: {exc}") from None
        if size > MAX_METADATA_BYTES:
            raise InvalidRouteError(f"metadata takes {size:,} bytes, at most {MAX_METADATA_BYTES:,} are accepted")
        return FrozenDict(frozen(json.loads(text)))

    # ----------------------------------------------------------------------------------------------- from code
    @classmethod
    def from_function(
        cls, function: Callable[..., Any], *, siblings: Iterable[object] = (), examples: Iterable[str] = ()
    ) -> Route:
        """The route to a function: named as it is, and described by its docstring.

        Its utterances are made of the docstring, the name and what it takes, see ``seeding``. They are a beginning:
        they say what it does and not how people ask for it, so add texts of users as soon as there are some.

        Args:
            function: It has a name of its own, and best a docstring.
            siblings: What the other routes are made from, or the routes: functions, pydantic models, schemas. What
                they have in common does not become an utterance. It may be among them itself.
            examples: Texts that ask for it, which become its first utterances.

        Raises:
            InvalidToolError: It is no function, or has no name, as a lambda.
            InvalidRouteError: Its name is no name for a route.
        """
        return cls._from_code(function, siblings, examples)

    @classmethod
    def from_model(
        cls, model: type[BaseModel], *, siblings: Iterable[object] = (), examples: Iterable[str] = ()
    ) -> Route:
        """``from_function`` for a pydantic model: its name, its docstring and its fields."""
        return cls._from_code(model, siblings, examples)

    @classmethod
    def from_schema(
        cls, schema: Mapping[str, Any], *, siblings: Iterable[object] = (), examples: Iterable[str] = ()
    ) -> Route:
        """``from_function`` for a tool's schema as OpenAI, Anthropic or MCP have it, or a plain JSON schema."""
        return cls._from_code(schema, siblings, examples)

    @classmethod
    def _from_code(cls, thing: object, siblings: Iterable[object], examples: Iterable[str]) -> Route:
        from synaptoroute.seeding import described, seeds

        code = described(thing)
        others = [_as_described(each) if isinstance(each, Route) else described(each) for each in siblings]
        description = code.description[:MAX_DESCRIPTION_CHARS] if code.description else None
        utterances = (*clean_utterances(examples), *seeds(code, others))
        return cls(name=code.name, utterances=utterances, description=description)

    def replaced(self, **changes: Any) -> Route:
        """A copy with some fields changed, validated like a new Route."""
        return Route(**{**dict(self), **changes})


def _as_described(route: Route) -> Described:
    """What a route says about itself, for telling others from it."""
    from synaptoroute.describing import Described

    return Described(name=route.name, description=route.description, parameters=(), examples=route.utterances)


class Reason(StrEnum):
    """Why a Decision chose a route, or none."""

    MATCHED = "matched"
    BELOW_THRESHOLD = "below_threshold"
    BELOW_CONFIDENCE = "below_confidence"
    AMBIGUOUS = "ambiguous"
    NO_ROUTES = "no_routes"


class Stage(StrEnum):
    """What made a Decision."""

    #: The encoder, and all that is learned over its vectors.
    ENCODER = "encoder"
    #: The static first stage, which was sure that the encoder would say the same.
    STATIC = "static"
    #: The encoder could not tell two routes apart, and a cross-encoder did.
    RERANKER = "reranker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One route's evidence for a query.

    Attributes:
        name: The route.
        score: Cosine similarity of the query and ``utterance``, in [-1, 1]; of their static vectors in a Decision of
            ``Stage.STATIC``.
        confidence: Calibrated probability in [0, 1] that this route is right.
        utterance: The stored utterance nearest to the query.
    """

    name: str
    score: float
    confidence: float
    utterance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The outcome of routing one query. False in a condition when the router abstained.

    Attributes:
        name: The chosen route, or None when the router abstained.
        score: Cosine similarity of the best route's nearest utterance, of static vectors where ``stage`` is STATIC;
            None if there was no route to compare with.
        confidence: Calibrated probability in [0, 1] that the best route is right.
        margin: Lead in confidence of the best route over the runner-up, in [0, 1]; None without a runner-up.
        matches: The best routes, best first, whether or not they passed.
        reason: Why.
        revision: The revision of the route table that decided.
        stage: What made it.
    """

    name: str | None
    score: float | None
    confidence: float
    margin: float | None
    matches: tuple[Match, ...]
    reason: Reason
    revision: int
    stage: Stage = Stage.ENCODER

    def __bool__(self) -> bool:
        return self.name is not None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, the same fields."""
        plain = {"reason": self.reason.value, "stage": self.stage.value}
        return asdict(self) | plain | {"matches": [asdict(match) for match in self.matches]}
