"""Collector: takes up routes as a format's reader finds them, mends what can be mended and notes what cannot."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from synaptoroute.errors import InvalidInputError, InvalidRouteError
from synaptoroute.importing.records import ForeignThreshold, Imported, Note, Scale, Severity
from synaptoroute.models import (
    MAX_DESCRIPTION_CHARS,
    MAX_NAME_CHARS,
    MAX_UTTERANCES,
    Route,
    clean_name,
    clean_text,
)

#: Names that people give to a route for what belongs to none.
_NOWHERE = re.compile(r"(default[ _-]*)?(nlu_?)?fallback([ _-]*intent)?|out[ _-]?of[ _-]?scope|oos|none", re.IGNORECASE)
#: Unknown keys that a note names before it only counts them.
_NAMED = 10
#: Characters that no name of ours has.
_FOREIGN = re.compile(r"[^\w .,:/@+&()?!'-]")


class Collector:
    """The routes and notes of one file. Routes of the same name become one."""

    def __init__(self, file_format: str) -> None:
        self._format = file_format
        self._routes: dict[str, dict[str, Any]] = {}
        self._named: dict[str, str] = {}
        self._notes: list[Note] = []
        self._thresholds: dict[str, ForeignThreshold] = {}

    def warn(self, kind: str, place: str, message: str) -> None:
        """Note what may make the routes decide otherwise than they did."""
        self._notes.append(Note(severity=Severity.WARNING, kind=kind, place=place, message=message))

    def inform(self, kind: str, place: str, message: str) -> None:
        """Note what was left out and does no harm."""
        self._notes.append(Note(severity=Severity.INFO, kind=kind, place=place, message=message))

    def route(
        self,
        place: str,
        name: object,
        utterances: object,
        *,
        description: object = None,
        metadata: object = None,
    ) -> str | None:
        """Take up a route.

        Args:
            place: Where it stands.
            name: Its name there; characters that we have not in names are replaced.
            utterances: A list; what is no text in it, or empty, is left out.
            description: A text or None.
            metadata: A mapping or None.

        Returns:
            The name it has here; None if there was nothing to take up.

        Raises:
            InvalidInputError: It has no name, or its utterances are no list.
        """
        kept_name = self._name(place, name)
        place = f"{place} {kept_name!r}"
        if not isinstance(utterances, list | tuple):
            raise InvalidInputError(f"{place}: utterances must be a list of texts, got {type(utterances).__name__}")
        text = self._description(place, description)
        kept = self._utterances(place, utterances)
        if not kept and text is not None:
            self.warn("utterances", place, "it has no utterances; its description stands in, so write some")
            kept = [text]
        if not kept:
            self.warn("utterances", place, "it has no utterances and no description, and was left out")
            return None
        entry = self._routes.get(kept_name)
        if entry is None:
            self._routes[kept_name] = entry = {"utterances": [], "description": None, "metadata": {}}
        else:
            self.warn("duplicate", place, "the name is there more than once; the utterances were joined")
        if entry["description"] is None:
            entry["description"] = text
        entry["metadata"] |= self._metadata(place, metadata)
        entry["utterances"] += kept
        if _NOWHERE.fullmatch(kept_name):
            self.inform(
                "out_of_scope",
                place,
                "by its name it is for what belongs nowhere, which this router finds out by itself by abstaining; "
                "consider to remove the route and to give its texts to fit as out of scope",
            )
        return kept_name

    def threshold(
        self, place: str, name: str, value: object, scale: Scale, *, defaults: Iterable[float] = (), why: str = ""
    ) -> None:
        """Remember the limit that a route had, and say that it is not copied.

        Args:
            place: Where it stands.
            name: The route's name here.
            value: What stands there; None is none.
            scale: What it was compared with.
            defaults: What the other router writes where nobody chose.
            why: What the value was chosen for, for people.
        """
        if value is None:
            return
        # A cosine, a distance and a probability are all below 2; an int may be too large for a float.
        if isinstance(value, bool) or not isinstance(value, int | float) or not -2 <= value <= 2:
            self.warn("threshold", place, f"the threshold of {name!r} is no number between -2 and 2, and was left out")
            return
        default = any(math.isclose(value, each, abs_tol=1e-6) for each in defaults)
        self._thresholds[name] = ForeignThreshold(value=float(value), scale=scale, default=default)
        if not default:
            self.warn(
                "threshold",
                place,
                f"thresholds were chosen for {why or 'another router'}, and are not copied; this router calibrates "
                "itself from the utterances",
            )

    def unknown(self, place: str, entry: Mapping[Any, Any], known: Iterable[str]) -> None:
        """Note the keys that are left out because nobody knows them."""
        keys = [str(key)[:40] for key in entry if key not in known]
        if keys:
            more = f" and {len(keys) - _NAMED:,} more" if len(keys) > _NAMED else ""
            self.inform("unknown", place, f"unknown keys were left out: {', '.join(keys[:_NAMED])}{more}")

    def finish(self) -> Imported:
        """All that was taken up.

        Raises:
            InvalidInputError: There is no route.
        """
        if not self._routes:
            raise InvalidInputError(f"there is no route in it that could be taken over (read as {self._format})")
        routes = []
        for name, entry in self._routes.items():
            utterances = tuple(dict.fromkeys(entry["utterances"]))
            if len(utterances) > MAX_UTTERANCES:
                self.warn("utterances", repr(name), f"only its first {MAX_UTTERANCES:,} utterances were taken over")
                utterances = utterances[:MAX_UTTERANCES]
            routes.append(self._route(name, utterances, entry))
        self._note_shared(routes)
        return Imported(
            format=self._format,
            routes=tuple(routes),
            notes=tuple(self._notes),
            thresholds={name: limit for name, limit in self._thresholds.items() if name in self._routes},
        )

    def _route(self, name: str, utterances: tuple[str, ...], entry: Mapping[str, Any]) -> Route:
        try:
            return Route(name=name, utterances=utterances, **{key: entry[key] for key in ("description", "metadata")})
        except InvalidRouteError as exc:
            if not entry["metadata"]:
                raise
            self.warn("metadata", repr(name), f"its metadata was left out: {exc}")
            return Route(name=name, utterances=utterances, description=entry["description"])

    def _name(self, place: str, name: object) -> str:
        if not isinstance(name, str) or not name.strip():
            raise InvalidInputError(f"{place}: it has no name, or one that is no text")
        name = unicodedata.normalize("NFC", name.strip())
        kept = _FOREIGN.sub("_", name)[:MAX_NAME_CHARS].strip()
        if not re.match(r"\w", kept):
            kept = f"_{kept}"[:MAX_NAME_CHARS]
        kept = clean_name(kept)
        if self._named.setdefault(kept, name) != name:
            raise InvalidInputError(
                f"{place}: {name[:40]!r} and {self._named[kept][:40]!r} would both become {kept!r}; rename one of them"
            )
        if kept != name:
            self.warn("name", place, f"{name[:40]!r} is no name here; it became {kept!r}")
        return kept

    def _utterances(self, place: str, utterances: Iterable[object]) -> list[str]:
        kept = []
        for number, text in enumerate(utterances, start=1):
            if not isinstance(text, str):
                self.warn(
                    "utterances",
                    f"{place}: utterance {number}",
                    f"it is no text but {type(text).__name__}, and was left out; YAML reads yes, no, on, off and "
                    "numbers so unless they stand in quotes",
                )
                continue
            try:
                kept.append(clean_text(text, InvalidRouteError))
            except InvalidRouteError as exc:
                self.warn("utterances", f"{place}: utterance {number}", f"it was left out: {exc}")
        return kept

    def _description(self, place: str, description: object) -> str | None:
        if description is None or description == "":
            return None
        if not isinstance(description, str):
            self.warn("description", place, f"its description is {type(description).__name__}, no text; left out")
            return None
        if len(description) > MAX_DESCRIPTION_CHARS:
            self.inform("description", place, f"its description was cut to {MAX_DESCRIPTION_CHARS:,} characters")
        try:
            return clean_text(description[:MAX_DESCRIPTION_CHARS], InvalidRouteError)
        except InvalidRouteError:
            return None

    def _metadata(self, place: str, metadata: object) -> Mapping[str, Any]:
        if metadata is None:
            return {}
        if not isinstance(metadata, Mapping):
            self.warn("metadata", place, f"its metadata is {type(metadata).__name__}, no mapping; left out")
            return {}
        return {str(key): value for key, value in metadata.items()}

    def _note_shared(self, routes: Iterable[Route]) -> None:
        counts = Counter(
            text for route in routes for text in {" ".join(each.casefold().split()) for each in route.utterances}
        )
        if shared := sum(count > 1 for count in counts.values()):
            self.warn(
                "shared_utterances",
                "the routes",
                f"{shared:,} text{'s are' if shared > 1 else ' is'} in more than one route, which no router can tell "
                "apart; 'synaptoroute lint' names them",
            )
