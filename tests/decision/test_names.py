"""Route names as examples: how they are spoken, and whether they tell anything."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synaptoroute.cli.demo import demo_routes
from synaptoroute.decision.names import Owners, Vectors, spoken, telling
from synaptoroute.encoder import BundledEncoder


# --------------------------------------------------------------------------------------------------------------- spoken
@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param("transfer_money", "transfer money", id="snake"),
        pytest.param("transfer-money", "transfer money", id="kebab"),
        pytest.param("transferMoney", "transfer money", id="camel"),
        pytest.param("TransferMoney", "transfer money", id="pascal"),
        pytest.param("TRANSFER_MONEY", "transfer money", id="shouted"),
        pytest.param("transfer money", "transfer money", id="as it is"),
        pytest.param("Transfer Money!", "transfer money", id="a title"),
        pytest.param("parseJSONFile", "parse json file", id="an acronym inside"),
        pytest.param("HTTPServer", "http server", id="an acronym first"),
        pytest.param("openURL", "open url", id="an acronym last"),
        pytest.param("FAQ", "faq", id="only an acronym"),
        pytest.param("oauth2Login", "oauth2 login", id="a digit before a capital"),
        pytest.param("route_17", "route 17", id="a number"),
        pytest.param("banking/card.lost", "banking card lost", id="a path"),
        pytest.param("__init__", "init", id="signs around"),
        pytest.param("a__-  b", "a b", id="several signs between"),
        pytest.param("kündigung_straße", "kündigung straße", id="umlauts"),
        pytest.param("отменить_заказ", "отменить заказ", id="cyrillic"),
        pytest.param("天気_予報", "天気 予報", id="japanese"),
        pytest.param("???", "???", id="nothing but signs"),
        pytest.param("_", "_", id="a single sign"),
        pytest.param("🎵", "🎵", id="a picture"),
    ],
)
def test_a_name_as_words(name: str, words: str) -> None:
    assert spoken(name) == words


@given(st.text(min_size=1))
def test_any_name_says_something_and_saying_it_again_changes_nothing(name: str) -> None:
    words = spoken(name)
    assert words
    assert spoken(words) in (words, words.lower())


@given(st.lists(st.from_regex(r"[a-z]+", fullmatch=True), min_size=1, max_size=4))
def test_however_words_are_joined_they_are_spoken_alike(words: list[str]) -> None:
    said = " ".join(words)
    for joined in ("_".join(words), "-".join(words), ".".join(words), said.upper(), said.title()):
        assert spoken(joined) == said


# -------------------------------------------------------------------------------------------------------------- telling
@pytest.fixture(scope="module")
def demo(encoder: BundledEncoder) -> tuple[list[str], Vectors, Owners]:
    routes = demo_routes()
    texts = [text for route in routes for text in route.utterances]
    columns = np.repeat(np.arange(len(routes), dtype=np.int32), [len(route.utterances) for route in routes])
    return [spoken(route.name) for route in routes], encoder.encode(texts), columns


def test_names_that_mean_something_tell(demo: tuple[list[str], Vectors, Owners], encoder: BundledEncoder) -> None:
    names, vectors, columns = demo
    assert telling(encoder.encode(names), vectors, columns)


def test_names_of_other_routes_do_not_tell(demo: tuple[list[str], Vectors, Owners], encoder: BundledEncoder) -> None:
    names, vectors, columns = demo
    assert not telling(np.roll(encoder.encode(names), 1, axis=0), vectors, columns)


def test_numbers_do_not_tell(demo: tuple[list[str], Vectors, Owners], encoder: BundledEncoder) -> None:
    names, vectors, columns = demo
    numbered = [f"route {number}" for number in range(len(names))]
    assert not telling(encoder.encode(numbered), vectors, columns)


def test_half_of_the_names_are_enough_and_fewer_are_not() -> None:
    vectors, columns = np.eye(4, dtype=np.float32), np.arange(4, dtype=np.int32)
    assert telling(vectors[[0, 1, 3, 2]], vectors, columns)
    assert not telling(vectors[[0, 2, 3, 1]], vectors, columns)


def test_a_route_counts_as_the_mean_of_its_utterances_however_many_they_are() -> None:
    """Many middling utterances do not outweigh a few near ones."""
    near, far = [1.0, 0.0, 0.0], [0.6, 0.8, 0.0]
    vectors = np.array([near, *[far] * 50], np.float32)
    columns = np.array([0, *[1] * 50], np.int32)
    assert telling(np.array([near, far], np.float32), vectors, columns)


def test_of_a_single_route_any_name_is_believed_for_there_is_none_to_take_it_for() -> None:
    vectors = np.eye(2, dtype=np.float32)
    assert telling(vectors[:1], vectors, np.zeros(2, np.int32))
