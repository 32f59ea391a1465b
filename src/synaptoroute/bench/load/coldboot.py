"""``bench coldboot``: from nothing to the first decision, in fresh processes."""

from __future__ import annotations

from collections.abc import Sequence

from synaptoroute.bench.load.manifest import ColdBootRow, Memory, Rounds
from synaptoroute.bench.load.spawn import Opened, Order, opened
from synaptoroute.bench.load.stored import Stored
from synaptoroute.bench.load.timing import Steps


def measure(subject: Stored, *, rounds: int, step: Steps) -> ColdBootRow:
    """One row: each step's median over so many processes, one after the other.

    Args:
        subject: What they open and ask.
        rounds: How many processes; each is a step.
        step: Called after each.

    Raises:
        MeasurementError: A process failed.
    """
    processes: list[Opened] = []
    for _ in range(rounds):
        processes.append(opened(Order(store=subject.path, text=subject.queries[0])))
        step()
    return ColdBootRow(
        routes=subject.routes,
        utterances=subject.utterances,
        interpreter_s=_step(processes, "interpreter"),
        import_s=_step(processes, "import"),
        encoder_s=_step(processes, "encoder"),
        open_s=_step(processes, "open"),
        decision_s=_step(processes, "decision"),
        total_s=Rounds.of([sum(process.steps_s.values()) for process in processes]),
        memory=Memory.median([process.memory for process in processes]),
    )


def _step(processes: Sequence[Opened], name: str) -> Rounds:
    return Rounds.of([process.steps_s[name] for process in processes])
