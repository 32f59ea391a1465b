"""Ours beside its peers, on the same machine, with the same encoder weights, data and queries.

Protocol. Every system runs in a process and an environment of its own, and only one is active at a time. All encode
with the bundled weights in the same way (each text alone, in the same version of onnxruntime), which is checked by
comparing a vector. A system is built once; then in every round each gets a new process, loads what it had saved (or,
if it cannot, is built again), warms up with queries that are not timed, and is asked the test queries. Within a
process no query is asked twice and none is a stored utterance, so whatever a system caches, it never profits.
Accuracy comes last and once, since it changes how the systems are set up: out of the box, and in each documented way
to do better with labelled validation queries.

Systems take turns within a round, so a ratio compares runs a minute apart; ratios are taken round by round, and their
median, least and greatest are reported. Estimated for two cores: a full run (15,000 utterances, five rounds) takes 20
minutes, two of which make the environments the first time; with ``--scale 50000x5`` an hour or two, since a slow
system is asked for half a minute in each of four ways a round, and some need minutes to take in the routes. A system
that needs longer than the time limit for a step is given up.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from synaptoroute.bench import measures
from synaptoroute.bench.datasets import Dataset
from synaptoroute.bench.machine import git, machine, software
from synaptoroute.bench.manifest import DataInfo, EncoderInfo, now
from synaptoroute.bench.peer_process import PeersError, Worker, WorkerError, environment
from synaptoroute.bench.peer_results import Figures, PeersManifest, Scale, Setting, SystemResult, compared, table
from synaptoroute.bench.peer_tasks import Share, Task, real_task, synthetic_task
from synaptoroute.encoder.bundled import BundledEncoder

__all__ = ["Comparison", "ENCODER", "OURS", "PEERS", "PeersManifest", "Scale", "System", "measure", "table"]

IN_FLIGHT = 256
ROUNDS = 5
TIME_LIMIT_S = 1_800.0
#: No query is begun after so long; what is in flight then is still waited for.
MEASURED_S = 30.0
_PROBE_TOLERANCE = 1e-4
_WORKER = Path(__file__).parent / "peer_workers" / "worker.py"

#: Told how many of how many steps are done.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """What is measured.

    Attributes:
        name: In the manifest, and in ``--peer``.
        module: That drives it, in ``peer_workers``.
        requirements: Of its environment, the system itself first; none for what runs in ours.
    """

    name: str
    module: str
    requirements: tuple[str, ...] = ()

    def command(self, environments: Path, folder: Path) -> list[str]:
        """How to run its worker on that folder. Raises PeersError if its environment cannot be made."""
        python = (
            environment(environments / self.requirements[0], self.requirements) if self.requirements else sys.executable
        )
        return [str(python), str(_WORKER), self.module, str(folder)]


OURS: Final = System(name="synaptoroute", module="ours")
ENCODER: Final = System(name="encoder alone", module="encoder_alone")
PEERS: Final = (
    System(name="semantic-router", module="semantic_router_1", requirements=("semantic-router==1.1.1",)),
    System(
        name="semantic-router-float32", module="semantic_router_1_float32", requirements=("semantic-router==1.1.1",)
    ),
    System(name="synaptoroute-0.4.1", module="synaptoroute_0_4", requirements=("synaptoroute==0.4.1",)),
    System(name="synaptoroute-0.4.1-faiss", module="synaptoroute_0_4", requirements=("synaptoroute[faiss]==0.4.1",)),
)


def measure(
    dataset: Dataset,
    *,
    peers: Sequence[System],
    environments: Path,
    command: str,
    rounds: int = ROUNDS,
    scale: Scale | None = None,
    shots: int | None = None,
    limit: int | None = None,
    in_flight: int = IN_FLIGHT,
    time_limit_s: float = TIME_LIMIT_S,
    progress: Progress | None = None,
) -> Iterator[PeersManifest]:
    """The manifest after each round and after the accuracy, so that an interruption loses little.

    Args:
        dataset: Routes are its train split, queries its test split; with ``scale``, texts whose encoding is timed.
        peers: Measured beside ours and the encoder alone.
        environments: Folder for the peers' environments, which are used again.
        command: How to repeat it, without paths of this machine.
        rounds: How often each system is timed.
        scale: Measure on a synthetic table whose vectors are given instead.
        shots: Only so many utterances a route.
        limit: Only so many test and validation queries.
        in_flight: Concurrent queries.
        time_limit_s: A system that takes longer than this for one step is given up, and that is its result.
        progress: Told how many of how many steps are done.

    Raises:
        PeersError: An environment cannot be made, a peer has another version than asked for, or encodes otherwise.
    """
    if limit is not None:
        dataset = dataset.limited(limit)
    encoder = BundledEncoder()
    with TemporaryDirectory(prefix="synaptoroute-peers-") as temporary:
        folder = Path(temporary)
        task = real_task(dataset, folder, shots=shots) if scale is None else synthetic_task(dataset, folder, scale)
        systems = (OURS, *peers, ENCODER)
        manifest = PeersManifest(
            command=command,
            created_at=now(),
            git=git(),
            limit=limit,
            shots=shots,
            scale=scale,
            in_flight=in_flight,
            time_limit_s=time_limit_s,
            queries=sum(len(share.together) + len(share.alone) for share in task.shares),
            alone=sum(len(share.alone) for share in task.shares),
            encoder=EncoderInfo(name=encoder.name, fingerprint=encoder.fingerprint, dim=encoder.dim),
            machine=machine(),
            software=software(),
            dataset=DataInfo.of(dataset),
            systems=(),
        )
        commands = {system: system.command(environments, folder) for system in systems}
        comparison = Comparison(task, commands, in_flight, time_limit_s)
        for results in comparison.run(rounds, progress):
            yield manifest.model_copy(update={"systems": results})


@dataclass(slots=True)
class _Run:
    """A system while it is measured."""

    system: System
    command: Sequence[str]
    result: SystemResult
    saves: bool = True
    probe: Sequence[float] = ()

    def update(self, **fields: Any) -> None:
        self.result = self.result.model_copy(update=fields)


class Comparison:
    """Starts a process for each step of each system, and asks it for figures.

    Args:
        task: Prepared.
        commands: The worker of each system, in the order of a round: ours first, the encoder alone last.
        in_flight: Concurrent queries.
        time_limit_s: For each request.
    """

    def __init__(
        self, task: Task, commands: Mapping[System, Sequence[str]], in_flight: int, time_limit_s: float
    ) -> None:
        self._task = task
        self._runs = [_Run(system, command, SystemResult(name=system.name)) for system, command in commands.items()]
        self._in_flight = in_flight
        self._time_limit_s = time_limit_s

    def run(self, rounds: int, progress: Progress | None = None) -> Iterator[tuple[SystemResult, ...]]:
        """The results after each round and, unless the task is synthetic, after the accuracy; see ``measure``."""
        judged = [] if self._task.synthetic else self._runs[:-1]
        steps = [
            [(self._build, run) for run in self._runs],
            *([(self._time, run) for run in self._runs] for _ in range(rounds)),
            [(self._judge, run) for run in judged],
        ]
        total, done = sum(map(len, steps)), 0
        for same in steps:
            for do, run in same:
                self._step(do, run)
                done += 1
                if progress is not None:
                    progress(done, total)
            yield compared([run.result for run in self._runs])

    def _step(self, do: Callable[[_Run, Worker], None], run: _Run) -> None:
        """One step in a process of its own; none for a system that was given up."""
        if run.result.failure is not None:
            return
        log = self._task.folder / "log"
        try:
            with Worker(run.command, log, isolated=bool(run.system.requirements)) as worker:
                self._start(run, worker)
                do(run, worker)
        except WorkerError as exc:
            run.update(failure=str(exc).replace(str(self._task.folder), "FOLDER"))

    def _start(self, run: _Run, worker: Worker) -> None:
        """Learn what it is, and that it encodes as the others do."""
        answer = self._ask(worker, "start")
        run.saves, run.probe = answer["saves"], answer["probe"]
        run.update(version=answer["version"], settings=answer["settings"], software=answer["software"])
        if run.system.requirements and not run.system.requirements[0].endswith(f"=={answer['version']}"):
            raise PeersError(f"{run.system.requirements[0]} was wanted, {answer['version']} is installed")
        for other in self._runs:
            if other.probe and not np.allclose(run.probe, other.probe, atol=_PROBE_TOLERANCE):
                raise PeersError(f"{run.system.name} and {other.system.name} encode differently: not comparable")

    def _build(self, run: _Run, worker: Worker) -> None:
        run.update(build=_rounded(self._ask(worker, "build")))

    def _time(self, run: _Run, worker: Worker) -> None:
        figures: Figures = self._ask(worker, "load" if run.saves else "build")
        for share in self._task.shares:
            if run.system != ENCODER:
                figures |= self._concurrent(worker, share)
            elif share.costly:
                figures |= _named("concurrent_", self._ask(worker, "encode", **_numbers(share.together)))
            if run.system != ENCODER or share.costly:
                answer = self._ask(
                    worker, "sequential", **_numbers(share.alone), seconds=MEASURED_S, costly=share.costly
                )
                figures |= _named(f"{share.prefix}sequential_", answer)
        run.update(rounds=(*run.result.rounds, _rounded(figures)))

    def _concurrent(self, worker: Worker, share: Share) -> Figures:
        answer = self._ask(
            worker,
            "concurrent",
            **_numbers(share.together),
            in_flight=self._in_flight,
            seconds=MEASURED_S,
            costly=share.costly,
        )
        labels = self._task.labels
        answer["right"] = statistics.mean(name == labels[number] for number, name in answer.pop("chosen"))
        return _named(f"{share.prefix}concurrent_", answer)

    def _judge(self, run: _Run, worker: Worker) -> None:
        self._ask(worker, "load" if run.saves else "build")
        settings = self._ask(worker, "accuracy", in_flight=self._in_flight)["settings"]
        run.update(accuracy=tuple(_setting(setting, self._task.labels) for setting in settings))

    def _ask(self, worker: Worker, request: str, **arguments: Any) -> dict[str, Any]:
        return worker.ask(request, time_limit_s=self._time_limit_s, **arguments)


def _numbers(queries: range) -> dict[str, int]:
    return {"first": queries.start, "last": queries.stop}


def _named(prefix: str, answer: dict[str, float]) -> Figures:
    per_s = answer.pop("answered") / answer.pop("seconds")
    return {f"{prefix}per_s": per_s, **{f"{prefix}{name}": value for name, value in answer.items()}}


def _setting(answer: Mapping[str, Any], labels: Sequence[str | None]) -> Setting:
    right = np.array([name == label for name, label in zip(answer["chosen"], labels, strict=True)], bool)
    inside = np.array([label is not None for label in labels], bool)
    return Setting(
        name=answer["name"],
        tuning_s=round(answer["tuning_s"], 2),
        top1=measures.accuracy([right]),
        in_scope=measures.accuracy([right[inside]]),
        oos_recall=measures.accuracy([right[~inside]]),
    )


def _rounded(figures: Figures) -> Figures:
    return {name: None if value is None else round(value, 4) for name, value in figures.items()}
