from __future__ import annotations

import json
from pathlib import Path

import pytest

from synaptoroute.bench import datasets
from synaptoroute.bench.datasets import NAMES, Dataset, Labelled, few_shot, load
from synaptoroute.bench.sources import DATA_VARIABLE, SOURCES, DatasetError
from synaptoroute.models import Route
from tests.bench.conftest import TINY

CLINC = {
    "train": [["will it rain", "weather"], ["pay my bill", "billing"]],
    "val": [["is it cold", "weather"]],
    "test": [["is it sunny", "weather"], ["what do I owe", "billing"]],
    "oos_train": [["a", "oos"]],
    "oos_val": [["b", "oos"]],
    "oos_test": [["c", "oos"], ["d", "oos"]],
}


def reading(name: str, files: dict[str, str]) -> Dataset:
    return datasets._READERS[name](lambda path: files[path].encode())


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("clinc150", (150, 15_000, 3_000, 100, 4_500, 1_000, 100)),
        ("banking77", (77, 10_003, 0, 0, 3_080, 0, 0)),
        ("hwu64", (64, 8_954, 1_076, 0, 1_076, 0, 0)),
        ("nluplusplus", (46, 263, 0, 0, 265, 36, 51)),
        ("metatool", (199, 14_358, 0, 0, 6_172, 0, 0)),
        ("clinc150-negation", (150, 15_000, 3_000, 100, 4_500, 0, 100)),
        ("snips", (7, 9_000, 0, 0, 3_859, 0, 0)),
    ],
)
def test_the_public_data_sets_are_what_they_were(
    data: Path, tmp_path: Path, name: str, counts: tuple[int, ...]
) -> None:
    found = load(name, data=data, cache=tmp_path)
    assert tuple(found.counts.values()) == counts
    assert found.files == {path: SOURCES[path].sha256 for path in found.files}
    assert found.licence
    assert found.reading
    known = {item.label for item in found.train}
    assert {item.label for item in found.test} <= known | {None}
    assert not list(tmp_path.iterdir())
    for route, texts in few_shot(found.train, 1, 0).items():
        Route(name=route, utterances=texts)


def test_files_that_are_nowhere_to_be_had_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(DatasetError) as caught:
        load("snips", data=tmp_path, cache=tmp_path / "cache")
    for words in ("snips/train.in", "https://raw.githubusercontent.com/", "CC0", DATA_VARIABLE):
        assert words in str(caught.value)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(DatasetError, match=r"'clinc'.* clinc150, banking77"):
        load("clinc")


def test_clinc150_keeps_out_of_scope_training_texts_apart() -> None:
    found = reading("clinc150", {"clinc150/data_full.json": json.dumps(CLINC)})
    assert found.train == (Labelled("will it rain", "weather"), Labelled("pay my bill", "billing"))
    assert found.validation == (Labelled("is it cold", "weather"), Labelled("b", None))
    assert found.test[2:] == (Labelled("c", None), Labelled("d", None))
    assert found.extra_oos == (Labelled("a", None),)


def test_a_negated_query_carries_the_route_its_speaker_does_not_want() -> None:
    files = {
        "clinc150/data_full.json": json.dumps(CLINC),
        "clinc150-negation/test.in": "no need to say whether it is sunny\ni owe you nothing\n",
        "clinc150-negation/test.label": "no_need_for_weather\nno_debt\n",
    }
    found = reading("clinc150-negation", files)
    assert found.negated
    assert found.test == (
        Labelled("no need to say whether it is sunny", "weather"),
        Labelled("i owe you nothing", "billing"),
    )
    with pytest.raises(DatasetError, match="'no_need' denies more than one intent"):
        reading("clinc150-negation", files | {"clinc150-negation/test.label": "no_need\nno_need\n"})
    with pytest.raises(DatasetError, match="1 negated queries"):
        reading("clinc150-negation", files | {"clinc150-negation/test.in": "no\n"})


def test_nluplusplus_takes_only_what_has_one_intent_and_never_a_training_text() -> None:
    folds: list[list[dict[str, object]]] = [[] for _ in range(20)]
    folds[0] = [{"text": "yes", "intents": ["affirm"]}, {"text": "today"}, {"text": "x", "intents": ["a", "b"]}]
    folds[19] = [
        {"text": "Yes", "intents": ["affirm"]},
        {"text": "sure", "intents": ["affirm"]},
        {"text": "my pin", "intents": ["pin"]},
        {"text": "tomorrow"},
    ]
    files = {f"nluplusplus/banking_fold{number}.json": json.dumps(fold) for number, fold in enumerate(folds)}
    found = reading("nluplusplus", files)
    assert found.train == (Labelled("yes", "affirm"),)
    assert found.test == (Labelled("sure", "affirm"), Labelled("tomorrow", None))
    assert found.extra_oos == (Labelled("today", None),)
    assert "1 utterances with several intents, 2 queries" in found.reading


def test_a_split_by_hash_takes_no_text_twice_and_none_that_two_routes_claim() -> None:
    rows = [f"query {number},tool" for number in range(10)]
    content = "\n".join(
        ["Query,Tool", *rows, "Query  3,tool", "both,tool", "both,other", *(f"o{n},other" for n in range(10))]
    )
    found = reading("metatool", {"metatool/all_clean_data.csv": content})
    texts = [item.text.lower() for item in found.train + found.test]
    assert len(texts) == len(set(texts)) == 20
    assert "both" not in texts
    assert [sum(item.label == tool for item in found.test) for tool in ("tool", "other")] == [3, 3]
    shuffled = "\n".join(["Query,Tool", *reversed(content.split("\n")[1:])])
    again = reading("metatool", {"metatool/all_clean_data.csv": shuffled})
    assert {item.text.lower() for item in again.test} == {item.text.lower() for item in found.test}


def test_few_shot_draws_are_nested_repeatable_and_differ_between_seeds() -> None:
    train = [Labelled(f"{route} {number}", route) for route in ("a", "b") for number in range(50)]
    five, ten = few_shot(train, 5, 0), few_shot(train, 10, 0)
    assert {route: len(texts) for route, texts in five.items()} == {"a": 5, "b": 5}
    assert all(set(five[route]) < set(ten[route]) for route in five)
    assert few_shot(train[::-1], 5, 0)["a"] == five["a"]
    assert few_shot(train, 5, 1) != five
    assert few_shot(train, None, 1)["b"] == [f"b {number}" for number in range(50)]
    assert len(few_shot(train, 80, 0)["a"]) == 50


def test_a_limit_leaves_the_routes_alone_and_keeps_both_kinds_of_queries() -> None:
    few = TINY.limited(4)
    assert few.train == TINY.train
    assert (few.counts["test_in_scope"], few.counts["test_oos"]) == (2, 2)
    assert TINY.limited(1_000) == TINY
    assert set(NAMES) == set(datasets._READERS)
