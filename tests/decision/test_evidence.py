"""What neighbours, words and head say about a text, held against slow and plain definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from synaptoroute.decision.evidence import (
    CANDIDATES,
    FEATURES,
    Evidence,
    Grouped,
    Vocabulary,
    gather,
)
from synaptoroute.decision.head import Head, train_head
from synaptoroute.decision.lexical import WORD_BITS, words

Vectors = NDArray[np.float32]
Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]

DIM = 6
WORDS = ["pay", "my", "bill", "rain", "sun", "play", "song", "the", "is", "how"]
ROUTES = 30


def unit(random: np.random.Generator, count: int) -> Vectors:
    rows = random.normal(size=(count, DIM))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


# ---------------------------------------------------------------------------------------------------------- nearest
@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    queries=st.integers(0, 4),
    wanted=st.integers(1, 6),
    seed=st.integers(0, 999),
)
def test_nearest_is_what_a_slow_loop_finds(sizes: list[int], queries: int, wanted: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    ends = np.cumsum(sizes, dtype=np.int64)
    stored = Grouped(unit(random, int(ends[-1])), ends - sizes, ends)
    asked = unit(random, queries)
    groups = random.integers(-1, len(sizes), size=(queries, wanted))
    found = stored.neighbours(asked, groups)
    assert found.first.shape == found.rows.shape == groups.shape
    assert found.second.shape == (queries,)
    for query, place in np.ndindex(*groups.shape):
        first, row, group = float(found.first[query, place]), int(found.rows[query, place]), groups[query, place]
        second = float(found.second[query]) if place == 0 else None
        if group < 0:
            assert (first, row) == (-1, -1)
            assert second in (None, -1)
            continue
        at = range(stored.starts[group], stored.ends[group])
        scores = [float(stored.vectors[row] @ asked[query]) for row in at]
        best, *others = sorted(scores, reverse=True)
        assert first == pytest.approx(best, abs=1e-6)
        if second is not None:
            assert second == pytest.approx(others[0] if others else best, abs=1e-6)
        assert row in at
        assert stored.vectors[row] @ asked[query] == pytest.approx(best, abs=1e-6)


def test_nearest_by_hand() -> None:
    """Group 0 has two rows, group 1 a single one, which is first and second at once."""
    stored = Grouped(np.eye(3, dtype=np.float32), np.array([0, 2]), np.array([2, 3]))
    query = np.array([[0.6, 0.8, 0]], np.float32)
    groups = np.array([[0, 1, -1, 0], [1, 0, 0, 0], [-1, 0, 0, 0]])
    found = stored.neighbours(query.repeat(3, axis=0), groups)
    assert found.first[0].tolist() == pytest.approx([0.8, 0, -1, 0.8])
    assert found.rows[0].tolist() == [1, 2, -1, 1]
    assert found.second.tolist() == pytest.approx([0.6, 0, -1])


@given(st.integers(0, 99), st.integers(1, 5))
def test_one_more_utterance_never_hurts_its_route(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    vectors, query, group = unit(random, count + 1), unit(random, 1), np.zeros((1, 1), np.int64)
    start = np.zeros(1, np.int64)
    fewer = Grouped(vectors[:-1], start, start + count).neighbours(query, group)
    more = Grouped(vectors, start, start + count + 1).neighbours(query, group)
    assert more.first >= fewer.first - 1e-6


# ------------------------------------------------------------------------------------------------------- vocabulary
def idf(texts: int, with_it: int) -> float:
    return float(np.log((1 + texts) / (1 + with_it)) + 0.1)


def test_the_share_of_known_words_by_hand() -> None:
    vocabulary = Vocabulary.of(["pay my bill", "my rain", "sun"], np.array([0, 1, 1], np.int32))
    once, twice, never = idf(3, 1), idf(3, 2), idf(3, 0)
    shares = vocabulary.share_known(
        words(["Pay my bill!", "pay my bill", "my song", "sun pay", "", "?!"]), np.array([0, 1, 0, 1, 0, 0])
    )
    expected = [1, twice / (2 * once + twice), twice / (twice + never), 0.5, 0, 0]
    assert shares == pytest.approx(expected, abs=1e-5)
    assert vocabulary.share_known(words([]), np.empty(0, np.int64)).tolist() == []


def test_a_word_weighs_by_how_many_texts_have_it() -> None:
    vocabulary = Vocabulary.of(["my bill", "my rain", "sun"], np.zeros(3, np.int32))
    my, bill, song = words(["my bill song"]).buckets
    assert vocabulary.idf[[my, bill, song]] == pytest.approx([idf(3, 2), idf(3, 1), idf(3, 0)])
    assert len(vocabulary.idf) == 1 << WORD_BITS


def test_a_word_repeated_within_a_text_never_weighs_less_than_nothing() -> None:
    vocabulary = Vocabulary.of(["no no no no"], np.zeros(1, np.int32))
    assert vocabulary.idf.min() > 0
    (share,) = vocabulary.share_known(words(["no thanks"]), np.zeros(1, np.int64))
    assert 0 < share < 1


def test_a_vocabulary_of_nothing_knows_nothing() -> None:
    vocabulary = Vocabulary.of(["?!"], np.zeros(1, np.int32))
    assert vocabulary.share_known(words(["pay my bill", ""]), np.zeros(2, np.int64)).tolist() == [0, 0]


sentences = st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)


@given(st.lists(sentences, min_size=1, max_size=6), st.lists(sentences, max_size=4), st.data())
def test_a_share_is_a_share_and_complete_for_what_the_route_has_said(
    stored: list[str], asked: list[str], data: st.DataObject
) -> None:
    columns = np.array([data.draw(st.integers(0, 2)) for _ in stored], np.int32)
    vocabulary = Vocabulary.of(stored, columns)
    for column in range(3):
        shares = vocabulary.share_known(words(asked), np.full(len(asked), column))
        assert ((shares >= 0) & (shares <= 1)).all()
        known = {word for text, owner in zip(stored, columns, strict=True) if owner == column for word in text.split()}
        for text, share in zip(asked, shares, strict=True):
            mine = set(text.split())
            assert (share > 1 - 1e-4) == (bool(mine) and mine <= known)
            assert (share > 0) == bool(mine & known)


# ----------------------------------------------------------------------------------------------------------- gather
class Table:
    """Random routes, small enough to check everything by hand; columns and groups in different orders."""

    def __init__(self, routes: int, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        counts = random.integers(1, 4, routes)
        columns = np.repeat(np.arange(routes, dtype=np.int32), counts)
        texts = [" ".join(random.choice(WORDS, 3)) for _ in columns]
        vectors = unit(random, len(columns))
        self.head: Head = train_head(texts, vectors, columns, routes, steps=3)
        self.vocabulary = Vocabulary.of(texts, columns)
        # Group g holds column routes - 1 - g.
        self.groups = np.arange(routes)[::-1].copy()
        ends = np.cumsum(counts[::-1])
        self.stored = Grouped(np.concatenate([vectors[columns == c] for c in self.groups]), ends - counts[::-1], ends)
        self.texts = [" ".join(random.choice(WORDS, 4)) for _ in range(5)]
        self.vectors = unit(random, 5)

    def gather(self, groups: Rows | None = None, at: slice = slice(None), **options: Any) -> Evidence:
        groups = self.groups if groups is None else groups
        texts, vectors = self.texts[at], self.vectors[at]
        logits = self.head.logits(texts, vectors)
        return gather(logits, self.vocabulary, self.stored, groups, texts, vectors, **options)


TABLES = {routes: Table(routes) for routes in (1, 2, ROUTES)}


def softmax(table: Table, usable: Mask) -> Floats:
    logits = table.head.logits(table.texts, table.vectors)[:, :-1].astype(np.float64)
    likely = np.where(usable, np.exp(logits), 0)
    return np.asarray(likely / likely.sum(axis=1, keepdims=True))


@settings(max_examples=50, deadline=None)
@given(routes=st.sampled_from(sorted(TABLES)), candidates=st.integers(1, 40), data=st.data())
def test_candidates_are_the_most_likely_of_the_routes_that_may_be_chosen(
    routes: int, candidates: int, data: st.DataObject
) -> None:
    table = TABLES[routes]
    flags = st.lists(st.booleans(), min_size=routes, max_size=routes)
    gone, allowed = (np.array(data.draw(flags)) for _ in range(2))
    restricted = data.draw(st.booleans())
    usable = ~gone & allowed if restricted else ~gone
    if not usable.any():
        usable[0], gone[0], allowed[0] = True, False, True
    evidence = table.gather(
        np.where(gone, -1, table.groups), candidates=candidates, allowed=allowed if restricted else None
    )
    width = min(max(candidates, 2), int(usable.sum()))
    assert evidence.columns.shape == evidence.probabilities.shape == (5, width)
    assert usable[evidence.columns].all()
    expected = softmax(table, usable)
    np.testing.assert_allclose(
        evidence.probabilities, np.take_along_axis(expected, evidence.columns, axis=1), atol=1e-9
    )
    assert (np.diff(evidence.probabilities, axis=1) <= 0).all()
    assert (evidence.probabilities[:, -1] >= np.partition(expected, -width, axis=1)[:, -width] - 1e-9).all()
    assert (evidence.probabilities <= 1).all()
    assert (evidence.probabilities.sum(axis=1) <= 1 + 1e-9).all()
    assert all(len(set(row)) == width for row in evidence.columns.tolist())
    # Each candidate comes with its own nearest utterance, wherever its group lies.
    for query, row in enumerate(evidence.columns):
        for place, column in enumerate(row):
            start, end = table.stored.starts[table.groups[column]], table.stored.ends[table.groups[column]]
            scores = table.stored.vectors[start:end] @ table.vectors[query]
            assert evidence.scores[query, place] == pytest.approx(scores.max(), abs=1e-6)
            assert evidence.rows[query, place] == start + scores.argmax()


@pytest.mark.parametrize("routes", sorted(TABLES))
def test_the_features_are_what_their_names_say(routes: int) -> None:
    table = TABLES[routes]
    evidence = table.gather()
    feature = dict(zip(FEATURES, evidence.features.T, strict=True))
    logits = table.head.logits(table.texts, table.vectors).astype(np.float64)
    top = evidence.columns[:, 0]
    rows = np.arange(5)
    assert feature["top_logit"] == pytest.approx(logits[rows, top])
    assert feature["log_probability"] == pytest.approx(np.log(evidence.probabilities[:, 0]))
    assert feature["above_none"] == pytest.approx(logits[rows, top] - logits[:, -1])
    assert feature["words_known"] == pytest.approx(table.vocabulary.share_known(words(table.texts), top))
    others = evidence.scores[:, 1:].max(axis=1) if routes > 1 else np.zeros(5)
    assert feature["nearer_than_others"] == pytest.approx(evidence.scores[:, 0] - others)
    for query in range(5):
        group = table.groups[top[query]]
        scores = np.sort(
            table.stored.vectors[table.stored.starts[group] : table.stored.ends[group]] @ table.vectors[query]
        )
        assert feature["nearest_two"][query] == pytest.approx((scores[-1] + scores[-2:][0]) / 2, abs=1e-6)


def test_a_single_route_is_certain_among_the_routes() -> None:
    evidence = TABLES[1].gather()
    assert evidence.columns.tolist() == [[0]] * 5
    assert evidence.probabilities == pytest.approx(1)
    only = TABLES[ROUTES].gather(allowed=np.arange(ROUTES) == 7)
    assert only.columns.tolist() == [[7]] * 5
    assert only.probabilities == pytest.approx(1)


def test_a_lift_counts_where_routes_are_compared_and_not_against_none() -> None:
    table = TABLES[ROUTES]
    plain = table.gather(candidates=ROUTES)
    lift = np.random.default_rng(0).normal(scale=2, size=(5, ROUTES)).astype(np.float32)
    lifted = table.gather(candidates=ROUTES, lift=lift)
    logits = table.head.logits(table.texts, table.vectors).astype(np.float64)
    likely = np.exp(logits[:, :-1] + lift)
    likely /= likely.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(lifted.probabilities, np.take_along_axis(likely, lifted.columns, axis=1), atol=1e-9)
    top = lifted.columns[:, 0]
    assert (top != plain.columns[:, 0]).any()
    assert top.tolist() == likely.argmax(axis=1).tolist()
    feature = dict(zip(FEATURES, lifted.features.T, strict=True))
    assert feature["top_logit"] == pytest.approx(logits[np.arange(5), top])
    assert feature["above_none"] == pytest.approx(logits[np.arange(5), top] - logits[:, -1])
    assert feature["log_probability"] == pytest.approx(np.log(lifted.probabilities[:, 0]))


def test_no_lift_brings_back_a_route_that_may_not_be_chosen() -> None:
    lift = np.zeros((5, ROUTES), np.float32)
    lift[:, 3] = 1e6
    table = TABLES[ROUTES]
    assert (table.gather(lift=lift).columns[:, 0] == 3).all()
    allowed = np.arange(ROUTES) != 3
    assert not (table.gather(lift=lift, allowed=allowed, candidates=ROUTES).columns == 3).any()


def test_neither_logits_nor_lift_are_written_to() -> None:
    table = TABLES[ROUTES]
    logits, lift = table.head.logits(table.texts, table.vectors), np.ones((5, ROUTES), np.float32)
    before = logits.copy()
    allowed = np.arange(ROUTES) % 2 == 0
    for lifted in (None, lift):
        gather(
            logits, table.vocabulary, table.stored, table.groups, table.texts, table.vectors,
            lift=lifted, allowed=allowed,
        )  # fmt: skip
    np.testing.assert_array_equal(logits, before)
    assert (lift == 1).all()


def test_a_query_alone_has_the_evidence_it_has_in_a_batch() -> None:
    table = TABLES[ROUTES]
    together = table.gather()
    assert together.columns.shape == (5, CANDIDATES)
    for row in range(5):
        alone = table.gather(at=slice(row, row + 1))
        assert alone.columns[0].tolist() == together.columns[row].tolist()
        np.testing.assert_allclose(alone.features[0], together.features[row], atol=1e-5)
        np.testing.assert_allclose(alone.probabilities[0], together.probabilities[row], atol=1e-5)


def test_no_query_has_no_evidence() -> None:
    table = TABLES[ROUTES]
    evidence = table.gather(at=slice(0))
    assert evidence.columns.shape == (0, CANDIDATES)
    assert evidence.features.shape == (0, len(FEATURES))
