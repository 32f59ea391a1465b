"""What the generators write: requests said in many ways, and refusals and traps that are none of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.generators import traps, written
from training.generators.noise import around, ellipsis, noisy, typo
from training.grammar import TEXTS, expand, tidy, utterances


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


class TestGrammar:
    def test_a_choice_within_a_choice_is_made_from_the_inside(self) -> None:
        seen = {expand("[a|b [c|d]]", {}, random(seed)) for seed in range(40)}
        assert seen == {"a", "b c", "b d"}

    def test_a_filler_may_have_choices_of_its_own(self) -> None:
        assert {expand("to {city}", {"city": ["[york|bath]"]}, random(seed)) for seed in range(20)} == {
            "to york",
            "to bath",
        }

    def test_an_empty_choice_leaves_no_gap(self) -> None:
        assert expand("book [|] a table , please", {}, random()) == "book a table, please"

    def test_a_slot_without_fillers_is_an_error_that_names_it(self) -> None:
        with pytest.raises(KeyError, match="planet"):
            expand("fly to {planet}", {}, random())

    def test_texts_are_different_and_as_many_as_the_patterns_can_say(self) -> None:
        assert sorted(utterances(["[a|b]", "c"], {}, 9, random())) == ["a", "b", "c"]

    @given(st.text(alphabet="ab ,?", max_size=30))
    def test_tidying_twice_changes_nothing_more(self, text: str) -> None:
        assert tidy(tidy(text)) == tidy(text)


class TestWritten:
    def test_every_pattern_has_fillers_and_every_thing_meets_every_aspect(self) -> None:
        made = written.things(2, random())
        routes = {item.route for item in made}
        assert {"parcel: overdue", "parcel: lead time", "passport: overdue"} <= routes
        assert not any(character in item.text for item in made for character in "[]{}|")

    def test_texts_of_two_aspects_are_never_the_same(self) -> None:
        owner: dict[str, str] = {}
        twice = [
            item.text for item in written.things(6, random()) if owner.setdefault(item.text, item.route) != item.route
        ]
        # "cancel my laptop" and the like do not occur: a text with two owners would be near and far at once.
        assert len(twice) < 0.005 * len(owner), twice[:20]

    def test_opposites_differ_in_the_action(self) -> None:
        routes = {item.route for item in written.opposites(2, random())}
        assert {"turn on the lights", "turn off the lights"} <= routes

    def test_routes_have_several_texts_each(self) -> None:
        made = written.routes(4, random())
        counts = {route: sum(item.route == route for item in made) for route in {item.route for item in made}}
        assert min(counts.values()) >= 2

    @pytest.mark.parametrize("name", ["things.txt", "routes.txt", "opposites.txt"])
    def test_no_example_is_one_of_the_sets_that_stay_unseen(self, name: str) -> None:
        text = (TEXTS / name).read_text(encoding="utf-8").lower()
        assert "clinc" not in text
        assert "banking77" not in text


class TestTraps:
    def test_traps_name_the_thing_and_are_routes_of_their_own(self) -> None:
        made = traps.traps(["parcel"], 2, random())
        assert all("parcel" in item.text for item in made)
        assert "parcel: poem" in {item.route for item in made}

    def test_exchanged_arguments_are_two_routes(self) -> None:
        made = {item.text: item.route for item in traps.exchanged(random())}
        assert made["train from paris to boston"] != made["train from boston to paris"]
        assert made["train from paris to boston"] == made["i travel to boston from paris"]


class TestNoise:
    @given(st.text(alphabet="abc ", min_size=12, max_size=40), st.integers(0, 99))
    def test_a_typo_is_one_letter(self, text: str, seed: int) -> None:
        changed = typo(text, random(seed))
        assert abs(len(changed) - len(text)) <= 1
        assert changed[:1] == text[:1]

    def test_an_omission_leaves_two_words(self) -> None:
        assert ellipsis("i want to pay", random()) == "i want to pay"
        assert ellipsis("i want to pay rent", random(1)) == "pay rent"

    def test_a_greeting_keeps_the_text(self) -> None:
        assert all("pay rent" in around("pay rent", random(seed)) for seed in range(20))

    def test_no_share_is_no_change(self) -> None:
        assert all(noisy("pay the rent today", random(seed), 0.0) == "pay the rent today" for seed in range(20))
