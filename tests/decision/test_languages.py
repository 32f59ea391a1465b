"""Offsets that bring the confidences of several languages to one scale."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synaptoroute.decision.languages import FEWEST, Languages, learn_languages
from synaptoroute.decision.metrics import expected_calibration_error


def drawn(languages: dict[str, float], each: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Confidences whose log odds are too low by so much in each language, and whether the first choice was right."""
    random = np.random.default_rng(seed)
    spoken = [name for name in languages for _ in range(each)]
    true_odds = random.normal(1, 2, len(spoken))
    right = random.random(len(spoken)) < 1 / (1 + np.exp(-true_odds))
    seen = true_odds - np.array([languages[name] for name in spoken])
    return 1 / (1 + np.exp(-seen)), right, spoken


def test_a_language_that_is_believed_too_little_is_believed_more() -> None:
    confidences, right, spoken = drawn({"de": 2.0, "en": 0.0, "th": -1.5}, 400)
    learned = learn_languages(confidences, right, np.ones(len(right)), spoken)
    assert learned is not None
    languages, held_out = learned
    assert languages.among == ("de", "en", "th")
    np.testing.assert_allclose(languages.offsets, [2.0, 0.0, -1.5], atol=0.4)
    assert expected_calibration_error(held_out, right) < expected_calibration_error(confidences, right) / 2


def test_one_threshold_then_means_the_same_in_each() -> None:
    confidences, right, spoken = drawn({"de": 2.0, "en": 0.0}, 800)
    learned = learn_languages(confidences, right, np.ones(len(right)), spoken)
    assert learned is not None
    _, held_out = learned

    def precision(values: np.ndarray, language: str) -> float:
        answered = (values >= 0.5) & (values < 0.9) & (np.array(spoken) == language)
        return float(right[answered].mean())

    before = abs(precision(confidences, "de") - precision(confidences, "en"))
    after = abs(precision(held_out, "de") - precision(held_out, "en"))
    assert after < before / 2


def test_languages_that_are_treated_alike_get_no_offsets() -> None:
    confidences, right, spoken = drawn({"de": 0.0, "en": 0.0}, 300)
    assert learn_languages(confidences, right, np.ones(len(right)), spoken) is None


def test_too_few_queries_or_one_language_get_none() -> None:
    for languages, each in (({"de": 2.0, "en": 0.0}, FEWEST - 1), ({"en": 2.0}, 500)):
        confidences, right, spoken = drawn(languages, each)
        assert learn_languages(confidences, right, np.ones(len(right)), spoken) is None


def test_a_language_nobody_told_is_left_as_it_is() -> None:
    languages = Languages(np.array(["de", "en"]), np.array([1.0, -1.0]))
    confidences = np.array([[0.6, 0.2], [0.6, 0.2], [0.6, 0.2]])
    brought = languages.brought(confidences, ["de", "en", "xx"])
    np.testing.assert_allclose(brought[2], confidences[2])
    assert brought[0, 0] > 0.6 > brought[1, 0]


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=5).map(lambda row: sorted(row, reverse=True)),
    st.floats(-5, 5),
)
def test_confidences_stay_probabilities_and_never_rise_along_a_row(row: list[float], offset: float) -> None:
    total = sum(row)
    confidences = np.array([row]) / max(total, 1.0)
    brought = Languages(np.array(["de"]), np.array([offset])).brought(confidences, ["de"])
    assert ((brought >= 0) & (brought <= 1)).all()
    assert (np.diff(brought, axis=1) <= 1e-12).all()
    assert brought.sum() <= 1 + 1e-5
    assert (brought[confidences == 0] == 0).all()


@pytest.mark.parametrize("offset", [-1.0, 0.0, 2.0])
def test_a_surer_query_stays_surer(offset: float) -> None:
    confidences = np.linspace(0.01, 0.99, 50)[:, None]
    brought = Languages(np.array(["de"]), np.array([offset])).brought(confidences, ["de"] * 50)
    assert (np.diff(brought[:, 0]) > 0).all()
