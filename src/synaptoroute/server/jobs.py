"""Jobs: what takes longer than a request should wait, one at a time, with progress and a way to stop it.

The store is bounded: so many jobs wait, so many are remembered for so long, and so many bytes of results are kept.
"""

from __future__ import annotations

import contextvars
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pydantic_core import to_json

from synaptoroute.server.keys import Caller
from synaptoroute.server.problems import Problem, problem_of
from synaptoroute.server.settings import ServerSettings, logger

#: Results kept at once. Those of an evaluation hold every query that was decided wrongly.
MAX_RESULT_BYTES = 64 << 20
#: What the stopping of a server waits for the job under way to notice.
_STOP_S = 5.0

Work = Callable[["Job"], Mapping[str, Any]]


class JobState(StrEnum):
    """How far a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobCancelledError(Exception):
    """Raised in the work of a job that somebody has cancelled."""


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """One piece of work, as it is now.

    Attributes:
        id: To ask for it.
        kind: What is done, such as "fit".
        caller: Who asked for it.
        state: How far it is.
        done: How much of ``total`` is done; both None until that is known.
        created_at: In UTC.
        finished_at: In UTC; None until then.
        result: What came out, as JSON.
        problem: Why it failed.
    """

    id: str
    kind: str
    caller: Caller
    state: JobState = JobState.QUEUED
    done: int | None = None
    total: int | None = None
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    finished_at: datetime | None = None
    result: bytes | None = None
    problem: Problem | None = None
    _work: Work | None = None
    _context: contextvars.Context | None = None
    _cancelled: bool = False
    _ended_s: float = 0.0

    def progress(self, done: int, total: int) -> None:
        """Note how much is done. Raises JobCancelledError if it should not go on."""
        self.check()
        self.done, self.total = done, total

    def check(self) -> None:
        """Raise JobCancelledError if it should not go on."""
        if self._cancelled:
            raise JobCancelledError

    @property
    def finished(self) -> bool:
        """Whether nothing more comes of it."""
        return self.state in {JobState.DONE, JobState.FAILED, JobState.CANCELLED}

    def to_json(self, *, with_result: bool = True) -> bytes:
        """As it is sent. The result is JSON already and is put in as it is."""
        shown: dict[str, Any] = {
            "id": self.id,
            "kind": self.kind,
            "state": self.state.value,
            "progress": None if self.total is None else {"done": self.done, "total": self.total},
            "created_at": self.created_at.isoformat(timespec="milliseconds"),
            "finished_at": self.finished_at.isoformat(timespec="milliseconds") if self.finished_at else None,
            "problem": self.problem.to_dict() if self.problem else None,
        }
        result = self.result if with_result and self.result is not None else b"null"
        return to_json(shown)[:-1] + b',"result":' + result + b"}"


class JobStore:
    """Runs jobs in a thread of its own, in the order they came, and remembers them for a while.

    Args:
        settings: How many, for how long.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._changed = threading.Condition()
        self._jobs: dict[str, Job] = {}
        self._waiting: deque[Job] = deque()
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, kind: str, work: Work, caller: Caller) -> Job:
        """Have something done; the actor of the history is the one that is set here.

        Args:
            kind: What is done, one word.
            work: Gets the job, to tell it of progress; gives the result, of plain JSON types. Called in a thread.
            caller: Who asks.

        Raises:
            Problem: Too many wait already.
        """
        job = Job(id=secrets.token_hex(8), kind=kind, caller=caller, _work=work, _context=contextvars.copy_context())
        with self._changed:
            self._forget(room=1)
            full = len(self._waiting) >= self._settings.max_waiting_jobs or len(self._jobs) >= self._settings.max_jobs
            if full or self._closed:
                raise Problem("jobs_full", "too many jobs wait already", headers={"Retry-After": "10"})
            self._jobs[job.id] = job
            self._waiting.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="synaptoroute-jobs", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return job

    def get(self, job_id: str) -> Job:
        """A job. Raises Problem if there is none of that id, or it was forgotten."""
        with self._changed:
            self._forget()
            job = self._jobs.get(job_id)
        if job is None:
            raise Problem("job_not_found", "there is no such job, or it has been forgotten")
        return job

    def all(self) -> list[Job]:
        """All that are remembered, newest first."""
        with self._changed:
            self._forget()
            return list(reversed(self._jobs.values()))

    def cancel(self, job: Job) -> None:
        """Have it end soon, or never begin; nothing if it is finished."""
        with self._changed:
            job._cancelled = True  # noqa: SLF001 - the store's own
            if job in self._waiting:
                self._waiting.remove(job)
                self._end(job, JobState.CANCELLED)

    def close(self) -> None:
        """Cancel everything, and wait a little for the job under way."""
        with self._changed:
            self._closed = True
            for job in list(self._jobs.values()):
                self.cancel(job)
            thread = self._thread
            self._changed.notify_all()
        if thread is not None:
            thread.join(_STOP_S)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                job = self._waiting.popleft()
                job.state = JobState.RUNNING
            self._do(job)

    def _do(self, job: Job) -> None:
        work, context = job._work, job._context  # noqa: SLF001 - the store's own
        assert work is not None  # noqa: S101 - until it has ended
        assert context is not None  # noqa: S101
        result, problem, state = None, None, JobState.DONE
        try:
            result = to_json(context.run(work, job), inf_nan_mode="null")
        except JobCancelledError:
            state = JobState.CANCELLED
        except Problem as exc:
            problem, state = exc, JobState.FAILED
        except Exception as exc:  # noqa: BLE001 - told to whoever asks for the job
            problem, state = problem_of(exc), JobState.FAILED
            if problem.status >= 500:
                logger.exception("job %s (%s) failed: %s", job.id, job.kind, problem.code)
        with self._changed:
            job.result, job.problem = result, problem
            self._end(job, state)

    def _end(self, job: Job, state: JobState) -> None:
        job.state, job.finished_at, job._ended_s = state, datetime.now(UTC), time.monotonic()  # noqa: SLF001
        # What it was given may be large.
        job._work = job._context = None  # noqa: SLF001

    def _forget(self, *, room: int = 0) -> None:
        """Drop what has been finished for long, or for longer than others where there are too many or too large."""
        oldest_s = time.monotonic() - self._settings.job_memory_s
        finished = sorted((job for job in self._jobs.values() if job.finished), key=lambda job: job._ended_s)  # noqa: SLF001
        size = sum(len(job.result or b"") for job in finished)
        for job in finished:
            fits = size <= MAX_RESULT_BYTES and len(self._jobs) + room <= self._settings.max_jobs
            if fits and job._ended_s >= oldest_s:  # noqa: SLF001
                break
            size -= len(job.result or b"")
            del self._jobs[job.id]
