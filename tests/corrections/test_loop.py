"""The loop: options are tried on what was held out, a person accepts one, and nothing else ever changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from synaptoroute import AdaptiveRouter
from synaptoroute.corrections import Corrections, Decided, Feedback, FeedbackState, Option
from synaptoroute.corrections.sqlite import SQLiteFeedback
from synaptoroute.decision import lessons
from synaptoroute.errors import (
    FeedbackNotFoundError,
    InvalidInputError,
    InvalidQueryError,
    RevisionConflictError,
)
from synaptoroute.history import acting_as
from synaptoroute.storage import PostgresStorage, SQLiteStorage
from tests.postgres_server import PostgresServer
from tests.seeded import SeededEncoder, route, small_heads

NAMES = ("r1", "r2", "r3", "r4")


@pytest.fixture(autouse=True)
def quick_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head is learned in a tenth of the time: a proposal takes a dozen of them."""
    quick = replace(lessons.EFFORTS[0], reads_ngrams=False, steps=20, folds=4, used=1)
    monkeypatch.setattr(lessons, "EFFORTS", (quick,))


@pytest.fixture
def router(tmp_path: Path) -> Iterator[AdaptiveRouter]:
    """Routes whose utterances begin with their names; r2 has a stray one that belongs to r1."""
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(tmp_path / "routes.db"), actor="ann") as router:
        router.add_routes(route(name, *range(5)) for name in NAMES)
        router.add_utterance("r2", "r9 stray")
        router.wait_until_fitted()
        yield router


@pytest.fixture
def corrections(router: AdaptiveRouter) -> Corrections:
    return Corrections(router)


def proposed(corrections: Corrections, text: str, expected: str | None) -> tuple[Feedback, dict[str, Option]]:
    feedback = corrections.propose(corrections.add(text, expected).id)
    assert feedback.proposal is not None
    return feedback, {option.key: option for option in feedback.proposal.options}


def state(router: AdaptiveRouter) -> Any:
    return router.revision, router.routes, router.operating_point, router.snapshot.labelled


# ------------------------------------------------------------------------------------------------------- feedback
def test_feedback_keeps_what_was_decided_and_who_said_it(router: AdaptiveRouter, corrections: Corrections) -> None:
    before = state(router)
    decision = router("r9 stray thing")
    with acting_as("bob"):
        feedback = corrections.add("  r9 stray thing ", "r1", note="it is about r1")
    assert (feedback.text, feedback.expected, feedback.note, feedback.actor) == (
        "r9 stray thing",
        "r1",
        "it is about r1",
        "bob",
    )
    assert feedback.decided == Decided(name=decision.name, confidence=decision.confidence, revision=decision.revision)
    given = Decided(name="r4", confidence=0.5, revision=1)
    assert corrections.add("another", None, decided=given).decided == given
    assert corrections.get(feedback.id) == feedback
    assert [each.text for each in corrections.listed(state="open")] == ["another", "r9 stray thing"]
    assert json.loads(json.dumps(feedback.to_dict()))["state"] == "open"
    assert state(router) == before


def test_what_cannot_be_feedback_is_refused(corrections: Corrections) -> None:
    with pytest.raises(InvalidQueryError):
        corrections.add(" ", "r1")
    with pytest.raises(InvalidInputError, match="no route named 'nowhere'"):
        corrections.add("text", "nowhere")
    with pytest.raises(InvalidInputError, match="note"):
        corrections.add("text", "r1", note="x" * 2_001)
    for wrong in (
        Decided(name="a\ud800", confidence=0.5, revision=1),
        Decided(name=None, confidence=float("nan"), revision=1),
        Decided(name=None, confidence=0.5, revision=-1),
    ):
        with pytest.raises(InvalidInputError):
            corrections.add("text", "r1", decided=wrong)
    with pytest.raises(InvalidInputError, match="not valid Unicode"):
        corrections.add("text", "r1", note="a\ud800")
    with pytest.raises(InvalidInputError, match="not valid Unicode"):
        corrections.dismiss(1, note="\ud800")
    with pytest.raises(InvalidInputError, match="no state"):
        corrections.listed(state="lost")
    assert corrections.listed() == ()
    for call in (corrections.propose, corrections.dismiss, corrections.forget):
        with pytest.raises(FeedbackNotFoundError):
            call(7)


# ------------------------------------------------------------------------------------------------------ proposing
def test_a_wrong_route_gives_the_text_and_the_stray_utterance_as_options(
    router: AdaptiveRouter, corrections: Corrections
) -> None:
    before = state(router)
    feedback, options = proposed(corrections, "r9 stray thing", "r1")
    assert feedback.decided.name == "r2"
    assert set(options) == {"add_utterance", "move_stray", "remove_stray", "nothing"}
    assert options["add_utterance"].edits[0].add == ("r9 stray thing",)
    assert [(edit.route, edit.add, edit.remove) for edit in options["move_stray"].edits] == [
        ("r2", (), ("r9 stray",)),
        ("r1", ("r9 stray",), ()),
    ]
    assert options["add_utterance"].effect.fixes
    assert options["move_stray"].effect.fixes
    assert not options["nothing"].effect.fixes
    assert (options["nothing"].effect.gained, options["nothing"].effect.lost) == (0, 0)
    assert feedback.proposal is not None
    assert feedback.proposal.options[-1].key == "nothing"
    assert options[feedback.proposal.recommended].effect.fixes
    assert feedback.state is FeedbackState.PROPOSED
    assert state(router) == before
    assert corrections.get(feedback.id) == feedback


def test_without_anything_else_utterances_are_left_out_and_asked(corrections: Corrections) -> None:
    feedback, options = proposed(corrections, "r9 stray thing", "r1")
    assert feedback.proposal is not None
    # A quarter of the utterances, and then another; never the stray one.
    assert feedback.proposal.checks == {"utterance": 12}
    assert {option.effect.checked for option in options.values()} == {12}
    assert "no held-out query is out of scope" in " ".join(feedback.proposal.warnings)
    assert "only 12 held-out queries" in " ".join(feedback.proposal.warnings)


def test_a_harmful_option_shows_whom_it_would_harm(router: AdaptiveRouter, corrections: Corrections) -> None:
    # Other feedback that is right as long as the stray utterance stays where it is.
    for number in range(25):
        assert corrections.add(f"r9 kept {number}", "r2").decided.name == "r2"
    feedback, options = proposed(corrections, "r9 stray thing", "r1")
    assert feedback.proposal is not None
    assert feedback.proposal.checks == {"feedback": 25}
    harmful = options["move_stray"].effect
    assert harmful.fixes
    assert harmful.lost > 10
    assert harmful.gained == 0
    assert harmful.net_interval is not None
    assert harmful.net_interval[1] < 0
    assert len(harmful.losses) <= 20
    assert all((flip.expected, flip.before, flip.origin) == ("r2", "r2", "feedback") for flip in harmful.losses)
    assert feedback.proposal.recommended != "move_stray"
    # What was shown is what comes of it.
    corrections.accept(feedback.id, "move_stray")
    router.wait_until_fitted()
    after = [router(f"r9 kept {number}").name for number in range(25)]
    assert sum(name != "r2" for name in after) == harmful.lost


def test_an_abstention_that_was_wrong_gives_limits_as_options(router: AdaptiveRouter, corrections: Corrections) -> None:
    router.set_operating_point(1.0)
    feedback, options = proposed(corrections, "r3 wanted", "r3")
    assert feedback.decided.name is None
    assert set(options) == {"add_utterance", "set_threshold", "set_operating_point", "nothing"}
    point = options["set_operating_point"]
    assert point.min_confidence is not None
    assert point.min_confidence <= router("r3 wanted").confidence
    assert point.effect.fixes
    assert point.effect.gained > 5
    learned = router.snapshot.learned
    corrections.accept(feedback.id, "set_operating_point")
    assert router.operating_point.min_confidence == point.min_confidence
    assert router.operating_point.actor == "ann"
    assert router("r3 wanted").name == "r3"
    assert router.snapshot.learned is learned


def test_an_answer_to_what_is_out_of_scope_gives_higher_limits_as_options(
    router: AdaptiveRouter, corrections: Corrections
) -> None:
    assert router("r3 wanted").name == "r3"
    feedback, options = proposed(corrections, "r3 wanted", None)
    assert set(options) == {"remove_stray", "set_threshold", "set_operating_point", "nothing"}
    (edit,) = options["set_threshold"].edits
    assert edit.threshold is not None
    assert edit.threshold > (router("r3 wanted").score or 0)
    assert options["set_threshold"].effect.fixes
    corrections.accept(feedback.id, "set_threshold")
    assert router.get_route("r3").threshold == edit.threshold
    assert not router("r3 wanted")
    # And back: the threshold is what stands in the way now.
    back, options = proposed(corrections, "r3 wanted", "r3")
    assert set(options) == {"add_utterance", "set_threshold", "nothing"}
    assert "lower the threshold" in options["set_threshold"].summary
    assert options["set_threshold"].effect.fixes
    assert back.contradicts == (feedback.id,)


def test_a_stored_utterance_is_moved_or_removed_as_a_whole(router: AdaptiveRouter, corrections: Corrections) -> None:
    feedback, options = proposed(corrections, "r9 stray", "r1")
    assert set(options) == {"move_utterance", "nothing"}
    before = router.revision
    corrections.accept(feedback.id, "move_utterance")
    assert router.revision == before + 1
    assert "r9 stray" in router.get_route("r1").utterances
    assert "r9 stray" not in router.get_route("r2").utterances
    _, options = proposed(corrections, "r1 0", None)
    assert "remove_utterance" in options


def test_labelled_queries_are_decided_by_what_had_not_seen_them(tmp_path: Path) -> None:
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(tmp_path / "fitted.db")) as router:
        router.add_routes(route(name, *range(5)) for name in NAMES)
        queries = [f"{name} asks {number}" for name in NAMES for number in range(8)]
        labels: list[str | None] = [name for name in NAMES for _ in range(8)]
        queries += [f"nothing{number} at all" for number in range(10)]
        labels += [None] * 10
        report = router.fit(queries, labels, force=True)
        corrections = Corrections(router)
        feedback, options = proposed(corrections, "r1 wanted", None)
        assert feedback.proposal is not None
        assert feedback.proposal.checks == {"fit": 42}
        assert feedback.proposal.out_of_scope == 10
        # Nothing is answered from a confidence of 1 on: all that fit's held-out figures count as answered is lost.
        (point,) = (option for option in options.values() if option.key == "set_operating_point")
        assert point.effect.checked == 42
        answered = round((report.after.in_scope_accuracy or 0) * 32)
        assert point.effect.lost <= answered
        feedback, _ = proposed(corrections, queries[0], "r2")
        assert feedback.proposal is not None
        assert feedback.proposal.checks == {"fit": 41, "feedback": 1}
        assert "labelled queries of fit have the same text" in " ".join(feedback.proposal.warnings)
        # A fit since then makes what was shown out of date, although no route has changed.
        router.forget_fit()
        with pytest.raises(RevisionConflictError, match="nothing was changed"):
            corrections.accept(feedback.id, feedback.proposal.options[0].key)


def test_contradictions_and_dismissed_feedback_are_not_asked(corrections: Corrections) -> None:
    corrections.add("r3 this", "r3")
    corrections.add("r3 contested", "r3")
    corrections.add("r3 Contested", "r4")
    corrections.dismiss(corrections.add("r3 no", "r4").id)
    assert corrections.labelled() == (["r3 this"], ["r3"])
    feedback, _ = proposed(corrections, "r9 stray thing", "r1")
    assert feedback.proposal is not None
    assert feedback.proposal.checks["feedback"] == 1
    contested, _ = proposed(corrections, "r9 STRAY thing", None)
    assert contested.proposal is not None
    assert f"wants something else for the same text: {feedback.id}" in " ".join(contested.proposal.warnings)


def test_right_decisions_have_nothing_to_be_done_about(corrections: Corrections) -> None:
    feedback, options = proposed(corrections, "r3 wanted", "r3")
    assert list(options) == ["nothing"]
    assert options["nothing"].effect.fixes
    assert feedback.proposal is not None
    assert "decided as it should be" in feedback.proposal.warnings[0]
    assert corrections.accept(feedback.id, "nothing").state is FeedbackState.ACCEPTED


def test_proposing_tells_how_far_it_is_and_can_be_ended(router: AdaptiveRouter, corrections: Corrections) -> None:
    number = corrections.add("r9 stray thing", "r1").id
    seen: list[tuple[int, int]] = []
    corrections.propose(number, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (4, 4)
    assert {done for done, _ in seen} == {0, 1, 2, 3, 4}

    class EndedError(Exception):
        pass

    def end(_done: int, _total: int) -> None:
        raise EndedError

    other = corrections.add("r9 other", "r1").id
    with pytest.raises(EndedError):
        corrections.propose(other, progress=end)
    assert corrections.get(other).proposal is None
    assert router.settled


def test_a_table_too_large_for_a_head_is_replayed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lessons, "EFFORTS", small_heads(10))
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(tmp_path / "large.db")) as router:
        router.add_routes(route(name, *range(5)) for name in NAMES)
        router.add_utterance("r2", "r9 stray")
        corrections = Corrections(router)
        feedback, options = proposed(corrections, "r9 stray thing", "r1")
        assert options["move_stray"].effect.checked > 0
        corrections.accept(feedback.id, "add_utterance")
        assert "r9 stray thing" in router.get_route("r1").utterances
        assert router("r9 stray thing").confidence == options["add_utterance"].effect.confidence


# ------------------------------------------------------------------------------------------------------ accepting
def test_accepting_does_just_that_and_the_history_says_why(router: AdaptiveRouter, corrections: Corrections) -> None:
    feedback, _ = proposed(corrections, "r9 stray thing", "r1")
    before = {each.name: each for each in router.routes}
    with acting_as("bob"):
        accepted = corrections.accept(feedback.id, "add_utterance")
    assert accepted.state is FeedbackState.ACCEPTED
    assert accepted.outcome is not None
    assert (accepted.outcome.option, accepted.outcome.revision, accepted.outcome.actor) == (
        "add_utterance",
        router.revision,
        "bob",
    )
    entry = router.history(limit=1)[0]
    assert (entry.route, entry.actor, entry.cause) == ("r1", "bob", f"feedback {feedback.id}: add_utterance")
    assert router.get_route("r1").utterances == (*before["r1"].utterances, "r9 stray thing")
    assert {each.name: each for each in router.routes if each.name != "r1"} == {
        name: each for name, each in before.items() if name != "r1"
    }
    assert router("r9 stray thing").name == "r1"
    router.rollback(feedback.proposal.revision if feedback.proposal else 0)
    assert router.get_route("r1") == before["r1"]
    with pytest.raises(InvalidInputError, match="accepted already"):
        corrections.accept(feedback.id, "nothing")
    with pytest.raises(InvalidInputError, match="accepted already"):
        corrections.propose(feedback.id)


def test_nothing_is_accepted_that_does_not_hold_any_more(router: AdaptiveRouter, corrections: Corrections) -> None:
    feedback, _ = proposed(corrections, "r9 stray thing", "r1")
    with pytest.raises(InvalidInputError, match="no such option"):
        corrections.accept(feedback.id, "set_threshold")
    router.update_threshold("r4", 0.1)
    before = state(router)
    with pytest.raises(RevisionConflictError, match="have it proposed again"):
        corrections.accept(feedback.id, "add_utterance")
    assert state(router) == before
    assert corrections.get(feedback.id).state is FeedbackState.PROPOSED
    corrections.propose(feedback.id)
    router.set_operating_point(0.4)
    with pytest.raises(RevisionConflictError):
        corrections.accept(feedback.id, "add_utterance")
    corrections.propose(feedback.id)
    corrections.accept(feedback.id, "add_utterance")
    fresh = corrections.add("another", "r1")
    with pytest.raises(InvalidInputError, match="nothing was proposed"):
        corrections.accept(fresh.id, "add_utterance")


def test_an_expected_route_that_is_gone_is_said(router: AdaptiveRouter, corrections: Corrections) -> None:
    feedback = corrections.add("r9 stray thing", "r4")
    router.delete_route("r4")
    with pytest.raises(InvalidInputError, match="no route 'r4' any more"):
        corrections.propose(feedback.id)


def test_of_many_who_accept_at_once_one_does(router: AdaptiveRouter, corrections: Corrections, tmp_path: Path) -> None:
    feedback, _ = proposed(corrections, "r9 stray thing", "r1")
    others = [Corrections(router, SQLiteFeedback(tmp_path / "routes.db-feedback")) for _ in range(4)]

    def accept(each: Corrections) -> bool:
        try:
            each.accept(feedback.id, "add_utterance")
        except (RevisionConflictError, InvalidInputError):
            return False
        return True

    before = router.revision
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(accept, others)) == 1
    assert router.revision == before + 1


def test_the_same_said_again_while_it_is_accepted_takes_nothing_back(
    router: AdaptiveRouter, corrections: Corrections
) -> None:
    feedback, _ = proposed(corrections, "r9 stray thing", "r1")
    with ThreadPoolExecutor(5) as pool:
        said = [pool.submit(corrections.add, "r9 stray thing", "r1") for _ in range(8)]
        accepted = pool.submit(corrections.accept, feedback.id, "add_utterance").result()
        numbers = {each.result().id for each in said}
    assert accepted.state is FeedbackState.ACCEPTED
    assert "r9 stray thing" in router.get_route("r1").utterances
    assert corrections.get(feedback.id).state is FeedbackState.ACCEPTED
    assert numbers <= {feedback.id, feedback.id + 1}


def test_dismissing_keeps_the_record_and_forgetting_does_not(router: AdaptiveRouter, corrections: Corrections) -> None:
    before = state(router)
    feedback, _ = proposed(corrections, "r9 stray thing", "r1")
    dismissed = corrections.dismiss(feedback.id, note="it belongs to r2 after all")
    assert dismissed.state is FeedbackState.DISMISSED
    assert dismissed.outcome is not None
    assert (dismissed.outcome.option, dismissed.outcome.actor) == (None, "ann")
    assert dismissed.proposal == feedback.proposal
    assert corrections.listed(state="dismissed") == (dismissed,)
    with pytest.raises(InvalidInputError, match="dismissed already"):
        corrections.accept(feedback.id, "add_utterance")
    assert corrections.add("r9 stray thing", "r1").id != feedback.id
    corrections.forget(feedback.id)
    with pytest.raises(FeedbackNotFoundError):
        corrections.get(feedback.id)
    assert state(router) == before


def test_a_router_with_a_confidence_of_its_own_is_offered_no_operating_point(tmp_path: Path) -> None:
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(tmp_path / "own.db"), min_confidence=1.0) as router:
        router.add_routes(route(name, *range(5)) for name in NAMES)
        _, options = proposed(Corrections(router), "r3 wanted", "r3")
        assert set(options) == {"add_utterance", "nothing"}


def test_several_servers_over_postgres_share_the_loop(postgres: PostgresServer) -> None:
    schema = postgres.schema()

    def over() -> AdaptiveRouter:
        return AdaptiveRouter(SeededEncoder(), PostgresStorage(postgres.dsn(), schema=schema))

    with over() as one, over() as other:
        one.add_routes(route(name, *range(5)) for name in NAMES)
        one.add_utterance("r2", "r9 stray")
        number = Corrections(one).add("r9 stray thing", "r1").id
        other.refresh()
        feedback = Corrections(other).propose(number)
        assert feedback.proposal is not None
        one.wait_until_fitted()
        Corrections(one).accept(number, "add_utterance")
        other.refresh()
        assert other("r9 stray thing").name == "r1"
        with pytest.raises(InvalidInputError, match="accepted already"):
            Corrections(other).accept(number, "add_utterance")
