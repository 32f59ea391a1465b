"""The tools benchmark: MetaTool's tools selected by their descriptions, alone and with some examples each.

Protocol: examples are drawn from MetaTool's train split, queries are those of its test split. *Ranking* is asked over
all tools. For *abstaining* a fifth of the tools, those whose names have the lowest SHA-256, are taken out: their test
queries are then unservable, though a tool that stays may do nearly the same ("near"), and so are CLINC150's 1,000
out-of-scope test queries ("far"). Everything of ours was tuned on train splits and on CLINC150's validation queries.

Figures, each a share of queries:

* Top-1, recall@5: the right tool is first, or among the first five, whether or not the system would abstain; all tools.
* wrong sibling: of the servable queries that were answered, those whose first tool is another than the right one.
* false abstention: servable queries that were not answered.
* abstention recall, near and far: unservable queries that were not answered.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

import numpy as np
from pydantic import AwareDatetime, Field

from synaptoroute.bench import measures
from synaptoroute.bench.datasets import Dataset, few_shot, load
from synaptoroute.bench.machine import git, machine, software
from synaptoroute.bench.manifest import Accuracy, Count, DataInfo, EncoderInfo, Git, Machine, Part, now
from synaptoroute.bench.measures import TOP
from synaptoroute.bench.sources import SOURCES, cache_folder, fetch
from synaptoroute.bench.tool_systems import BM25, Cosine, Ours, Remembering, System
from synaptoroute.encoder.base import BaseEncoder
from synaptoroute.tools import Tool

#: Share of the tools that are taken out where abstaining is measured.
TAKEN_OUT = 0.2
SHOTS = (0, 1, 5, 20)
DESCRIPTIONS = "metatool/plugin_des.json"

Name = Literal["synaptoroute", "cosine", "bm25s"]


class ToolFigures(Part):
    """One system in one mode; see the module.

    Attributes:
        system: Which.
        examples: Queries of each tool that it knew beside the description.
        tools: Among which it ranked.
        kept: How many of them stayed where abstaining was measured.
    """

    system: Name
    examples: Count
    tools: Count
    kept: Count
    top1: Accuracy | None
    recall5: Accuracy | None
    wrong_sibling: Accuracy | None
    false_abstention: Accuracy | None
    abstention_near: Accuracy | None
    abstention_far: Accuracy | None


class ToolsManifest(Part):
    """All of it. ``limit`` is set where only so many queries were asked: such figures are for trying out only."""

    schema_version: Literal[1] = 1
    benchmark: Literal["tools"] = "tools"
    command: str
    created_at: AwareDatetime
    git: Git | None
    limit: Annotated[int, Field(ge=1)] | None
    encoder: EncoderInfo
    machine: Machine
    software: dict[str, str]
    datasets: tuple[DataInfo, ...]
    results: tuple[ToolFigures, ...]


def data(folder: Path | None, *, cache: Path | None = None) -> tuple[Dataset, Mapping[str, str], Dataset]:
    """MetaTool, its descriptions by tool, and CLINC150. Raises DatasetError."""
    kept = cache if cache is not None else cache_folder()
    metatool, clinc = (load(name, data=folder, cache=kept) for name in ("metatool", "clinc150"))
    descriptions = json.loads(fetch(SOURCES[DESCRIPTIONS], data=folder, cache=kept))
    return metatool, MappingProxyType(descriptions), clinc


def measure(
    metatool: Dataset,
    descriptions: Mapping[str, str],
    clinc: Dataset,
    *,
    encoder: BaseEncoder,
    command: str,
    shots: Sequence[int] = SHOTS,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[ToolsManifest]:
    """The manifest, anew after each system and mode.

    Args:
        metatool: With train and test.
        descriptions: Of all its tools.
        clinc: Whose test queries out of scope are asked.
        encoder: For all systems that want one.
        command: That measures this again.
        shots: Examples a tool.
        limit: Ask only so many queries of each kind.
        progress: Told how many of how many rows are done.
    """
    infos = [DataInfo.of(metatool), DataInfo.of(clinc)]
    files = {**infos[0].files, DESCRIPTIONS: SOURCES[DESCRIPTIONS].sha256}
    manifest = ToolsManifest(
        command=command,
        created_at=now(),
        git=git(),
        limit=limit,
        encoder=EncoderInfo(name=encoder.name, fingerprint=encoder.fingerprint, dim=encoder.dim),
        machine=machine(),
        software=software(),
        datasets=(infos[0].model_copy(update={"files": files}), infos[1]),
        results=(),
    )
    remembering = Remembering(encoder)
    systems: dict[Name, System] = {"synaptoroute": Ours(remembering), "cosine": Cosine(remembering), "bm25s": BM25()}
    asked = metatool.limited(limit).test if limit else metatool.test
    queries = [(item.text, str(item.label)) for item in asked]
    far = [item.text for item in clinc.test if item.label is None][:limit]
    for number, count in enumerate(shots):
        examples = few_shot(metatool.train, count, 0)
        tools = [
            Tool(name=name, description=said, examples=tuple(examples.get(name, ())))
            for name, said in descriptions.items()
        ]
        for place, (name, system) in enumerate(systems.items()):
            row = _row(name, system, tools, queries, far).model_copy(update={"examples": count})
            manifest = manifest.model_copy(update={"results": (*manifest.results, row)})
            if progress is not None:
                progress(number * len(systems) + place + 1, len(shots) * len(systems))
            yield manifest


def _row(
    name: Name, system: System, tools: Sequence[Tool], queries: Sequence[tuple[str, str]], far: Sequence[str]
) -> ToolFigures:
    texts, labels = [text for text, _ in queries], [label for _, label in queries]
    ranked = [best for best, _ in system(tools, texts)]
    gone = taken_out([tool.name for tool in tools])
    kept = [tool for tool in tools if tool.name not in gone]
    answers = system(kept, [*texts, *far])
    answered = np.array([answer for _, answer in answers], bool)
    first = [best[0] for best, _ in answers[: len(texts)]]
    servable = np.array([label not in gone for label in labels], bool)
    wrong = np.array([tool != label for tool, label in zip(first, labels, strict=True)], bool)
    asked = answered[: len(texts)]
    shares = {
        "top1": np.array([best[0] == label for best, label in zip(ranked, labels, strict=True)], bool),
        "recall5": np.array([label in best[:TOP] for best, label in zip(ranked, labels, strict=True)], bool),
        "wrong_sibling": wrong[servable & asked],
        "false_abstention": ~asked[servable],
        "abstention_near": ~asked[~servable],
        "abstention_far": ~answered[len(texts) :],
    }
    figures = {figure: measures.accuracy([flags]) for figure, flags in shares.items()}
    return ToolFigures(system=name, examples=0, tools=len(tools), kept=len(kept), **figures)


def taken_out(names: Sequence[str]) -> frozenset[str]:
    """The fifth of the tools whose names have the lowest SHA-256."""
    order = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    return frozenset(order[: round(TAKEN_OUT * len(order))])


def table(manifest: ToolsManifest) -> str:
    """The figures in percent with their 95 % intervals, as a table in Markdown."""
    rows = [
        "| examples a tool | system | Top-1 | recall@5 | wrong sibling | false abstention | abstained, near | far |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in manifest.results:
        figures = (
            row.top1, row.recall5, row.wrong_sibling, row.false_abstention, row.abstention_near, row.abstention_far
        )  # fmt: skip
        rows.append(f"| {row.examples} | {row.system} | {' | '.join(map(_percent, figures))} |")
    return "\n".join(rows) + "\n"


def _percent(figure: Accuracy | None) -> str:
    if figure is None:
        return "-"
    return f"{figure.value * 100:.1f} ({figure.low * 100:.1f}-{figure.high * 100:.1f})"
