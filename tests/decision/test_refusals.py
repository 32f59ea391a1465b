"""Refusals of a table's utterances: what they look like, and what a head learns from them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synaptoroute.decision.refusals import negate, negated, refusals
from synaptoroute.encoder import BundledEncoder
from synaptoroute.models import Route
from synaptoroute.router import AdaptiveRouter


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


class TestNegate:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("play some jazz", "play some jazz"),
            ("can you please book a table", "book a table"),
            ("what is the weather in oslo?", "the weather in oslo is"),
            ("i want to fly to rome", "fly to rome"),
            ("i'd like a refund", "a refund"),
            ("is my flight late", "is my flight late"),
        ],
    )
    def test_a_request_becomes_a_refusal_of_the_same_thing(self, text: str, words: str) -> None:
        for seed in range(20):
            refused = negate(text, random(seed))
            assert refused is not None
            assert words in refused
            assert refused != text
            assert negated(refused)
            assert negated(refused.replace("'", ""))

    @pytest.mark.parametrize("text", ["my parcel has not arrived", "the printer is broken", "hello", ""])
    def test_a_statement_is_left_alone(self, text: str) -> None:
        assert negate(text, random()) is None

    @given(st.text(max_size=60), st.integers(0, 99))
    def test_any_text_is_taken(self, text: str, seed: int) -> None:
        refused = negate(text, random(seed))
        assert refused is None or refused.strip()


@pytest.mark.parametrize(
    ("text", "says_no"),
    [
        ("My parcel has not come", True),
        ("Don\u2019t call him", True),
        ("i dont want that", True),
        ("NO, thanks", True),
        ("note this down", False),
        ("play nothing else matters", False),
        ("i need a cantor", False),
        ("", False),
    ],
)
def test_a_word_that_says_no_is_told_from_others(text: str, says_no: bool) -> None:
    assert negated(text) is says_no


class TestRefusals:
    TEXTS = ("play some jazz", "book a table for two", "what is the weather in oslo", "my card is lost")

    def test_they_are_the_same_in_any_order(self) -> None:
        made = refusals(self.TEXTS)
        assert len(made) == 3
        assert refusals(self.TEXTS[::-1]) == made

    def test_a_text_more_leaves_the_refusals_of_the_others_as_they_are(self) -> None:
        assert set(refusals(self.TEXTS)) < set(refusals((*self.TEXTS, "turn off the lamp")))

    def test_no_more_are_made_than_wanted(self) -> None:
        assert len(refusals([f"play track {number}" for number in range(50)], most=7)) == 7

    def test_what_a_route_says_itself_is_not_made(self) -> None:
        made = refusals(["call me"])
        assert refusals(["call me", *made]) == []

    @pytest.mark.parametrize("text", ["Ich möchte einen Flug buchen", "écris un message à Paul", "予約を取り消して"])
    def test_other_languages_have_none(self, text: str) -> None:
        assert refusals([text]) == []

    def test_a_long_text_has_none(self) -> None:
        assert refusals(["play " + "something and " * 3_000]) == []


@pytest.fixture(scope="module")
def router(encoder: BundledEncoder) -> AdaptiveRouter:
    router = AdaptiveRouter(encoder)
    router.add_routes(
        [
            Route(
                name="book_flight",
                utterances=[
                    "book a flight to madrid",
                    "i want to fly to rome next week",
                    "find me a plane ticket to oslo",
                    "reserve a seat on the morning flight",
                    "i need a flight from paris to berlin",
                ],
            ),
            Route(
                name="play_music",
                utterances=[
                    "play some jazz",
                    "put on my running playlist",
                    "i want to listen to the beatles",
                    "start the new album",
                    "play the song again",
                ],
            ),
            Route(
                name="remind_me",
                utterances=[
                    "remind me to call my mother",
                    "set a reminder for noon",
                    "tell me at five to leave",
                    "i need a reminder about the meeting",
                    "remind me of the dentist tomorrow",
                ],
            ),
            Route(
                name="stop_reminding",
                utterances=[
                    "don't remind me again",
                    "stop reminding me",
                    "no more reminders please",
                    "i don't want to be reminded any more",
                    "switch the reminders off",
                ],
            ),
        ]
    )
    router.wait_until_fitted()
    return router


@pytest.mark.parametrize(
    "text",
    [
        "i don't want to book a flight",
        "there is no need to book a flight to lisbon",
        "no need to play that song",
    ],
)
def test_who_refuses_a_request_is_not_taken_to_make_it(router: AdaptiveRouter, text: str) -> None:
    decision = router.route(text)
    assert decision.name is None, decision


@pytest.mark.parametrize(
    ("text", "route"),
    [
        ("book a flight to lisbon", "book_flight"),
        ("play that song", "play_music"),
        ("i need a reminder for tonight", "remind_me"),
        ("please don't remind me any more", "stop_reminding"),
        ("i do not want any reminders", "stop_reminding"),
    ],
)
def test_a_request_is_answered_also_where_it_is_made_with_a_not(router: AdaptiveRouter, text: str, route: str) -> None:
    assert router.route(text).name == route
