"""A multilingual data set laid out as xSID is: one file for each language and split."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from synaptoroute.bench import xsid
from synaptoroute.bench.manifest import Manifest
from synaptoroute.bench.sources import DatasetError
from synaptoroute.bench.tables import language_table
from synaptoroute.cli import app

INTENTS = {
    "weather/find": {"en": "will it rain in {}", "de": "wird es in {} regnen", "ja": "{}は雨が降りますか"},
    "alarm/set": {"en": "wake me at seven in {}", "de": "weck mich um sieben in {}", "ja": "{}で七時に起こして"},
    "reminder/set": {
        "en": "remind me to call {}",
        "de": "erinnere mich an den anruf bei {}",
        "ja": "{}に電話と知らせて",
    },
    "PlayMusic": {"en": "play some jazz from {}", "de": "spiel etwas jazz aus {}", "ja": "{}のジャズをかけて"},
    "BookRestaurant": {"en": "book a table in {}", "de": "reserviere einen tisch in {}", "ja": "{}で席を予約して"},
}
PLACES = ("Oslo", "Lima", "Rome", "Kyoto")


def write(folder: Path, language: str, split: str, places: tuple[str, ...]) -> None:
    blocks = [
        f"# id: {number}\n# text: {said[language].format(place)}\n# intent: {intent}\n# slots: 0:3:location\n"
        f"1\tx\t{intent}\tO\n"
        for number, (intent, said, place) in enumerate(
            (intent, said, place) for intent, said in INTENTS.items() for place in places
        )
    ]
    folder.mkdir(exist_ok=True)
    (folder / f"{language}.{split}.conll").write_text("\n".join(blocks), encoding="utf-8")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "xsid"
    write(folder, "en", "train", PLACES[:3])
    for language in ("en", "de", "ja"):
        write(folder, language, "valid", PLACES[2:3])
        write(folder, language, "test", PLACES[3:])
    write(folder, "de", "projectedTrain", PLACES)
    write(folder, "de", "train", PLACES)
    return tmp_path


def test_routes_are_english_and_queries_are_in_all_languages(data: Path) -> None:
    dataset = xsid.load(data)
    assert {item.language for item in dataset.train} == {"en"}
    assert {item.language for item in dataset.test} == {"de", "en", "ja"}
    assert dataset.counts == {
        "routes": 4, "train": 12, "validation_in_scope": 12, "validation_oos": 3, "test_in_scope": 12, "test_oos": 3,
        "extra_oos": 0,
    }  # fmt: skip
    assert len({item.text for item in dataset.test if item.label is None}) == 3
    assert "held out as out of scope" in dataset.reading
    assert set(dataset.files) == {
        f"xsid/{name}.conll"
        for name in ("en.train", *(f"{a}.{b}" for a in ("de", "en", "ja") for b in ("valid", "test")))
    }


def test_the_bench_tells_figures_of_each_language(data: Path, tmp_path: Path) -> None:
    to = tmp_path / "manifest.json"
    words = ["bench", "accuracy", "--data", str(data), "--dataset", "xsid", "--no-tuned", "--output", str(to)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    manifest = Manifest.model_validate(json.loads(to.read_text()))
    (row,) = manifest.results
    assert list(row.languages) == ["de", "en", "ja"]
    english = row.languages["en"]
    assert english.in_scope is not None
    assert (english.in_scope.n, english.in_scope.value) == (4, 1.0)
    assert english.oos_recall is not None
    assert english.oos_recall.n == 1
    assert [shown[3] for shown in language_table(manifest.results).rows] == ["de", "en", "ja"]
    assert "Languages" in done.output


def test_what_is_not_there_says_where_to_get_it(tmp_path: Path) -> None:
    for folder in (None, tmp_path):
        with pytest.raises(DatasetError, match=r"xsid/\*\.conll.*mainlp/xsid \(CC BY 4\.0\)"):
            xsid.load(folder)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("en.train", b"\xff\xfe", "not UTF-8"),
        ("en.test", b"# intent: alarm/set\n", r"en\.test\.conll, line 1"),
        ("en.test", b"# text: wake me\n# intent:\n", "line 2"),
        ("en.train", b"", "lacks en.train.conll"),
    ],
)
def test_a_file_that_is_broken_is_named(data: Path, name: str, content: bytes, told: str) -> None:
    (data / "xsid" / f"{name}.conll").write_bytes(content)
    with pytest.raises(DatasetError, match=told):
        xsid.load(data)
