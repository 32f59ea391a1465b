"""``bench latency``: what routing one query costs beyond encoding it, and where the time goes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from itertools import chain, cycle, islice
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synaptoroute.bench.load.manifest import LatencyRow, Rounds, StagesRow, Times, rounded
from synaptoroute.bench.load.stored import Stored
from synaptoroute.bench.load.timing import Steps, since_ms
from synaptoroute.encoder.bundled import BundledEncoder
from synaptoroute.router import AdaptiveRouter

#: Tokens of the texts that are made longer or shorter, those at their beginning and end included.
LENGTHS = (5, 20, 80, 250)
#: Texts of each such length; each is asked twice in every round.
OF_EACH_LENGTH = 50
_WAYS = ("encode", "route", "aquery")
_WARM_UP = 20


def steps(rounds: int) -> int:
    """How many steps ``measure`` has."""
    return rounds * (1 + len(LENGTHS))


def measure(subject: Stored, *, rounds: int, step: Steps) -> list[LatencyRow | StagesRow]:
    """One row for the test queries and each length, and one with the stages of the same texts.

    Args:
        subject: What to open and ask.
        rounds: Each asks every text by every way, twice.
        step: Called ``steps`` times.
    """
    model = Model(subject.encoder)
    by_kind = {"test queries": subject.queries} | {
        f"{length} tokens": tuple(islice(model.texts_of(length, subject.queries), OF_EACH_LENGTH)) for length in LENGTHS
    }
    return asyncio.run(_measured(subject, model, by_kind, rounds, step))


async def _measured(
    subject: Stored, model: Model, by_kind: dict[str, tuple[str, ...]], rounds: int, step: Steps
) -> list[LatencyRow | StagesRow]:
    asked: dict[str, list[dict[str, list[float]]]] = {kind: [] for kind in by_kind}
    staged: dict[str, list[NDArray[np.float64]]] = {kind: [] for kind in by_kind}
    async with subject.open_uncached() as router:
        await _ask(router, subject.queries[:_WARM_UP])
        for _ in range(rounds):
            for kind, texts in by_kind.items():
                asked[kind].append(await _ask(router, texts))
                staged[kind].extend(model.stages_ms(text, router) for text in texts)
                step()
    rows: list[LatencyRow | StagesRow] = []
    for kind, texts in by_kind.items():
        encode, route, aquery = (Times.of(list(chain.from_iterable(one[way] for one in asked[kind]))) for way in _WAYS)
        tokenise, run, pool, decide = (rounded(value) for value in np.median(staged[kind], axis=0))
        rows += [
            LatencyRow(
                texts=kind,
                tokens=float(np.median([model.tokens(text) for text in texts])),
                encode=encode,
                route=route,
                aquery=aquery,
                route_over_ms=_over(asked[kind], "route", "encode"),
                aquery_over_ms=_over(asked[kind], "aquery", "encode"),
            ),
            StagesRow(
                texts=kind,
                tokenise_ms=tokenise,
                run_ms=run,
                pool_ms=pool,
                decide_ms=decide,
                hop_ms=_over(asked[kind], "aquery", "route").median,
            ),
        ]
    return rows


async def _ask(router: AdaptiveRouter, texts: Sequence[str]) -> dict[str, list[float]]:
    """Milliseconds by way: each text is asked there and back again, so that a drift of the machine hits all alike."""
    taken: dict[str, list[float]] = {way: [] for way in _WAYS}
    for text in texts:
        for way in (*_WAYS, *reversed(_WAYS)):
            started = perf_counter()
            if way == "encode":
                router.encoder.encode([text])
            elif way == "route":
                router.route(text)
            else:
                await router.aquery(text)
            taken[way].append(since_ms(started))
    return taken


def _over(rounds: Sequence[dict[str, list[float]]], way: str, other: str) -> Rounds:
    return Rounds.of([float(np.median(one[way]) - np.median(one[other])) for one in rounds])


class Model:
    """The inside of the bundled encoder, whose stages only this benchmark wants to see."""

    def __init__(self, encoder: BundledEncoder) -> None:
        loaded = encoder._runs.network()  # noqa: SLF001 - no API is worth one benchmark
        self._tokenizer, self._session = loaded.tokenizer, loaded.session

    def tokens(self, text: str) -> int:
        """How many the network reads."""
        return len(self._tokenizer.encode(text).ids)

    def texts_of(self, length: int, texts: Sequence[str]) -> Iterator[str]:
        """Texts of about so many tokens, from neighbouring texts strung together."""
        for start in range(len(texts)):
            strung = " ".join(islice(cycle([*texts[start:], *texts[:start]]), length))
            offsets: list[tuple[int, int]] = self._tokenizer.encode(strung).offsets
            # The first and the last token are marks without text.
            yield strung[: offsets[1:-1][: length - 2][-1][1]]

    def encode(self, text: str) -> tuple[NDArray[Any], list[float]]:
        """The vector that the encoder gives, and the time before, between and after its stages."""
        times = [perf_counter()]
        row = np.array([self._tokenizer.encode(text).ids], np.int64)
        times.append(perf_counter())
        states = self._session.run(None, {"input_ids": row, "attention_mask": np.ones_like(row)})[0][0]
        times.append(perf_counter())
        pooled = states.mean(axis=0)
        vector = pooled / np.sqrt(pooled @ pooled)
        times.append(perf_counter())
        return vector, times

    def stages_ms(self, text: str, router: AdaptiveRouter) -> NDArray[np.float64]:
        """Milliseconds to tokenise, run, pool and decide (4,)."""
        vector, times = self.encode(text)
        router.snapshot.decide([text], vector[None])
        return np.diff([*times, perf_counter()]) * 1000
