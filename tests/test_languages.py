"""Offsets of languages in a table's decisions, and in what is kept of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from synaptoroute import AdaptiveRouter, Route, learned_file
from synaptoroute.decision.languages import Languages
from synaptoroute.encoder import BundledEncoder
from synaptoroute.table import RouteTable

ENGLISH, RUSSIAN = "what do I owe this month", "сколько я должен в этом месяце"


@pytest.fixture(scope="module")
def table(encoder: BundledEncoder) -> Iterator[RouteTable]:
    """A learned table that believes Russian queries more, and English ones less."""
    with AdaptiveRouter(encoder) as router:
        router.add_route(Route(name="billing", utterances=["what do I owe", "show my balance", "pay my bill"]))
        router.add_route(Route(name="weather", utterances=["will it rain tomorrow", "what is the forecast"]))
        router.wait_until_fitted()
        yield router.snapshot


def shifted(table: RouteTable) -> RouteTable:
    assert table.learned is not None
    languages = Languages(np.array(["cyrillic", "latin"]), np.array([2.0, -1.0]))
    model = replace(table.learned.model, languages=languages)
    return table.with_learned(replace(table.learned, model=model))


def confidences(table: RouteTable, encoder: BundledEncoder) -> list[float]:
    texts = [ENGLISH, RUSSIAN]
    return [decision.confidence for decision in table.decide(texts, encoder.encode(texts))]


def test_decisions_are_brought_to_one_scale(table: RouteTable, encoder: BundledEncoder) -> None:
    before, after = confidences(table, encoder), confidences(shifted(table), encoder)
    assert after[0] < before[0]
    assert after[1] > before[1]


def test_what_is_kept_has_the_offsets(table: RouteTable, encoder: BundledEncoder) -> None:
    with_offsets = shifted(table)
    assert with_offsets.learned is not None
    content = learned_file.dump(with_offsets.learned, with_offsets)
    assert content is not None
    again = table.with_learned(learned_file.load(content, table))
    assert confidences(again, encoder) == confidences(with_offsets, encoder)
    assert again.learned is not None
    assert again.learned.model.languages is not None
    assert again.learned.model.languages.among == ("cyrillic", "latin")
