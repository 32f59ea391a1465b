"""Bags of words and n-grams: the same text has the same bag everywhere, whatever stands beside it."""
# ruff: noqa: RUF001 - unusual letters on purpose

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import synaptoroute
from synaptoroute.decision.lexical import (
    NGRAM_BITS,
    READ_CHARACTERS,
    WORD_BITS,
    Bags,
    Floats32,
    Weighted,
    _words,
    inverse_document_frequency,
    ngrams,
    words,
)

NGRAMS_OF_AB_CD_AND_E = [128, 208, 1007, 1928, 2072, 2662, 3697, 4360, 5622, 6449, 6786, 7391, 7875, 8174]
WORDS_OF_AB_CD_AND_E = [2049, 118270, 126000]

UNUSUAL = [
    "",
    " ",
    "\n",
    "\n\n a \n b\r\n",
    "?!…—",
    "👩‍👩‍👧‍👦 🏳️‍🌈",
    "e\u0301 \u0301 cafe\u0301",
    "ΑΣ ΟΔΟΣ ς",
    "İstanbul ıI",
    "你好，世界",
    "مرحبا بالعالم",
    "\x00\x07\ttab\u2028line\u00a0space",
    "𝕊𝕪𝕟𝕒𝕡𝕥𝕠 \U0010ffff",
    "snake_case a1b2 don't",
    "a",
    "ab",
    "a b",
    "the the the",
]
texts = st.sampled_from(UNUSUAL) | st.text(max_size=30) | st.text("ab \n.é", max_size=12)
batches = st.lists(texts, max_size=6)


def bag(bags: Bags, text: int) -> list[int]:
    return sorted(bags.buckets[bags.starts[text] : bags.starts[text + 1]].tolist())


def idf_of(*batch: str) -> Floats32:
    return inverse_document_frequency(ngrams(batch))


# ------------------------------------------------------------------------------------------------------------ bags
@given(batches)
def test_a_bag_never_depends_on_the_texts_beside_it(batch: list[str]) -> None:
    for make in (ngrams, words):
        together = make(batch)
        assert together.starts[0] == 0
        assert together.starts[-1] == len(together.buckets)
        assert len(together.starts) == len(batch) + 1
        for place, text in enumerate(batch):
            assert bag(together, place) == bag(make([text]), 0)


@given(texts)
def test_buckets_are_in_range_and_as_many_as_the_text_has_parts(text: str) -> None:
    found = ngrams([text]).buckets
    its_words = _words(text)
    tokens = len(words([text]).buckets)
    assert tokens == len(its_words)
    if text.isascii():
        assert list(its_words) == "".join(c if c.isalnum() or c == "_" else " " for c in text.lower()).split()
    # With one space around and between words, a text of n characters has n - 2 parts of three and n - 3 of four.
    spaced = " " + " ".join(its_words) + " "
    pairs = max(tokens - 1, 0)
    assert len(found) == tokens + pairs + max(len(spaced) - 2, 0) + max(len(spaced) - 3, 0)
    assert ((found >= 0) & (found < 1 << NGRAM_BITS)).all()
    assert ((words([text]).buckets >= 0) & (words([text]).buckets < 1 << WORD_BITS)).all()


@pytest.mark.parametrize("text", ["", " ", "\n\t ", "?!… —", "👍🎉", "\u0301"])
def test_a_text_without_letters_or_digits_has_an_empty_bag(text: str) -> None:
    for make in (ngrams, words):
        assert bag(make(["before", text, "after"]), 1) == []
        assert bag(make([text]), 0) == []


def test_no_texts_have_no_bags() -> None:
    for make in (ngrams, words):
        assert make([]).buckets.tolist() == []
        assert make([]).starts == [0]
        assert make([]).rows.tolist() == []


def test_case_punctuation_and_white_space_do_not_matter_and_letters_and_their_order_do() -> None:
    for make in (ngrams, words):
        same = make(["Pay my BILL", "pay  my bill?", " pay,\nmy\tbill\r\n"])
        assert bag(same, 0) == bag(same, 1) == bag(same, 2)
    swapped = ["bill my pay", "pay my bill"]
    assert bag(words(swapped), 0) == bag(words(swapped), 1)
    assert bag(ngrams(swapped), 0) != bag(ngrams(swapped), 1)
    assert bag(words(["pay"]), 0) != bag(words(["pai"]), 0)
    assert bag(words(["ab"]), 0) != bag(words(["ba"]), 0)


@pytest.mark.parametrize(
    ("text", "its_words"),
    [
        ("Café MÜLLER cafe\u0301", ["cafe", "muller", "cafe"]),
        ("straße STRASSE", ["strasse", "strasse"]),
        ("ΟΔΟΣ οδός", ["οδοσ", "οδοσ"]),
        ("ｆｕｌｌ　ｗｉｄｔｈ", ["full", "width"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("你好，世界 abc", ["你好", "世界", "abc"]),
        ("転送", ["転送"]),
        ("残高を", ["残高", "高を"]),
        ("ไร", ["ไร"]),
        ("مَرْحَبًا مرحبا", ["مرحبا", "مرحبا"]),
        ("שָׁלוֹם שלום", ["שלום", "שלום"]),
        ("안녕하세요 세계", ["안녕하세요", "세계"]),
        ("soft\u00adly zero\u200bwidth", ["softly", "zerowidth"]),
        ("don’t snake_case", ["don", "t", "snake_case"]),
    ],
)
def test_words_are_words_in_any_script(text: str, its_words: list[str]) -> None:
    assert list(_words(text)) == its_words


@given(st.text(max_size=40))
def test_composed_and_decomposed_texts_have_the_same_words(text: str) -> None:
    assert _words(unicodedata.normalize("NFC", text)) == _words(unicodedata.normalize("NFD", text))


def test_a_word_repeated_is_in_the_bag_as_often() -> None:
    once, thrice = bag(words(["again"]), 0), bag(words(["again again, AGAIN"]), 0)
    assert thrice == once * 3


def test_a_misspelt_word_shares_most_of_its_character_ngrams_and_another_word_none() -> None:
    right, misspelt, other = (set(bag(ngrams([text]), 0)) for text in ("cancellation", "cancelation", "supermarket"))
    assert len(right & misspelt) > len(right) / 2
    assert not right & other


def test_words_hardly_ever_share_a_bucket() -> None:
    names = [f"word{number}" for number in range(2_000)]
    distinct = len(np.unique(words(names).buckets))
    # Fair hashing would leave 2**17 * (1 - exp(-2000 / 2**17)) = 1,985.
    assert distinct > 1_975


def test_thirty_thousand_characters_are_one_bag() -> None:
    for text in ("lorem ipsum " * 2_500, "x" * 30_000, "a " * 15_000, "?" * 30_000, "é\n" * 15_000):
        together = ngrams(["before", text, "after"])
        assert bag(together, 1) == bag(ngrams([text]), 0)
        assert bag(together, 2) == bag(ngrams(["after"]), 0)
        assert len(words([text]).buckets) == len(text[:READ_CHARACTERS].replace("?", " ").split())


def test_the_hash_is_the_same_in_every_process_and_version() -> None:
    """What was learned is stored with these bucket numbers: another hash would be nonsense, not an error."""
    code = (
        "from synaptoroute.decision.lexical import ngrams, words\n"
        "print(*[sorted(found(['Ab cd', 'é']).buckets.tolist()) for found in (ngrams, words)])"
    )
    source = str(Path(synaptoroute.__file__).parents[1])
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONPATH": source, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == f"{NGRAMS_OF_AB_CD_AND_E} {WORDS_OF_AB_CD_AND_E}"


# ---------------------------------------------------------------------------------------------------------- tf-idf
def test_idf_by_hand() -> None:
    idf = idf_of("pay", "pay", "owe", "?")
    pay, owe = bag(ngrams(["pay"]), 0), bag(ngrams(["owe"]), 0)
    assert len({*pay, *owe}) == len(pay) + len(owe)
    assert idf[pay] == pytest.approx(np.log(5 / 3) + 1)
    assert idf[owe] == pytest.approx(np.log(5 / 2) + 1)
    # What no text has is left out.
    assert np.count_nonzero(idf) == len(pay) + len(owe)
    assert idf.dtype == np.float32
    # A text that says it twice is still one text.
    assert idf_of("pay pay", "owe")[pay] == pytest.approx(np.log(3 / 2) + 1)
    assert not idf_of().any()


def test_tf_idf_by_hand() -> None:
    idf = np.zeros(1 << NGRAM_BITS, np.float32)
    idf[[3, 5]] = 1, 2
    # The first text has bucket 3 twice and 5 once; the second only what has no idf; the third 5.
    weighted = Weighted.of(Bags(np.array([3, 5, 3, 9, 5]), [0, 3, 4, 5]), idf)
    raw = np.array([1 + np.log(2), 2])
    three, five = raw / np.linalg.norm(raw)
    assert weighted.values == pytest.approx([three / 2, five, three / 2, 0, 1])
    assert dense(weighted)[:, [3, 5, 9]] == pytest.approx(np.array([[three, five, 0], [0, 0, 0], [0, 1, 0]]))


@given(batches, batches)
def test_a_row_has_length_one_or_is_empty(known: list[str], batch: list[str]) -> None:
    weighted = Weighted.of(ngrams(batch), idf_of(*known))
    assert weighted.values.dtype == np.float32
    assert (weighted.values >= 0).all()
    lengths = np.linalg.norm(dense(weighted), axis=1)
    assert np.all((np.abs(lengths - 1) < 1e-5) | (lengths == 0))
    seen = {bucket for text in known for bucket in bag(ngrams([text]), 0)}
    for row, length in enumerate(lengths):
        assert (length > 0) == bool(seen & set(bag(ngrams([batch[row]]), 0)))


@settings(max_examples=30)
@given(batches, st.integers(1, 4), st.integers(0, 99))
def test_times_is_the_dense_product(batch: list[str], columns: int, seed: int) -> None:
    weighted = Weighted.of(ngrams(batch), idf_of("pay my bill", "a b", *batch[:2]))
    table = np.random.default_rng(seed).normal(size=(1 << NGRAM_BITS, columns)).astype(np.float32)
    product = weighted.times(table)
    assert product.shape == (len(batch), columns)
    assert product.dtype == np.float32
    np.testing.assert_allclose(product, dense(weighted) @ table.astype(np.float64), atol=1e-5)


def dense(weighted: Weighted) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    rows = np.zeros((len(weighted.bags), 1 << NGRAM_BITS))
    np.add.at(rows, (weighted.bags.rows, weighted.bags.buckets), weighted.values)
    return rows


@given(batches)
def test_a_row_never_depends_on_the_texts_beside_it(batch: list[str]) -> None:
    idf = idf_of("pay my bill", *batch)
    together = Weighted.of(ngrams(batch), idf)
    for text, at in zip(batch, together.bags.slices, strict=True):
        alone = Weighted.of(ngrams([text]), idf)
        assert np.array_equal(together.bags.buckets[at], alone.bags.buckets)
        assert np.array_equal(together.values[at], alone.values)


def test_words_that_are_kept_and_those_too_long_for_it_are_hashed_alike() -> None:
    long = "pneumonoultramicroscopicsilicovolcanoconiosis"
    short = long[:24]
    for word in (short, long):
        buckets = bag(ngrams([word]), 0)
        assert len(buckets) == 1 + len(word) + len(word) - 1
        assert bag(ngrams([f"my {word} my {word}"]), 0).count(buckets[0]) == 2
    # What both have in common is all of the shorter but its end.
    common = set(bag(ngrams([short]), 0)) & set(bag(ngrams([long]), 0))
    assert len(common) >= 2 * len(short) - 4


def test_a_text_is_read_up_to_a_limit() -> None:
    assert bag(words(["pay " * 600]), 0) == bag(words(["pay " * (READ_CHARACTERS // 4)]), 0)
