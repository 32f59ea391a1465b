"""Notes: small named values that a commit keeps in its own transaction."""

from __future__ import annotations

from pathlib import Path

import pytest

from synaptoroute.errors import RevisionConflictError
from synaptoroute.storage import SQLiteStorage
from synaptoroute.storage.base import EncoderIdentity, PutRoute
from tests.seeded import DIM, route, vectors_of

ENCODER = EncoderIdentity(name="seeded", dim=DIM, fingerprint="seeded-1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "routes.db"


def put(name: str) -> PutRoute:
    new = route(name)
    return PutRoute(route=new, added=new.utterances, vectors=vectors_of(new.utterances))


def test_notes_are_kept_replaced_and_deleted_with_a_commit(path: Path) -> None:
    storage = SQLiteStorage(path)
    notes = {"a/1": b"one", "a/2": b"", "b": b"\x00\xff"}
    storage.commit([put("a")], encoder=ENCODER, expected_revision=0, notes=notes)
    storage.commit([put("b")], encoder=ENCODER, expected_revision=1, notes={"a/1": b"two", "b": None, "never": None})
    storage.close()
    with_another_process = SQLiteStorage(path)
    assert with_another_process.notes() == {"a/1": b"two", "a/2": b""}
    with_another_process.close()


def test_a_commit_that_fails_keeps_no_note() -> None:
    storage = SQLiteStorage(":memory:")
    with pytest.raises(RevisionConflictError):
        storage.commit([put("a")], encoder=ENCODER, expected_revision=7, notes={"a": b"1"})
    torn = PutRoute(route=route("a"), added=("a 0", "a 0"), vectors=vectors_of(["a 0", "a 0"]))
    with pytest.raises(Exception, match="UNIQUE"):
        storage.commit([torn], encoder=ENCODER, expected_revision=0, notes={"a": b"1"})
    assert storage.notes() == {}
    storage.close()


def test_notes_alone_leave_the_revision_and_earlier_states_as_they_are() -> None:
    storage = SQLiteStorage(":memory:")
    storage.commit([put("a")], encoder=ENCODER, expected_revision=0)
    before = storage.state()
    storage.save_notes({"a": b"1", "b": b"2"})
    storage.save_notes({"a": None})
    assert storage.notes() == {"b": b"2"}
    assert storage.state() == before
    storage.close()


def test_notes_are_found_by_the_beginning_of_their_names() -> None:
    storage = SQLiteStorage(":memory:")
    names = ["a", "a/", "a/b", "a/ü", "a/\U0010ffff", "a0", "A/b", "a%b", "b"]
    storage.save_notes(dict.fromkeys(names, b"."))
    assert list(storage.notes("a/")) == ["a/", "a/b", "a/ü", "a/\U0010ffff"]
    assert list(storage.notes("a%")) == ["a%b"]
    assert len(storage.notes()) == len(names)
    storage.close()
