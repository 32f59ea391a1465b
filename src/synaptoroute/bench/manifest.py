"""The manifest: one JSON file that says what was measured, on what, by which command, and what came out.

Shares lie in [0, 1], durations end in ``_s`` or ``_ms``, sizes in ``_bytes``. A figure that does not exist (no
out-of-scope query, too few answers) is null. Keys always stand in the order of the classes below, so that two
manifests can be compared line by line.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from synaptoroute.bench.datasets import Dataset
from synaptoroute.errors import SynaptoRouteError

SCHEMA: Final = 1

Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class ManifestError(SynaptoRouteError):
    """A manifest cannot be read: not JSON, another schema, or fields that are missing, unknown or out of range."""


class Part(BaseModel):
    """What every part of a manifest is: immutable, without unknown fields, all numbers finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


AnyPart = TypeVar("AnyPart", bound=Part)


class Git(Part):
    """Of the working copy the package ran from; ``dirty`` if tracked files were changed."""

    revision: str
    dirty: bool


class Machine(Part):
    """Where it ran. ``features`` are those of the CPU that make 8-bit products fast."""

    cpu: str
    cores: Annotated[int, Field(ge=1)]
    features: tuple[str, ...]
    memory_bytes: Count | None
    system: str


class DataInfo(Part):
    """A data set: how it was read, how much of it was used, and its files' SHA-256."""

    name: str
    licence: str
    reading: str
    counts: dict[str, Count]
    files: dict[str, Sha256]

    @classmethod
    def of(cls, dataset: Dataset) -> DataInfo:
        """The metadata of a data set."""
        return cls(
            name=dataset.name,
            licence=dataset.licence,
            reading=dataset.reading,
            counts=dataset.counts,
            files=dict(dataset.files),
        )


class EncoderInfo(Part):
    """The encoder; its fingerprint changes whenever its vectors would."""

    name: str
    fingerprint: str
    dim: int


class Accuracy(Part):
    """A share of ``n`` queries: the mean over the seeds, its 95 % bootstrap interval over queries, and each seed's."""

    value: Share
    low: Share
    high: Share
    n: Annotated[int, Field(ge=1)]
    by_seed: tuple[Share, ...]


class Figures(Part):
    """How good the decisions were. Those that need out-of-scope queries are null without any.

    Attributes:
        top1: Right over all queries; one out of scope is right only if the router abstained, one in scope only if its
            route was returned.
        in_scope: The best route is right, whether or not the router abstained; queries in scope.
        in_scope_accepted: The right route was returned; queries in scope.
        top5: The right route is among the best five; queries in scope.
        oos_recall: Abstained; queries out of scope.
        coverage: Answered; all queries.
        precision: Right; answered queries. Their number differs from seed to seed, so it has no interval.
        precision_at: Precision if only the most confident share of all queries were answered, by that share.
        auroc: Confidence as a detector of queries in scope.
        fpr95: Queries out of scope that pass where 95 % of those in scope do.
        oos_recall_at_5: Queries out of scope that are rejected where 5 % of those in scope are.
        ece: Expected calibration error of the best route's confidence over all queries, 15 bins.
        denied_route: Returned the very route the speaker does not want; negated queries only.
        denied_best: That route was the best one, returned or not; negated queries only.
    """

    top1: Accuracy | None = None
    in_scope: Accuracy | None = None
    in_scope_accepted: Accuracy | None = None
    top5: Accuracy | None = None
    oos_recall: Accuracy | None = None
    coverage: Accuracy | None = None
    precision: Share | None = None
    precision_at: dict[str, Share | None] = {}
    auroc: Share | None = None
    fpr95: Share | None = None
    oos_recall_at_5: Share | None = None
    ece: Share | None = None
    denied_route: Accuracy | None = None
    denied_best: Accuracy | None = None


class Baseline(Part):
    """What the nearest utterance alone would answer to the same queries, by exact cosine.

    Attributes:
        in_scope: Its route is right; queries in scope.
        top5: The right route is among the five nearest; queries in scope.
    """

    in_scope: Accuracy | None
    top5: Accuracy | None


class InLanguage(Part):
    """What came out in one language of a multilingual data set, all decided by the same routes and the same limit.

    Attributes:
        in_scope: The best route is right, whether or not the router abstained; queries in scope.
        in_scope_accepted: The right route was returned; queries in scope.
        oos_recall: Abstained; queries out of scope.
    """

    in_scope: Accuracy | None
    in_scope_accepted: Accuracy | None
    oos_recall: Accuracy | None


class Cost(Part):
    """What it took, on the first seed.

    Attributes:
        build_s: Encoding the utterances and storing the routes.
        training_s: From there until the learned head and the calibration were in place; wall clock.
        training_cpu_s: The same, as CPU time of all threads.
        fit_s: ``fit`` on the validation queries; wall clock. Null without.
        fit_cpu_s: The same, as CPU time of all threads.
        latency_ms: One query at a time, text to Decision; by percentile.
        queries_per_s: ``route_many`` over the test queries.
        decision_ms: Deciding one encoded query in batches of 32, without its encoding; median over batches.
        peak_memory_bytes: Most memory the process has held so far; earlier runs of the same command count too.
    """

    build_s: Seconds
    training_s: Seconds
    training_cpu_s: Seconds
    fit_s: Seconds | None
    fit_cpu_s: Seconds | None
    latency_ms: dict[str, Seconds]
    queries_per_s: Seconds
    decision_ms: Seconds
    peak_memory_bytes: Count


class Curves(Part):
    """What the plots show, thinned, of the first seed.

    Attributes:
        risk_coverage: (share answered, share of the answers that is wrong) as the least confidence falls.
        roc: (out-of-scope queries that pass, in-scope queries that pass); empty without queries out of scope.
        reliability: (mean confidence, share right, queries) of every bin that is not empty.
        confusion: (right route, best route, queries) of the most frequent errors in scope.
    """

    risk_coverage: tuple[tuple[Share, Share], ...] = ()
    roc: tuple[tuple[Share, Share], ...] = ()
    reliability: tuple[tuple[Share, Share, Count], ...] = ()
    confusion: tuple[tuple[str, str, Count], ...] = ()


class Result(Part):
    """One row: a data set, so many utterances per route, with or without ``fit``.

    Attributes:
        shots: Utterances per route; null is all of train.
        tuned: ``fit`` was called with the validation queries; otherwise everything is as a user gets it.
        seeds: Which utterances were drawn; a single 0 where all are taken.
        utterances: How many the router held.
        fit: What ``fit`` reported of its own held-out queries.
        nearest: The baseline; null where tuned, for negated queries, and in manifests older than this field.
        languages: The figures by language, of multilingual data sets.
    """

    dataset: str
    shots: Annotated[int, Field(ge=1)] | None
    tuned: bool
    seeds: tuple[int, ...]
    routes: Count
    utterances: Count
    figures: Figures
    cost: Cost
    fit: dict[str, Any] | None = None
    curves: Curves = Curves()
    nearest: Baseline | None = None
    languages: dict[str, InLanguage] = {}


class Manifest(Part):
    """All of it. ``limit`` is set where only so many queries were asked: such figures are for trying out only."""

    schema_version: Literal[1] = SCHEMA
    benchmark: Literal["accuracy"] = "accuracy"
    command: str
    created_at: AwareDatetime
    git: Git | None
    limit: Annotated[int, Field(ge=1)] | None
    seeds: tuple[int, ...]
    encoder: EncoderInfo
    machine: Machine
    software: dict[str, str]
    datasets: tuple[DataInfo, ...]
    results: tuple[Result, ...]


def read_manifest(path: Path) -> Manifest:
    """The manifest in a file. Raises ManifestError."""
    return validated(Manifest, read_content(path), path)


def read_content(path: Path) -> dict[str, Any]:
    """The fields of a manifest of any kind, not yet validated. Raises ManifestError unless it has this schema."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as exc:
        raise ManifestError(f"cannot read the manifest {path}: {exc}") from exc
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA:
        raise ManifestError(f"{path} has schema_version {version!r}, wanted {SCHEMA}; write it anew with this version")
    return dict(content)


def validated(model: type[AnyPart], content: dict[str, Any], path: Path) -> AnyPart:
    """The content of that file as such a manifest. Raises ManifestError."""
    try:
        return model.model_validate(content)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ManifestError(f"{path} is not a manifest: {field}: {first['msg']}") from exc


def write_manifest(manifest: Part, path: Path) -> None:
    """Write it whole or not at all, making its folder if need be. Raises ManifestError."""
    text = to_json(manifest)
    beside = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as exc:
        raise ManifestError(f"cannot write the manifest {path}: {exc}") from exc


def to_json(manifest: Part) -> str:
    """JSON that people can read and compare: a line for each field and each point of a curve."""
    return _pretty(manifest.model_dump(mode="json"), "") + "\n"


def now() -> datetime:
    """The time in UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def _pretty(value: Any, indent: str) -> str:
    """Objects and lists of lists over several lines, lists of plain values on one."""
    deeper = indent + " "
    if isinstance(value, dict) and value:
        lines = [
            f"{deeper}{json.dumps(key, ensure_ascii=False)}: {_pretty(item, deeper)}" for key, item in value.items()
        ]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        return "[\n" + ",\n".join(deeper + _pretty(item, deeper) for item in value) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
