"""SyncContract: what every sync manager promises (see ``BaseSyncManager``). Import it from ``synaptoroute.testing``."""
# ruff: noqa: S101 - these are tests

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synaptoroute.errors import EncoderError, InvalidInputError, SynaptoRouteError
from synaptoroute.models import Route
from synaptoroute.router import AdaptiveRouter
from synaptoroute.storage.base import Vectors
from synaptoroute.storage.sqlite import SQLiteStorage
from synaptoroute.sync.base import BaseSyncManager

_DIM = 16
#: How long replicas may take to come to the same on a busy machine.
_PATIENCE_S = 30.0


class _Hashing:
    """Vectors from a hash of the text; or an error, for a replica that must not need them."""

    def __init__(self, fingerprint: str = "hashing-1", *, works: bool = True) -> None:
        self.name, self.dim, self.fingerprint = "hashing", _DIM, fingerprint
        self._works = works

    def encode(self, texts: Sequence[str]) -> Vectors:
        if not self._works:
            raise EncoderError(f"asked to encode {len(texts)} texts")
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) for text in texts]
        rows = [np.random.default_rng(seed).normal(size=_DIM) for seed in seeds]
        return np.asarray([row / np.linalg.norm(row) for row in rows], np.float32).reshape(-1, _DIM)


class _Replicas:
    """Routers of one fleet, by name; each has a file of its own."""

    def __init__(self, contract: SyncContract, folder: Path) -> None:
        self._contract = contract
        self._folder = folder
        self._open: dict[str, AdaptiveRouter] = {}

    def __getitem__(self, name: str) -> AdaptiveRouter:
        """The router of that name, opened if it is not."""
        if name not in self._open:
            self._open[name] = self.opened(name, _Hashing())
        return self._open[name]

    def opened(self, name: str, encoder: _Hashing) -> AdaptiveRouter:
        with ExitStack() as on_error:
            storage = SQLiteStorage(self._folder / f"{name}.db")
            on_error.callback(storage.close)
            self._open[name] = AdaptiveRouter(encoder, storage, sync_manager=self._contract.make())
            on_error.pop_all()
        return self._open[name]

    def close(self, name: str) -> None:
        self._open.pop(name).close()

    def close_all(self) -> None:
        for name in list(self._open):
            self.close(name)

    def same(self, *names: str) -> dict[str, Any]:
        """What these hold once each has seen all of the others, which must be the same; with the vectors."""
        routers = [self[name] for name in names]
        with ThreadPoolExecutor(len(routers)) as pool:
            # Twice: what one had still to publish, another may not have waited for.
            for _ in range(2):
                assert all(pool.map(lambda router: _manager(router).wait(_PATIENCE_S), routers))
        first, *others = map(_held, routers)
        assert all(other == first for other in others)
        health = [_manager(router).health() for router in routers]
        assert len({each.digest for each in health}) == 1
        assert {(each.routes, each.outbox) for each in health} == {(len(first), 0)}
        return first


class SyncContract:
    """A subclass defines ``make``. Replicas are real routers with real files.

    ::

        class TestMySync(SyncContract):
            def make(self):
                return MySyncManager(...)
    """

    def make(self) -> BaseSyncManager:
        """A sync manager for one more replica; those made in one test belong together, and to no other test's."""
        raise NotImplementedError("define `make` in your subclass")

    @pytest.fixture
    def replicas(self, tmp_path: Path) -> Iterator[_Replicas]:
        """Routers by name."""
        replicas = _Replicas(self, tmp_path)
        yield replicas
        replicas.close_all()

    def test_every_kind_of_change_reaches_the_others(self, replicas: _Replicas) -> None:
        """Add, put, update, add and remove utterances, delete."""
        one = replicas["one"]
        one.add_routes([_route("a"), _route("b"), _route("c")])
        one.update_route("a", threshold=-0.5, description="ß", metadata={"n": [1, 2.5, None, {"m": True}]})
        one.add_utterance("b", "b too")
        one.remove_utterance("b", "b 0")
        one.put_routes([_route("c", "other"), _route("d")])
        one.delete_route("d")
        held = replicas.same("one", "two")
        assert sorted(held) == ["a", "b", "c"]
        assert held["a"][0]["metadata"] == {"n": (1, 2.5, None, {"m": True})}
        assert held["b"][0]["utterances"] == ("b 1", "b too")

    def test_nobody_encodes_what_another_has_encoded(self, replicas: _Replicas) -> None:
        """Vectors come with the changes, bit for bit."""
        replicas["one"].add_route(_route("a"))
        assert _manager(replicas["one"]).wait(_PATIENCE_S)
        replicas.opened("two", _Hashing(works=False))
        replicas["one"].add_route(_route("b"))
        assert sorted(replicas.same("one", "two")) == ["a", "b"]

    def test_what_happened_while_a_replica_was_away_is_made_up_for(self, replicas: _Replicas) -> None:
        """It goes on where it was, also with what it has changed alone."""
        replicas["one"].add_routes([_route("a"), _route("b")])
        replicas.same("one", "two")
        replicas.close("two")
        replicas["one"].delete_route("a")
        replicas["one"].update_threshold("b", 0.5)
        replicas["one"].add_route(_route("c"))
        held = replicas.same("one", "two", "three")
        assert sorted(held) == ["b", "c"]
        assert held["b"][0]["threshold"] == 0.5

    def test_what_was_dropped_does_not_come_back(self, replicas: _Replicas) -> None:
        """Not by a replica that still has it, nor by one that is new."""
        replicas["one"].add_route(_route("a"))
        replicas.same("one", "two")
        replicas.close("two")
        replicas["one"].delete_route("a")
        replicas.close("one")
        assert replicas.same("one", "two", "three") == {}
        replicas["two"].add_route(_route("a", "again"))
        assert sorted(replicas.same("one", "two", "three")) == ["a"]

    def test_all_decide_alike_between_changes_at_the_same_time(self, replicas: _Replicas) -> None:
        """One order decides; each route is wholly as one of the changes says."""
        names = ("one", "two", "three")
        replicas.same(*names)
        for number in range(5):
            with ThreadPoolExecutor(3) as pool:
                list(pool.map(lambda name, n=number: replicas[name].put_routes([_route("a", f"{name} {n}")]), names))
            said = replicas.same(*names)["a"][0]["utterances"]
            assert said in {(f"a {name} {number}",) for name in names}

    def test_changes_of_many_threads_and_replicas_all_arrive(self, replicas: _Replicas) -> None:
        """Nothing acknowledged is lost."""
        names = ("one", "two")
        replicas.same(*names)
        with ThreadPoolExecutor(4) as pool:
            jobs = [(replicas[name], f"{name} {number}") for number in range(20) for name in names]
            list(pool.map(lambda job: job[0].add_route(_route(job[1])), jobs))
        assert len(replicas.same(*names)) == 40

    def test_a_change_that_fails_reaches_nobody(self, replicas: _Replicas) -> None:
        """All of it or nothing."""
        replicas["one"].add_route(_route("a"))
        with pytest.raises(InvalidInputError):
            replicas["one"].add_routes([_route("b"), _route("a")])
        assert sorted(replicas.same("one", "two")) == ["a"]

    def test_vectors_of_another_encoder_are_refused(self, replicas: _Replicas) -> None:
        """They are never mixed."""
        replicas["one"].add_route(_route("a"))
        assert _manager(replicas["one"]).wait(_PATIENCE_S)
        with pytest.raises(SynaptoRouteError):
            replicas.opened("two", _Hashing("hashing-2"))
        assert sorted(replicas.same("one")) == ["a"]

    def test_a_manager_belongs_to_one_router(self, replicas: _Replicas) -> None:
        """Attaching it to another is an error."""
        with pytest.raises(SynaptoRouteError):
            AdaptiveRouter(_Hashing(), sync_manager=_manager(replicas["one"]))

    def test_closing_twice_is_fine_and_health_goes_on(self, replicas: _Replicas) -> None:
        """It says that it has stopped."""
        manager = _manager(replicas["one"])
        replicas.close("one")
        manager.close()
        assert manager.health().state == "stopped"


def _route(name: str, *says: str) -> Route:
    return Route(name=name, utterances=[f"{name} {said}" for said in says or ("0", "1")])


def _manager(router: AdaptiveRouter) -> BaseSyncManager:
    manager = router.sync_manager
    assert manager is not None
    return manager


def _held(router: AdaptiveRouter) -> dict[str, Any]:
    table = router.snapshot
    vectors, places = table.vectors_by_route()
    return {
        route.name: (route.model_dump(), vectors[places == place].tobytes()) for place, route in enumerate(table.routes)
    }
