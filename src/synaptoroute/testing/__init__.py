"""Contract suites for those who bring their own parts: subclass one, give it the part, run pytest.

::

    class TestMyEncoder(EncoderContract):
        @pytest.fixture
        def encoder(self):
            return MyEncoder()


    class TestMyIndex(IndexContract):
        def make(self, vectors, owners):
            return MyIndex(vectors, owners)


    class TestMyReranker(RerankerContract):
        @pytest.fixture(scope="class")
        def reranker(self):
            return MyReranker()


    class TestMySync(SyncContract):
        def make(self):
            return MySyncManager(...)

    class TestMyStorage(StorageContract):
        @pytest.fixture
        def opening(self, tmp_path):
            return lambda: MyStorage(tmp_path / "store")
"""
# ruff: noqa: S101, RUF001 - these are tests, some of them with unusual text on purpose

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from synaptoroute.encoder.base import BaseEncoder, encode_checked
from synaptoroute.index.base import BaseIndex, Mask, Nearest, Owners, Vectors
from synaptoroute.testing.rerank import RerankerContract
from synaptoroute.testing.storage import StorageContract
from synaptoroute.testing.sync import SyncContract

__all__ = ["EncoderContract", "IndexContract", "RerankerContract", "StorageContract", "SyncContract"]

_TEXTS = (
    "what do I owe",
    "a",
    "Please cancel my flight to Oslo on Friday, and book the one after it for two people instead.",
    "show my balance",
    "turn the lights off",
)
_UNUSUAL = (
    "ÄÖÜ ß Ærø naïve",
    "你好，世界",
    "مرحبا بالعالم",
    "👩‍👩‍👧‍👦 🏳️‍🌈",
    "e\u0301 \u200b\u202e \ufeff",
    "\x00\x07 tab\there",
    "𝕊𝕪𝕟𝕒𝕡𝕥𝕠",
    "?!…",
)


class EncoderContract:
    """What every encoder promises (see ``BaseEncoder``). A subclass defines the fixture ``encoder``.

    Attributes:
        batch_tolerance: How far any number of a text's vector may move with the texts beside it. 0 means bit for bit;
            1e-5 is fair for a float32 network that pads.
        two_sided: Whether queries have other vectors than utterances, by ``encode_queries``.
    """

    batch_tolerance: ClassVar[float] = 0.0
    two_sided: ClassVar[bool] = False

    @pytest.fixture
    def encoder(self) -> BaseEncoder:
        """The encoder under test."""
        raise NotImplementedError("define the fixture `encoder` in your subclass")

    def test_is_a_base_encoder(self, encoder: BaseEncoder) -> None:
        """It has the four members."""
        assert isinstance(encoder, BaseEncoder)

    def test_returns_one_float32_row_of_its_dim_for_each_text(self, encoder: BaseEncoder) -> None:
        """Shape (n, dim), dtype float32."""
        vectors = encoder.encode(_TEXTS)
        assert vectors.shape == (len(_TEXTS), encoder.dim)
        assert vectors.dtype == np.float32

    def test_rows_have_length_one(self, encoder: BaseEncoder) -> None:
        """Cosine is then the dot product."""
        lengths = np.linalg.norm(encoder.encode(_TEXTS).astype(np.float64), axis=1)
        np.testing.assert_allclose(lengths, 1, atol=1e-4)

    def test_no_text_gives_no_row_but_the_dim(self, encoder: BaseEncoder) -> None:
        """Shape (0, dim), still float32."""
        vectors = encoder.encode([])
        assert vectors.shape == (0, encoder.dim)
        assert vectors.dtype == np.float32

    def test_rows_are_in_the_order_of_the_texts(self, encoder: BaseEncoder) -> None:
        """However it sorts and batches inside."""
        forward, backward = encoder.encode(_TEXTS), encoder.encode(_TEXTS[::-1])
        self._assert_same(backward[::-1], forward)

    def test_different_texts_have_different_vectors(self, encoder: BaseEncoder) -> None:
        """No row is another's copy."""
        vectors = encoder.encode(_TEXTS)
        assert len({row.tobytes() for row in vectors}) == len(_TEXTS)

    def test_a_vector_does_not_depend_on_the_texts_beside_it(self, encoder: BaseEncoder) -> None:
        """Otherwise a query's route would depend on who else is asking."""
        alone = np.concatenate([encoder.encode([text]) for text in _TEXTS])
        self._assert_same(encoder.encode(_TEXTS), alone)
        self._assert_same(encoder.encode([*_TEXTS, "long " * 300])[: len(_TEXTS)], alone)

    def test_same_text_gives_same_bits_every_time(self, encoder: BaseEncoder) -> None:
        """The same call is deterministic."""
        np.testing.assert_array_equal(encoder.encode(_TEXTS), encoder.encode(_TEXTS))

    def test_eight_threads_get_what_one_gets(self, encoder: BaseEncoder) -> None:
        """It may be called from several threads at once."""
        expected = encoder.encode(_TEXTS)
        with ThreadPoolExecutor(8) as pool:
            for vectors in pool.map(encoder.encode, [_TEXTS] * 24):
                self._assert_same(vectors, expected)

    def test_fingerprint_is_a_stable_text(self, encoder: BaseEncoder) -> None:
        """Encoding does not change it."""
        before = encoder.fingerprint
        encoder.encode(_TEXTS[:1])
        assert isinstance(before, str)
        assert before.strip()
        assert encoder.fingerprint == before

    def test_has_a_name_for_people(self, encoder: BaseEncoder) -> None:
        """A text that is not empty."""
        assert isinstance(encoder.name, str)
        assert encoder.name.strip()

    def test_repr_tells_the_name_and_no_secret(self, encoder: BaseEncoder) -> None:
        """It ends up in logs. Text attributes whose name speaks of a key, a token or a password must not be in it."""
        shown = repr(encoder)
        assert encoder.name in shown
        for secret in _secrets(vars(encoder) if hasattr(encoder, "__dict__") else {}):
            assert secret not in shown

    @pytest.mark.parametrize("text", [*_UNUSUAL, "word " * 6_000], ids=lambda text: f"{len(text)}-{ord(text[0]):x}")
    def test_survives_any_text(self, encoder: BaseEncoder, text: str) -> None:
        """Scripts, emoji, control characters, 30,000 characters: one finite row of length one."""
        vectors = encoder.encode([text])
        assert vectors.shape == (1, encoder.dim)
        np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float64)), 1, atol=1e-4)

    def test_queries_have_vectors_of_their_own_side(self, encoder: BaseEncoder) -> None:
        """Finite unit rows in order, whatever is beside them, that the same texts as utterances do not have."""
        self._require_sides()
        queries = encode_checked(encoder, _TEXTS, queries=True)
        raw = encoder.encode_queries(_TEXTS)  # type: ignore[attr-defined] # the subclass says that it is there
        assert raw.shape == (len(_TEXTS), encoder.dim)
        assert raw.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(raw.astype(np.float64), axis=1), 1, atol=1e-4)
        alone = np.concatenate([encode_checked(encoder, [text], queries=True) for text in _TEXTS])
        self._assert_same(queries, alone)
        self._assert_same(encode_checked(encoder, _TEXTS[::-1], queries=True)[::-1], queries)
        utterances = encode_checked(encoder, _TEXTS)
        assert (np.abs(queries - utterances).max(axis=1) > 1e-3).all()
        assert encode_checked(encoder, [], queries=True).shape == (0, encoder.dim)

    def test_both_sides_can_be_had_in_the_calling_thread_or_neither(self, encoder: BaseEncoder) -> None:
        """Else a caller with a thread for each core would get the wrong side, or more threads than it has cores for."""
        if not hasattr(encoder, "encode_in_thread"):
            pytest.skip("this encoder has no encode_in_thread")
        for queries in (False, True):
            alone = encode_checked(encoder, _TEXTS, alone=True, queries=queries)
            self._assert_same(alone, encode_checked(encoder, _TEXTS, queries=queries))
        assert hasattr(encoder, "encode_queries") == hasattr(encoder, "encode_queries_in_thread")

    def test_without_sides_a_query_is_encoded_as_an_utterance(self, encoder: BaseEncoder) -> None:
        """Also by an ``encode_queries`` that has nothing else to do."""
        if self.two_sided:
            pytest.skip("this encoder has two sides")
        self._assert_same(encode_checked(encoder, _TEXTS, queries=True), encode_checked(encoder, _TEXTS))

    def _require_sides(self) -> None:
        if not self.two_sided:
            pytest.skip("this encoder encodes queries and utterances alike")

    def _assert_same(self, seen: np.ndarray, expected: np.ndarray) -> None:
        np.testing.assert_allclose(seen, expected, rtol=0, atol=self.batch_tolerance)


class IndexContract:
    """What every index promises (see ``BaseIndex``). A subclass defines ``make``.

    Attributes:
        recall: Share of queries for which the nearest row must be found; 1 means that all k owners must be right.
    """

    recall: ClassVar[float] = 1.0

    def make(self, vectors: Vectors, owners: Owners) -> BaseIndex:
        """An index of these rows, whose owners are in no order."""
        raise NotImplementedError("define `make` in your subclass")

    @pytest.fixture
    def rows(self) -> _IndexRows:
        """Clustered rows, their owners, and queries near to some of them."""
        return _index_rows()

    @pytest.fixture
    def index(self, rows: _IndexRows) -> BaseIndex:
        """All of the rows."""
        return self.make(rows.vectors, rows.owners)

    @pytest.mark.parametrize("k", [1, 5, 60])
    def test_finds_the_nearest_owners_by_their_nearest_row(self, index: BaseIndex, rows: _IndexRows, k: int) -> None:
        """As a loop over all rows finds them, or as many of them as the index says."""
        self._assert_found(index, index.search(rows.queries, k), rows, k)

    @pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
    def test_returns_allowed_owners_only(self, index: BaseIndex, rows: _IndexRows, share: float) -> None:
        """And as many of them as without a mask, however few are allowed."""
        allow = np.random.default_rng(1).random(_OWNERS) < share
        self._assert_found(index, index.search(rows.queries, 5, allow), rows, 5, allow)

    def test_exact_search_is_exact(self, index: BaseIndex, rows: _IndexRows) -> None:
        """Also where the index would approximate."""
        for allow in (None, np.arange(_OWNERS) % 3 == 0):
            found = index.search(rows.queries, 5, allow, exact=True)
            _assert_same(found, _nearest(rows.vectors, rows.owners, rows.queries, 5, allow))

    def test_a_short_mask_allows_no_owner_past_its_end(self, index: BaseIndex, rows: _IndexRows) -> None:
        """A mask of no length allows none."""
        assert index.search(rows.queries, 3, np.ones(20, bool)).owners.max() == 19
        assert (index.search(rows.queries, 3, np.ones(0, bool)).owners == -1).all()

    def test_fewer_owners_than_asked_for_leave_the_rest_empty(self, index: BaseIndex, rows: _IndexRows) -> None:
        """Owner -1, row -1, score -inf; never NaN."""
        allow = np.arange(_OWNERS) < 2
        found = index.search(rows.queries, 4, allow)
        assert (found.owners[:, :2] >= 0).all()
        assert (found.owners[:, 2:] == -1).all()
        assert (found.rows[:, 2:] == -1).all()
        assert np.isneginf(found.scores[:, 2:]).all()

    def test_types_and_shapes(self, index: BaseIndex, rows: _IndexRows) -> None:
        """Of searches with many, one and no query."""
        assert index.dim == rows.vectors.shape[1]
        assert len(index) == len(rows.vectors)
        for count in (len(rows.queries), 1, 0):
            found = index.search(rows.queries[:count], 3)
            assert found.owners.shape == found.scores.shape == found.rows.shape == (count, 3)
            assert [part.dtype.name for part in (found.owners, found.scores, found.rows)] == [
                "int32",
                "float32",
                "int64",
            ]

    def test_an_empty_index_finds_nothing(self, rows: _IndexRows) -> None:
        """Until rows are added."""
        empty = self.make(rows.vectors[:0], rows.owners[:0])
        assert len(empty) == len(empty.present) == len(empty.rows_of(0)) == 0
        assert empty.dim == rows.vectors.shape[1]
        assert (empty.search(rows.queries, 2).owners == -1).all()
        assert (empty.neighbours(rows.queries[:2], np.array([[-1, 0], [1, 0]])).rows == -1).all()
        self._assert_found(full := empty.extended(rows.vectors, rows.owners), full.search(rows.queries, 3), rows, 3)

    def test_an_owner_has_its_rows_in_order(self, index: BaseIndex, rows: _IndexRows) -> None:
        """Their numbers ascend, and their vectors are those that were given, bit for bit."""
        assert index.present.tolist() == np.unique(rows.owners).tolist()
        for owner in (0, 7, _OWNERS - 1, _OWNERS + 5):
            numbers = index.rows_of(owner)
            assert (np.diff(numbers) > 0).all()
            np.testing.assert_array_equal(index.vectors_of(numbers), rows.vectors[rows.owners == owner])

    def test_a_found_row_is_the_owners_and_has_the_score(self, index: BaseIndex, rows: _IndexRows) -> None:
        """So the caller can tell which utterance it was."""
        found = index.search(rows.queries, 2)
        for query, (owners, scores, numbers) in enumerate(zip(found.owners, found.scores, found.rows, strict=True)):
            for owner, score, row in zip(owners, scores, numbers, strict=True):
                assert row in index.rows_of(owner)
                np.testing.assert_allclose(index.vectors_of(np.array([row]))[0] @ rows.queries[query], score, atol=1e-5)

    def test_changes_leave_the_index_they_were_made_from_as_it_was(self, index: BaseIndex, rows: _IndexRows) -> None:
        """A query that holds it goes on undisturbed, even beside two different changes of the same index."""
        before = index.search(rows.queries, 3)
        more = index.extended(rows.queries, np.full(len(rows.queries), 3, np.int32))
        other = index.extended(rows.queries[::-1], np.full(len(rows.queries), 4, np.int32))
        fewer = more.without(more.rows_of(3))
        assert (more.search(rows.queries, 1).owners == 3).all()
        assert (other.search(rows.queries, 1).owners == 4).all()
        assert len(fewer.rows_of(3)) == 0
        for same in (index, index.extended(rows.vectors[:0], rows.owners[:0]), index.without(np.empty(0, np.int64))):
            _assert_same(same.search(rows.queries, 3), before)
            assert len(same) == len(rows.vectors)

    def test_removed_rows_are_never_found(self, index: BaseIndex, rows: _IndexRows) -> None:
        """Nor counted, nor of their owner; the others are found as before, also rows that are added afterwards."""
        gone = np.flatnonzero(rows.owners % 2 == 0)
        left = index.without(np.concatenate([index.rows_of(owner) for owner in range(0, _OWNERS, 2)]))
        kept = _IndexRows(np.delete(rows.vectors, gone, 0), np.delete(rows.owners, gone), rows.queries)
        assert len(left) == len(kept.vectors)
        assert left.present.tolist() == np.unique(kept.owners).tolist()
        assert len(left.rows_of(2)) == 0
        self._assert_found(left, left.search(rows.queries, 5), kept, 5)
        again = left.extended(rows.vectors[gone], rows.owners[gone])
        assert len(again) == len(rows.vectors)
        self._assert_found(again, again.search(rows.queries, 5), rows, 5)

    def test_neighbours_hear_all_rows_of_an_owner(self, index: BaseIndex, rows: _IndexRows) -> None:
        """Old and new ones, not removed ones; exact in any index."""
        index = index.without(index.rows_of(5)[1:])
        index = index.without(index.rows_of(6)).extended(rows.queries[:2], np.array([7, 8], np.int32))
        owners = np.array([[5, 6, 7, -1], [8, 7, _OWNERS + 9, 5]])
        told = index.neighbours(rows.queries[:2], owners)
        for at in np.ndindex(owners.shape):
            if owners[at] in (-1, 6, _OWNERS + 9):
                assert [told.first[at], told.rows[at]] == [-1, -1]
                continue
            numbers = index.rows_of(int(owners[at]))
            scores = index.vectors_of(numbers) @ rows.queries[at[0]]
            ranked = np.sort(scores)[::-1]
            np.testing.assert_allclose(told.first[at], ranked[0], atol=1e-5)
            if at[1] == 0:
                np.testing.assert_allclose(told.second[at[0]], ranked[:2][-1], atol=1e-5)
            assert told.rows[at] == numbers[scores.argmax()]

    def test_members_are_the_rows_of_each_owner_one_after_the_other(self, index: BaseIndex, rows: _IndexRows) -> None:
        """Old and new ones, not removed ones; nothing for no owner; all again for one that is given twice."""
        index = index.without(index.rows_of(5)[1:])
        index = index.without(index.rows_of(6)).extended(rows.queries[:3], np.array([7, 6, 7], np.int32))
        owners = np.array([[7, 5, -1], [6, _OWNERS + 9, 7]])
        expected = [index.rows_of(int(owner)).tolist() if owner >= 0 else [] for owner in owners.flat]
        found, places = index.members(owners)
        assert found.tolist() == [row for its_rows in expected for row in its_rows]
        assert places.tolist() == [place for place, its_rows in enumerate(expected) for _ in its_rows]
        assert [len(part) for part in index.members(np.full((2, 1), -1))] == [0, 0]
        assert [len(part) for part in index.members(np.empty((0, 4), np.int64))] == [0, 0]

    def test_a_row_has_its_place_among_its_owners(self, index: BaseIndex, rows: _IndexRows) -> None:
        """Counted from 0, whatever was removed before it or added since."""
        index = index.without(index.rows_of(5)[:2]).extended(rows.queries[:2], np.array([7, 5], np.int32))
        for owner in (5, 7, 8):
            numbers = index.rows_of(owner)
            places = index.positions(np.full((len(numbers), 1), owner), numbers[:, None])
            assert places.ravel().tolist() == list(range(len(numbers)))
        none = np.full((1, 2), -1)
        assert index.positions(none, none).shape == (1, 2)

    def test_eight_threads_find_what_one_finds(self, index: BaseIndex, rows: _IndexRows) -> None:
        """Searches do not disturb each other."""
        expected = index.search(rows.queries, 3)
        with ThreadPoolExecutor(8) as pool:
            for found in pool.map(lambda _: index.search(rows.queries, 3), range(32)):
                _assert_same(found, expected)

    def _assert_found(
        self, index: BaseIndex, found: Nearest, rows: _IndexRows, k: int, allow: Mask | None = None
    ) -> None:
        expected = _nearest(rows.vectors, rows.owners, rows.queries, k, allow)
        real = found.owners >= 0
        np.testing.assert_array_equal(real, expected.owners >= 0)
        assert all(len(set(owners[owners >= 0])) == (owners >= 0).sum() for owners in found.owners)
        assert allow is None or allow[found.owners[real]].all()
        assert (np.diff(found.scores, axis=1)[real[:, 1:]] <= 0).all()
        assert set(found.rows[real].tolist()) <= {
            row for owner in index.present for row in index.rows_of(owner).tolist()
        }
        if self.recall == 1:
            _assert_same(found, expected)
        else:
            assert (found.scores[:, 0] >= expected.scores[:, 0] - 1e-5).mean() >= self.recall


_OWNERS = 300


@dataclass(frozen=True)
class _IndexRows:
    vectors: Vectors
    owners: Owners
    queries: Vectors


def _index_rows(dim: int = 24) -> _IndexRows:
    random = np.random.default_rng(0)
    centres = random.normal(size=(12, dim))[random.integers(0, 12, _OWNERS)] + 0.7 * random.normal(size=(_OWNERS, dim))
    owners = random.permutation(np.repeat(np.arange(_OWNERS, dtype=np.int32), 5))
    vectors = centres[owners] + 0.3 * random.normal(size=(len(owners), dim))
    queries = centres[random.integers(0, _OWNERS, 40)] + 0.3 * random.normal(size=(40, dim))
    return _IndexRows(_unit(vectors), owners, _unit(queries))


def _unit(rows: np.ndarray) -> Vectors:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def _nearest(vectors: Vectors, owners: Owners, queries: Vectors, k: int, allow: Mask | None) -> Nearest:
    """By the plainest means; rows are those of the arrays."""
    found = Nearest.nothing(len(queries), k)
    for query, scores in enumerate(queries @ vectors.T):
        seen: set[int] = set()
        for row in np.lexsort((owners, -scores)):
            owner = int(owners[row])
            if owner not in seen and (allow is None or allow[owner]) and len(seen) < k:
                place = query, len(seen)
                found.owners[place], found.scores[place], found.rows[place] = owner, scores[row], row
                seen.add(owner)
    return found


def _assert_same(found: Nearest, expected: Nearest) -> None:
    np.testing.assert_array_equal(found.owners, expected.owners)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)


def _secrets(attributes: dict[str, object]) -> list[str]:
    found = []
    for name, value in attributes.items():
        if isinstance(value, dict):
            found += _secrets({str(key): item for key, item in value.items()})
        elif isinstance(value, str) and value and any(word in name.lower() for word in ("key", "token", "password")):
            found.append(value)
    return found
