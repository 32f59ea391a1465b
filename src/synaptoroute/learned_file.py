"""What was learned as bytes, so that a restarted process need not learn it again."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import fields
from io import BytesIO

import numpy as np

from synaptoroute.decision.evidence import Vocabulary
from synaptoroute.decision.gate import Gate
from synaptoroute.decision.head import Head
from synaptoroute.decision.model import DecisionModel
from synaptoroute.table import LearnedTable, RouteTable

#: Changes whenever what is learned from the same table would, or how it is written.
FORMAT = "1"
_PARTS = {"head": Head, "vocabulary": Vocabulary, "gate": Gate}


def dump(learned: LearnedTable, table: RouteTable) -> bytes | None:
    """What was learned from just this table; None if it was learned from another."""
    if not table.with_learned(learned).fitted:
        return None
    arrays = {"table": np.frombuffer(_digest(table), np.uint8), "blend": np.array(learned.model.blend)}
    for part in _PARTS:
        value = getattr(learned.model, part)
        arrays |= {f"{part}.{field.name}": getattr(value, field.name) for field in fields(value)}
    buffer = BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def load(content: bytes, table: RouteTable) -> LearnedTable | None:
    """What was learned from just this table; None if the content is of another table or damaged."""
    try:
        with np.load(BytesIO(content), allow_pickle=False) as arrays:
            if arrays["table"].tobytes() != _digest(table):
                return None
            parts = {
                part: kind(**{field.name: arrays[f"{part}.{field.name}"] for field in fields(kind)})
                for part, kind in _PARTS.items()
            }
            blend = float(arrays["blend"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return table.learned_with(DecisionModel(**parts, blend=blend))


def _digest(table: RouteTable) -> bytes:
    """Of everything that learning reads: names, utterances and labelled queries, in their order."""
    labelled = table.labelled
    said = {
        "format": FORMAT,
        "routes": [[route.name, route.utterances] for route in table.routes],
        "labelled": [labelled.texts, labelled.labels] if labelled else None,
    }
    vectors = hashlib.sha256(table.index.vectors.tobytes()).digest()
    return hashlib.sha256(json.dumps(said).encode() + vectors).digest()
