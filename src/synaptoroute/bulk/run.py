"""A file of any size through the router, in little memory, and on from where it was when it is killed.

What has been routed lies in a folder beside the output, in parts that are complete or absent. When all parts are there
they are joined into the output, which appears in one piece. Beside the parts stands what they were made of: a run that
would mix two inputs or two tables of routes is refused.
"""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Unpack

import pyarrow as pa

from synaptoroute import __version__
from synaptoroute.bulk import files
from synaptoroute.bulk.batches import ADDED, Asked, BatchRouter, BulkColumns, Unrouted
from synaptoroute.bulk.parts import Parts, whole
from synaptoroute.errors import InvalidInputError
from synaptoroute.models import Reason
from synaptoroute.router import AdaptiveRouter

#: Rows decided together: half a second of encoding on two cores, and at 32,768 characters a text still only 32 MiB.
BATCH_ROWS = 1_024
#: Batches in a part, of which a kill loses one: about eight seconds of work.
PART_BATCHES = 16

#: Told how many rows of how many are done, those of an earlier run among them. None: the file does not say.
RowsDone = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkReport:
    """What became of the rows of a file.

    Attributes:
        rows: All of them.
        resumed: Those that an earlier run had left, out of these.
        routed: With a route.
        abstained: Without one.
        unrouted: How many could not be routed, for each reason of ``Unrouted`` that occurred.
        revision: Of the routes.
    """

    rows: int
    resumed: int
    routed: int
    abstained: int
    unrouted: Mapping[str, int]
    revision: int


def route_file(
    router: AdaptiveRouter,
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    columns: BulkColumns | None = None,
    batch_rows: int = BATCH_ROWS,
    overwrite: bool = False,
    progress: RowsDone | None = None,
    **asked: Unpack[Asked],
) -> BulkReport:
    """Route the rows of a Parquet, CSV or JSON Lines file into another.

    Takes the memory of a part, ``16 * batch_rows`` rows. While it runs there is a folder ``OUTPUT.parts`` beside the
    output, about as large as it. Killed at any point, the same call goes on after the last complete part, and the
    output is the same as if nothing had happened.

    Args:
        router: Any. Its routes as they are now decide all rows.
        source: Format by extension: .parquet, .csv, .jsonl or .ndjson.
        output: Likewise.
        columns: Which column is routed, what is added.
        batch_rows: Rows decided together.
        overwrite: Replace the output if it exists, and give up what another run has left.
        progress: Told how many rows are done.
        asked: How to decide.

    Raises:
        InvalidInputError: A file cannot be read or written, or its columns do not fit. The output exists, or another
            run towards it is under way, or was, with another input, other routes or other options.
        EncoderError: The encoder is unavailable, or fails on all texts of a batch. The same call goes on from there.
    """
    if batch_rows < 1:
        raise InvalidInputError(f"batch_rows is {batch_rows}, wanted at least 1")
    incoming, outgoing = Path(source), Path(output)
    make_sink = files.sink_for(outgoing)
    given = files.source(incoming)
    if outgoing.exists() and outgoing.samefile(incoming):
        raise InvalidInputError(f"{outgoing} is the input, wanted another file as output")
    columns = columns if columns is not None else BulkColumns()
    schema = columns.after(given.schema)
    # Now rather than after hours of work: whether the format can hold these columns.
    make_sink(io.BytesIO(), schema).close()
    # All are kept in the parts: the reasons are counted at the end, whether or not they are wanted in the output.
    decider = BatchRouter(router, columns=replace(columns, add=ADDED), **asked)
    made_of = {
        "input": given.fingerprint(),
        "columns": asdict(columns),
        "batch size": batch_rows,
        "version of synaptoroute": __version__,
        **decider.identity(),
    }
    with Parts.opened(outgoing, json.loads(json.dumps(made_of)), overwrite=overwrite) as parts:
        full = PART_BATCHES * batch_rows
        # Every part but the last is full.
        resumed = (len(parts) - 1) * full + parts[-1].num_rows if len(parts) else 0
        told = progress if progress is not None else _tell_nobody
        told(resumed, given.rows)
        rows = resumed
        batches = given.batches(batch_rows, skip=len(parts) * full)
        part: list[pa.RecordBatch] = []
        for batch in batches:
            part.append(decider.routed(batch))
            rows += batch.num_rows
            told(rows, given.rows)
            if len(part) == PART_BATCHES:
                parts.add(pa.Table.from_batches(part))
                part = []
        if part:
            parts.add(pa.Table.from_batches(part))
        given.require_unchanged()
        reasons = _joined(parts, outgoing, make_sink, schema, columns.prefix + "reason")
        parts.remove()
    return _report(reasons, resumed, decider.revision)


def _joined(parts: Parts, output: Path, make_sink: type[files.Sink], schema: pa.Schema, reason: str) -> Counter[str]:
    """Make the parts the output; how often there was which reason."""
    reasons: Counter[str] = Counter()
    with whole(output) as temporary, temporary.open("wb") as file, make_sink(file, schema) as sink:
        for part in parts:
            for count in part.column(reason).value_counts().to_pylist():
                reasons[count["values"]] += count["counts"]
            sink.write(part.select(schema.names).cast(schema))
    return reasons


def _report(reasons: Counter[str], resumed: int, revision: int) -> BulkReport:
    unrouted = {reason.value: reasons[reason.value] for reason in Unrouted if reasons[reason.value]}
    routed = reasons[Reason.MATCHED.value]
    return BulkReport(
        rows=reasons.total(),
        resumed=resumed,
        routed=routed,
        abstained=reasons.total() - routed - sum(unrouted.values()),
        unrouted=unrouted,
        revision=revision,
    )


def _tell_nobody(rows: int, total: int | None) -> None:
    """For runs without anyone who wants to know."""
