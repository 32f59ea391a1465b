"""In which language a text is."""

from __future__ import annotations

import sys

import pytest

from synaptoroute.language import identify
from synaptoroute.language.identify import available, often_spoken_in, spoken_in

TEXTS = {
    "en": "what is my current balance please",
    "de": "wie ist bitte mein aktueller Kontostand",
    "fr": "quel est le solde de mon compte",
    "ru": "сколько денег осталось на моём счёте",
    "ja": "口座の残高を教えてください",
}
without_package = pytest.mark.skipif(not available(), reason="py3langid is not installed")


@without_package
def test_languages_are_told_apart() -> None:
    assert spoken_in(list(TEXTS.values()), among=tuple(sorted(TEXTS))) == list(TEXTS)


@without_package
def test_a_text_without_letters_has_none() -> None:
    assert spoken_in(["", "12", "?!", "5 €"]) == [""] * 4


@without_package
def test_languages_of_few_texts_are_not_chosen() -> None:
    texts = [*[TEXTS["en"]] * 60, *[TEXTS["de"]] * 40, TEXTS["ja"]]
    told = often_spoken_in(texts)
    assert told is not None
    assert set(told) == {"en", "de"}
    assert told[:100] == ["en"] * 60 + ["de"] * 40


def test_one_language_is_not_told() -> None:
    assert often_spoken_in([TEXTS["en"]] * 50) is None
    assert often_spoken_in([]) is None


def test_without_the_package_scripts_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "py3langid", None)
    monkeypatch.setattr(identify, "find_spec", lambda _name: None)
    identify._identifier.cache_clear()
    try:
        assert spoken_in([*TEXTS.values(), "123", ""]) == ["latin", "latin", "latin", "cyrillic", "hiragana", "", ""]
    finally:
        identify._identifier.cache_clear()


def test_answers_that_are_scripts_are_kept_with_the_package_installed() -> None:
    """What was learned without it goes on to mean the same."""
    assert spoken_in([TEXTS["ru"], TEXTS["en"]], among=("cyrillic", "latin")) == ["cyrillic", "latin"]
