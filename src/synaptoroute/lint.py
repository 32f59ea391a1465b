"""What is wrong with a table of routes, found without a single query, and what would mend it.

Every utterance is asked as if it were a new query, itself left out: which utterance of its own route is nearest, and
which of any other route? Duplicates, strays, overlapping routes and thresholds out of reach all follow from that.
The bounds below stand for cosines of the bundled encoder; they were measured on the training texts of HWU64 (64
routes, 8,954 texts), CLINC150 (150, 15,000) and Banking77 (77, 10,003), people's texts with people's mistakes.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from synaptoroute.models import Route
from synaptoroute.table import RouteTable

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]
Flags = NDArray[np.bool_]

#: Cosine from which utterances of two routes are near-duplicates. 48 such pairs among the 33,957 texts above: read one
#: by one, 44 ask for the same thing and 4 do not ("my name" and "your name"). Left out, 70 % of the utterances in them
#: are nearest to the wrong route. Just below come commands that differ in one word and in meaning: "turn on the
#: lights" and "turn up the lights" at 0.949.
NEAR_DUPLICATE = 0.95
#: Cosine from which an utterance repeats another of its own route: the same words but for one without meaning.
REPEAT = 0.98
#: Share of a route's utterances that may repeat others. At most 0.17 in the 291 routes above.
REPEATED_SHARE = 0.2
#: Mean cosine between the utterances of one route from which they are too alike to cover it. At most 0.784 in the 291
#: routes above, and 0.847 in samples of 5 utterances of each.
UNIFORM = 0.85
#: By how much nearer to another route an utterance is when it is worth a warning: 0.4 to 1.8 % of the texts above,
#: against 7 to 16 % that are nearer at all. Most of those looked at were in the wrong route.
FAR_STRAY = 0.2
#: Share of two routes' utterances that are nearest to the other one: worth a mention, worth a warning. The highest
#: among the routes above is 0.185.
OVERLAP = 0.05
LARGE_OVERLAP = 0.2
#: Utterances a route needs at least. With 5 of them the nearest one is right for 80 % of CLINC150's queries in scope,
#: with 10 for 83 %, with 100 for 88 %.
FEW = 5
#: Share of a route's utterances that should reach the threshold that is suggested for it.
REACHING = 0.9

#: Scores held at once: 64 MiB.
_SCORES_AT_ONCE = 1 << 24
#: Cosines of equal texts differ by up to this much between two ways to multiply float32.
_NOISE = 1e-6
#: Letters of scripts that put no spaces between words; each counts as one.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")


class Severity(StrEnum):
    """How much it matters: an error contradicts itself, a warning likely costs accuracy, an info may be meant so."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Kind(StrEnum):
    """What was found, and what ``Finding.evidence`` is for it."""

    DUPLICATE = "duplicate"
    """The same text in several routes, but for case, spacing and end marks; evidence: how many routes."""
    NEAR_DUPLICATE = "near_duplicate"
    """Nearly the same text in two routes; evidence: their cosine."""
    UNREACHABLE_THRESHOLD = "unreachable_threshold"
    """No utterance of the route reaches the route's threshold when left out; evidence: the best score of them."""
    STRAY = "stray"
    """An utterance that is nearer to another route than to its own; evidence: by how much. Of two that are nearest to
    each other only the one that fits its route less is reported."""
    OVERLAP = "overlap"
    """Two routes whose utterances are nearest to each other; evidence: share of their utterances."""
    FEW = "few"
    """A route with few utterances; evidence: how many."""
    UNIFORM = "uniform"
    """A route whose utterances are all alike; evidence: their mean cosine."""
    REPEATS = "repeats"
    """A route of which many utterances repeat others; evidence: their share."""
    SHORT = "short"
    """An utterance of one word, or none; evidence: how many words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """One change a program can make; the words for people stand in ``Finding.advice``.

    Attributes:
        action: What to do.
        route: The route to change.
        utterance: The utterance to remove or move.
        to: The route to move it to.
        threshold: The threshold to set.
    """

    action: Literal["remove_utterance", "move_utterance", "set_threshold"]
    route: str
    utterance: str | None = None
    to: str | None = None
    threshold: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that looks wrong.

    Attributes:
        severity: How much it matters.
        kind: What it is.
        routes: The routes concerned, the one to look at first in front.
        utterances: The utterances concerned; for two routes, one of each in the same order.
        evidence: The number behind it, see ``Kind``.
        problem: One sentence for people.
        advice: What to do about it, for people.
        fixes: The same as changes, to be applied together; empty if it takes a person to write or decide. Those of
            another finding may no longer fit afterwards, so look again.
    """

    severity: Severity
    kind: Kind
    routes: tuple[str, ...]
    utterances: tuple[str, ...] = ()
    evidence: float
    problem: str
    advice: str
    fixes: tuple[Fix, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, the same fields; fixes without what they do not use."""
        fixes = [{key: value for key, value in asdict(fix).items() if value is not None} for fix in self.fixes]
        return asdict(self) | {"severity": self.severity.value, "kind": self.kind.value, "fixes": fixes}


def lint(table: RouteTable) -> tuple[Finding, ...]:
    """Everything that looks wrong, the worst first; the same table gives the same findings.

    Within a severity, findings stand by kind in the order of ``Kind``, then by evidence, strongest first. Compares
    all utterances with each other in blocks of 64 MiB: 50,000 take 13 s on 2 cores.

    An utterance is reported as near-duplicate of its nearest utterance elsewhere only; mend that and look again.
    """
    texts = _Texts.of(table)
    if not texts.routes:
        return ()
    nearest = _Nearest.among(texts)
    findings = [
        *_duplicates(texts, nearest),
        *_near_duplicates(texts, nearest),
        *_unreachable_thresholds(texts, nearest),
        *_strays(texts, nearest),
        *_overlaps(texts, nearest),
        *_few(texts),
        *_uniform(texts),
        *_repeats(texts, nearest),
        *_short(texts),
    ]
    severities, kinds = list(Severity), list(Kind)
    low_first = (Kind.FEW, Kind.SHORT)

    def place(finding: Finding) -> tuple[int, int, float, tuple[str, ...], tuple[str, ...]]:
        strength = finding.evidence if finding.kind in low_first else -finding.evidence
        severity, kind = severities.index(finding.severity), kinds.index(finding.kind)
        return severity, kind, strength, finding.routes, finding.utterances

    return tuple(sorted(findings, key=place))


# ------------------------------------------------------------------------------------------------------- evidence
@dataclass(frozen=True, slots=True)
class _Texts:
    """All utterances, route after route.

    Attributes:
        routes: In the order they were added.
        starts: Where each route's utterances begin, and at last their number (routes + 1,).
        owners: The place of each utterance's route (n,).
        utterances: The texts (n,).
        plain: The texts without what makes no difference (n,).
        vectors: Unit rows (n, dim).
    """

    routes: tuple[Route, ...]
    starts: Rows
    owners: Rows
    utterances: tuple[str, ...]
    plain: tuple[str, ...]
    vectors: Vectors

    @classmethod
    def of(cls, table: RouteTable) -> _Texts:
        counts = [len(route.utterances) for route in table.routes]
        utterances = tuple(text for route in table.routes for text in route.utterances)
        rows = [table.index.rows_of(table.catalog.slot(route.name)) for route in table.routes]
        return cls(
            routes=table.routes,
            starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            owners=np.repeat(np.arange(len(counts)), counts),
            utterances=utterances,
            plain=tuple(_plain(text) for text in utterances),
            vectors=table.index.vectors_of(np.concatenate([np.empty(0, np.int64), *rows])),
        )

    def name(self, row: int) -> str:
        return self.routes[int(self.owners[row])].name

    def rows(self) -> Iterator[tuple[Route, slice]]:
        for route, (start, end) in zip(self.routes, pairwise(self.starts.tolist()), strict=True):
            yield route, slice(start, end)

    def sole(self, row: int) -> bool:
        """Whether it is the only utterance of its route, which therefore must stay."""
        return len(self.routes[int(self.owners[row])].utterances) == 1


@dataclass(frozen=True, slots=True)
class _Nearest:
    """For each utterance, with itself left out (n,).

    Attributes:
        own: Score of the nearest other utterance of its route; -inf if it is the only one.
        other: Score of the nearest utterance of another route; -inf if there is only one route.
        other_row: That utterance.
        repeats: Whether an earlier utterance of its route is nearly the same.
    """

    own: Vectors
    other: Vectors
    other_row: Rows
    repeats: Flags

    @classmethod
    def among(cls, texts: _Texts) -> _Nearest:
        n = len(texts.vectors)
        own, other = np.full(n, -np.inf, np.float32), np.full(n, -np.inf, np.float32)
        other_row, repeats = np.zeros(n, np.int64), np.zeros(n, bool)
        step = max(1, _SCORES_AT_ONCE // n)
        for first in range(0, n, step):
            last = min(first + step, n)
            scores = texts.vectors[first:last] @ texts.vectors.T
            for owner in range(int(texts.owners[first]), int(texts.owners[last - 1]) + 1):
                start, end = texts.starts[owner : owner + 2].tolist()
                rows = np.arange(max(first, start), min(last, end))
                inside = scores[rows - first, start:end]
                inside[np.arange(len(rows)), rows - start] = -np.inf
                own[rows] = inside.max(axis=1)
                repeats[rows] = ((inside >= REPEAT) & (np.arange(start, end) < rows[:, None])).any(axis=1)
                scores[rows - first, start:end] = -np.inf
            best = scores.max(axis=1)
            other[first:last] = best
            other_row[first:last] = (scores >= best[:, None] - _NOISE).argmax(axis=1)
        # Rounded, so that what is equal but for the order of additions ties and findings do not depend on the machine.
        return cls(np.round(own, 5), np.round(other, 5), other_row, repeats)

    def strays(self) -> Rows:
        """Utterances nearer to another route; one that is alone in its route cannot tell."""
        return np.flatnonzero((self.other > self.own) & np.isfinite(self.own))


def _plain(text: str) -> str:
    """The text without what hardly ever changes its meaning: case, spacing, forms of a letter, marks at its end."""
    words = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return words.rstrip(" .?!,;:\u3002") or words


def _words(text: str) -> int:
    return sum(max(len(_UNSPACED.findall(token)), 1) for token in text.split() if re.search(r"\w", token))


# --------------------------------------------------------------------------------------------- between the routes
def _duplicates(texts: _Texts, nearest: _Nearest) -> Iterator[Finding]:
    groups: dict[str, list[int]] = defaultdict(list)
    for row, plain in enumerate(texts.plain):
        groups[plain].append(row)
    for rows in groups.values():
        names = tuple(dict.fromkeys(texts.name(row) for row in rows))
        if len(names) == 1:
            continue
        keep = max(rows, key=lambda row: (texts.sole(row), nearest.own[row], -row))
        leave = [row for row in rows if texts.owners[row] != texts.owners[keep]]
        yield Finding(
            severity=Severity.ERROR,
            kind=Kind.DUPLICATE,
            routes=names,
            utterances=tuple(texts.utterances[row] for row in rows),
            evidence=len(names),
            problem=f"{_quoted(texts.utterances[rows[0]])} is in {_joined(names)}",
            advice="keep it in one route only"
            + ("" if texts.sole(keep) else f"; it fits best with the other utterances of {texts.name(keep)!r}"),
            fixes=_removals(texts, leave),
        )


def _near_duplicates(texts: _Texts, nearest: _Nearest) -> Iterator[Finding]:
    close = np.flatnonzero(nearest.other >= NEAR_DUPLICATE)
    pairs = {tuple(sorted((row, int(nearest.other_row[row])))): float(nearest.other[row]) for row in close.tolist()}
    for (first, second), score in sorted(pairs.items()):
        if texts.plain[first] == texts.plain[second]:
            continue
        keep, leave = (first, second) if _fits_better(texts, nearest, first, second) else (second, first)
        yield Finding(
            severity=Severity.WARNING,
            kind=Kind.NEAR_DUPLICATE,
            routes=(texts.name(leave), texts.name(keep)),
            utterances=(texts.utterances[leave], texts.utterances[keep]),
            evidence=round(min(score, 1.0), 4),
            problem=f"{_quoted(texts.utterances[leave])} of {texts.name(leave)!r} is nearly "
            f"{_quoted(texts.utterances[keep])} of {texts.name(keep)!r}",
            advice="if both ask for the same, remove the first, which fits less with its route; if not, reword them",
            fixes=_removals(texts, [leave]),
        )


def _fits_better(texts: _Texts, nearest: _Nearest, first: int, second: int) -> bool:
    """Whether the first utterance is better off in its route than the second in its own; the only one must stay."""
    if texts.sole(first) != texts.sole(second):
        return texts.sole(first)
    return bool(nearest.own[first] >= nearest.own[second])


def _removals(texts: _Texts, rows: Sequence[int]) -> tuple[Fix, ...]:
    """Fixes that remove those utterances; none at all if a route would be left empty."""
    leaving = Counter(int(texts.owners[row]) for row in rows)
    if any(count == len(texts.routes[owner].utterances) for owner, count in leaving.items()):
        return ()
    return tuple(Fix(action="remove_utterance", route=texts.name(row), utterance=texts.utterances[row]) for row in rows)


def _strays(texts: _Texts, nearest: _Nearest) -> Iterator[Finding]:
    strays = set(nearest.strays().tolist())
    for row in sorted(strays):
        rival = int(nearest.other_row[row])
        if nearest.other[row] >= NEAR_DUPLICATE or texts.plain[row] == texts.plain[rival]:
            continue
        # Of two that are nearest to each other, the one that fits less with its route is the one out of place.
        mutual = rival in strays and nearest.other_row[rival] == row
        if mutual and (nearest.own[row], row) > (nearest.own[rival], rival):
            continue
        lead = float(nearest.other[row] - nearest.own[row])
        far = lead >= FAR_STRAY
        own, other, text = texts.name(row), texts.name(rival), texts.utterances[row]
        yield Finding(
            severity=Severity.WARNING if far else Severity.INFO,
            kind=Kind.STRAY,
            routes=(own, other),
            utterances=(text, texts.utterances[rival]),
            evidence=round(lead, 4),
            problem=f"{_quoted(text)} of {own!r} is nearer to {_quoted(texts.utterances[rival])} of {other!r}",
            advice=(f"move it to {other!r} if it belongs there; else " if far else "")
            + f"give {own!r} more utterances like it",
            fixes=(Fix(action="move_utterance", route=own, utterance=text, to=other),) if far else (),
        )


def _overlaps(texts: _Texts, nearest: _Nearest) -> Iterator[Finding]:
    strays = nearest.strays()
    crossed = Counter(
        tuple(sorted(pair))
        for pair in zip(texts.owners[strays].tolist(), texts.owners[nearest.other_row[strays]].tolist(), strict=True)
    )
    for (first, second), count in crossed.items():
        left, right = texts.routes[first], texts.routes[second]
        of = len(left.utterances) + len(right.utterances)
        if count < 2 or count / of < OVERLAP:
            continue
        yield Finding(
            severity=Severity.WARNING if count / of >= LARGE_OVERLAP else Severity.INFO,
            kind=Kind.OVERLAP,
            routes=(left.name, right.name),
            evidence=round(count / of, 4),
            problem=f"{count} of the {of} utterances of {left.name!r} and {right.name!r} are nearest to the other one",
            advice="add utterances that tell the two apart, or make them one route",
        )


# ------------------------------------------------------------------------------------------------ inside one route
def _unreachable_thresholds(texts: _Texts, nearest: _Nearest) -> Iterator[Finding]:
    for route, rows in texts.rows():
        own = nearest.own[rows]
        best = float(own.max())
        if route.threshold is None or len(own) == 1 or best >= route.threshold:
            continue
        lowered = math.floor(float(np.quantile(own, 1 - REACHING)) * 100) / 100
        yield Finding(
            severity=Severity.WARNING,
            kind=Kind.UNREACHABLE_THRESHOLD,
            routes=(route.name,),
            evidence=round(best, 4),
            problem=f"the threshold of {route.name!r} is {route.threshold:g}; left out, its utterances reach "
            f"{best:.2f} at most, so it accepts little but its own utterances",
            advice=f"lower it to {lowered:g}, which {REACHING:.0%} of them reach, or remove it and rely on confidence",
            fixes=(Fix(action="set_threshold", route=route.name, threshold=lowered),),
        )


def _few(texts: _Texts) -> Iterator[Finding]:
    for route in texts.routes:
        count = len(route.utterances)
        if count < FEW:
            yield Finding(
                severity=Severity.WARNING,
                kind=Kind.FEW,
                routes=(route.name,),
                evidence=count,
                problem=f"{route.name!r} has {count} utterance{'s' * (count > 1)}",
                advice=f"add at least {FEW - count} more that say it in other words",
            )


def _uniform(texts: _Texts) -> Iterator[Finding]:
    for route, rows in texts.rows():
        count = len(route.utterances)
        if count < 2:
            continue
        total = texts.vectors[rows].sum(axis=0, dtype=np.float64)
        mean = float((total @ total - count) / (count * (count - 1)))
        if mean >= UNIFORM:
            yield Finding(
                severity=Severity.WARNING,
                kind=Kind.UNIFORM,
                routes=(route.name,),
                evidence=round(min(mean, 1.0), 4),
                problem=f"the utterances of {route.name!r} are all alike, their mean cosine is {mean:.2f}",
                advice="replace some by what people say in other words, at other lengths, with other details",
            )


def _repeats(texts: _Texts, nearest: _Nearest) -> Iterator[Finding]:
    for route, rows in texts.rows():
        repeating = np.flatnonzero(nearest.repeats[rows]) + rows.start
        share = len(repeating) / len(route.utterances)
        if share >= REPEATED_SHARE:
            yield Finding(
                severity=Severity.INFO,
                kind=Kind.REPEATS,
                routes=(route.name,),
                utterances=tuple(texts.utterances[row] for row in repeating),
                evidence=round(share, 4),
                problem=f"{len(repeating)} of the {len(route.utterances)} utterances of {route.name!r} repeat earlier "
                "ones, which makes the confidence look better than it is",
                advice="remove them, or say it in other words",
                fixes=_removals(texts, repeating.tolist()),
            )


def _short(texts: _Texts) -> Iterator[Finding]:
    for row, text in enumerate(texts.utterances):
        words = _words(text)
        if words > 1:
            continue
        yield Finding(
            severity=Severity.INFO if words else Severity.WARNING,
            kind=Kind.SHORT,
            routes=(texts.name(row),),
            utterances=(text,),
            evidence=words,
            problem=f"{_quoted(text)} of {texts.name(row)!r} has {'one word' if words else 'no word'}"
            ", which attracts much that belongs elsewhere",
            advice="make it a sentence, unless people write just that" if words else "remove it",
            fixes=() if words else _removals(texts, [row]),
        )


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:59]}…")


def _joined(names: Sequence[str]) -> str:
    return f"{', '.join(map(repr, names[:-1]))} and {names[-1]!r}"
