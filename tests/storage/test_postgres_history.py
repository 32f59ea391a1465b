"""Ways back, and another encoder, for routers that share a store in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from synaptoroute import AdaptiveRouter
from synaptoroute.encoder.base import Vectors
from synaptoroute.errors import EncoderMismatchError, RevisionConflictError
from synaptoroute.storage import PostgresStorage
from synaptoroute.storage import postgres_history as module
from tests.postgres_server import PostgresServer
from tests.seeded import SeededEncoder, route, vectors_of
from tests.storage.test_postgres import eventually


class OtherEncoder(SeededEncoder):
    """The same vectors the other way round, under another fingerprint."""

    name, fingerprint = "other", "other-1"

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.encoded += len(texts)
        return vectors_of(texts)[:, ::-1].copy()


@pytest.fixture
def replicas(postgres: PostgresServer) -> Iterator[list[AdaptiveRouter]]:
    schema = postgres.schema()
    routers = [
        AdaptiveRouter(SeededEncoder(), PostgresStorage(postgres.dsn(), schema=schema, poll_s=60), actor=actor)
        for actor in ("ann", "bob")
    ]
    yield routers
    for router in routers:
        router.close()


def test_one_goes_back_to_what_another_has_changed(replicas: list[AdaptiveRouter]) -> None:
    one, other = replicas
    one.add_routes([route("a"), route("b")])
    before = one.routes
    one.save_snapshot("good")
    other.refresh()
    other.delete_route("a")
    other.update_threshold("b", 0.7)
    one.refresh()
    assert [(entry.actor, entry.operation) for entry in one.history()[:2]] == [("bob", "update"), ("bob", "delete")]
    one.rollback(1)
    assert {each.name: each for each in one.routes} == {each.name: each for each in before}
    other.refresh()
    other.delete_route("b")
    other.use_snapshot("good")
    assert {each.name: each for each in other.routes} == {each.name: each for each in before}


def test_what_another_has_changed_is_not_overwritten_unseen(replicas: list[AdaptiveRouter]) -> None:
    one, other = replicas
    one.add_routes([route("a"), route("b")])
    other.refresh()
    seen = other.route_revision("a")
    one.update_threshold("a", 0.4)
    other.refresh()
    with pytest.raises(RevisionConflictError):
        other.update_route("a", threshold=0.6, expected_revision=seen)
    one.update_threshold("b", 0.4)
    seen = one.route_revision("a")
    assert one.update_route("a", threshold=0.5, expected_revision=seen) == one.revision


def test_one_migrates_to_another_encoder_and_the_rest_go_on_as_they_were(replicas: list[AdaptiveRouter]) -> None:
    one, other = replicas
    one.add_routes([route("a"), route("b"), route("c")])
    assert eventually(lambda: len(other) == 3)
    one.migrate_encoder(OtherEncoder())
    assert one.route("b 1", threshold=-1).name == "b"
    assert other.route("b 1", threshold=-1).name == "b"
    with pytest.raises(EncoderMismatchError):
        other.refresh()
    with pytest.raises(EncoderMismatchError):
        other.add_route(route("d"))
    one.add_route(route("d"))
    assert "d" not in other


def test_old_history_is_forgotten(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ENTRIES", 5)
    with AdaptiveRouter(SeededEncoder(), PostgresStorage(postgres.dsn(), schema=postgres.schema())) as router:
        for number in range(10):
            router.add_route(route(f"r{number}"))
        kept = router.storage.history()
        assert kept.begins == 5
        assert [entry.revision for entry in kept.entries] == [10, 9, 8, 7, 6]
        router.rollback(5)
        assert len(router) == 5
