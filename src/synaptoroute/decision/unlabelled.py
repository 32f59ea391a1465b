"""What is learned from the stored utterances alone; ``labelled`` is what labelled queries add."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from synaptoroute.blas import one_blas_thread_for_training
from synaptoroute.decision.cross_fitting import cross_fitted, in_parallel
from synaptoroute.decision.first_stage import first_stage
from synaptoroute.decision.gate import shares
from synaptoroute.decision.head import Checkpoint, no_checkpoint
from synaptoroute.decision.kernel import train_kernel
from synaptoroute.decision.lessons import Lessons, effort_for
from synaptoroute.decision.model import DecisionModel, first_head, trained
from synaptoroute.decision.policy import DEFAULT_MIN_CONFIDENCE
from synaptoroute.decision.tie import Choices


def learn(
    lessons: Lessons,
    checkpoint: Checkpoint = no_checkpoint,
    held_out: list[Choices] | None = None,
    *,
    first: Lessons | None = None,
) -> DecisionModel:
    """Train on everything, calibrate on what was held out; deterministic.

    Args:
        lessons: Of a table for which there is an ``effort_for``.
        checkpoint: Called at every step, from several threads; whatever it raises ends the training.
        held_out: What was made of held-out utterances is put in here.
        first: The same lessons with the vectors of a first stage, if there is to be one.
    """
    examples = lessons.examples
    effort = effort_for(len(examples), examples.routes)
    assert effort is not None  # noqa: S101 - the caller asked
    tasks: list[Callable[[], Any]] = [
        partial(trained, lessons, effort, effort.steps, checkpoint),
        partial(cross_fitted, lessons, effort, checkpoint, held_out, first),
    ]
    with one_blas_thread_for_training():
        answers = in_parallel(lambda task: task(), tasks)
        model: DecisionModel = answers[0]
        with_kernel, features, kinds, trials = answers[1]
        kernel = train_kernel(examples.vectors, examples.columns, examples.routes) if with_kernel else None
        its_head = first_head(first, model.head, effort.steps, checkpoint) if first and trials else None
    gate = model.gate.fitted(features, kinds, shares(kinds)) if len(kinds) else model.gate
    stage = first_stage(its_head, trials, gate, DEFAULT_MIN_CONFIDENCE) if its_head and trials else None
    learned: DecisionModel = replace(model, gate=gate, kernel=kernel, first=stage)
    return learned
