"""What was learned as bytes, so that a restarted process need not learn it again."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import fields
from io import BytesIO
from typing import Any

import numpy as np
import xxhash

from synaptoroute.decision.evidence import Vocabulary
from synaptoroute.decision.first_stage import FirstStage, Trials
from synaptoroute.decision.gate import Gate
from synaptoroute.decision.head import Head
from synaptoroute.decision.kernel import Kernel
from synaptoroute.decision.languages import Languages
from synaptoroute.decision.model import DecisionModel
from synaptoroute.decision.tie import TieWeights
from synaptoroute.decision.two_stage import TwoStage
from synaptoroute.learned import Learned
from synaptoroute.table import RouteTable
from synaptoroute.teaching import learned_from

#: Changes whenever what is learned from the same table would, or how it is written.
FORMAT = "6"
_CHECKSUM_BYTES = 16
_PARTS = {"head": Head, "vocabulary": Vocabulary, "gate": Gate, "kernel": Kernel, "languages": Languages}
_OPTIONAL = {"kernel", "languages"}


def dump(learned: Learned, table: RouteTable) -> bytes | None:
    """What was learned from just this table; None if it was learned from another.

    The two stages belong to no routes in particular and are not tied to the table.
    """
    arrays: dict[str, Any]
    if isinstance(learned, TwoStage):
        arrays = {field.name: getattr(learned, field.name) for field in fields(learned)}
        arrays["format"] = np.array(FORMAT)
    else:
        if not table.with_learned(learned).fitted:
            return None
        arrays = {"table": np.frombuffer(_digest(table), np.uint8)}
        for part in _PARTS:
            value = getattr(learned.model, part)
            if value is not None:
                arrays |= {f"{part}.{field.name}": getattr(value, field.name) for field in fields(value)}
        if learned.first is not None:
            arrays |= _first_arrays(learned.first.stage, learned.first.encoder.fingerprint)
        tie = learned.tie
        # Whether a reranker that failed helps is found out after the next start.
        if tie is not None and not tie.failed:
            arrays |= {"tie.fingerprint": tie.fingerprint, "tie.weights": np.array([tie.prior, tie.score, tie.ties])}
    buffer = BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return sealed(buffer.getvalue())


def sealed(archive: bytes) -> bytes:
    """The archive behind its checksum: what reads archives trusts their heads, and fails in odd ways on damage."""
    return xxhash.xxh3_128_digest(archive) + archive


def load(content: bytes, table: RouteTable) -> Learned | None:
    """What was learned from just this table; None if the content is of another table or damaged."""
    checksum, archive = content[:_CHECKSUM_BYTES], content[_CHECKSUM_BYTES:]
    if checksum != xxhash.xxh3_128_digest(archive):
        return None
    try:
        with np.load(BytesIO(archive), allow_pickle=False) as arrays:
            if "table" not in arrays:
                two_stage = TwoStage(**{field.name: arrays[field.name] for field in fields(TwoStage)})
                fits = arrays["format"] == FORMAT and len(two_stage.precision) == table.index.dim
                return two_stage if fits and not table.can_learn else None
            # A large table is not read for the digest of what it has outgrown.
            if not table.can_learn or arrays["table"].tobytes() != _digest(table):
                return None
            parts = {
                part: kind(**{field.name: arrays[f"{part}.{field.name}"] for field in fields(kind)})
                for part, kind in _PARTS.items()
                if part not in _OPTIONAL or any(name.startswith(f"{part}.") for name in arrays)
            }
            tie = None
            if "tie.fingerprint" in arrays:
                prior, score, ties = arrays["tie.weights"].tolist()
                fingerprint = str(arrays["tie.fingerprint"])
                tie = TieWeights(fingerprint=fingerprint, prior=prior, score=score, ties=int(ties))
            first = _first_stage(arrays, table)
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return learned_from(table, DecisionModel(**parts, first=first), tie)


def _first_arrays(stage: FirstStage, fingerprint: str) -> dict[str, Any]:
    """A first stage, and whose vectors it reads."""
    arrays = {f"first.{field.name}": getattr(stage.head, field.name) for field in fields(Head)}
    arrays |= {f"trials.{field.name}": getattr(stage.trials, field.name) for field in fields(Trials)}
    return arrays | {"first.weights": stage.weights, "first.fingerprint": np.array(fingerprint)}


def _first_stage(arrays: Any, table: RouteTable) -> FirstStage | None:
    """The first stage, if there is one and the table has its encoder."""
    encoder = table.first_encoder
    if encoder is None or "first.weights" not in arrays or arrays["first.fingerprint"] != encoder.fingerprint:
        return None
    return FirstStage(
        head=Head(**{field.name: arrays[f"first.{field.name}"] for field in fields(Head)}),
        weights=arrays["first.weights"],
        trials=Trials(**{field.name: arrays[f"trials.{field.name}"] for field in fields(Trials)}),
    )


def _digest(table: RouteTable) -> bytes:
    """Of everything that learning reads: names, utterances and labelled queries, in their order."""
    labelled = table.labelled
    said = {
        "format": FORMAT,
        "routes": [[route.name, route.utterances] for route in table.routes],
        "labelled": [labelled.texts, labelled.labels] if labelled else None,
    }
    vectors, _ = table.vectors_by_route()
    return hashlib.sha256(json.dumps(said).encode() + hashlib.sha256(vectors.tobytes()).digest()).digest()
