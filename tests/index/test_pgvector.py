"""PgVectorIndex keeps the contract, and what it does beyond it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from synaptoroute.decision.two_stage import learn_two_stage
from synaptoroute.errors import InvalidInputError, StorageError
from synaptoroute.index import ExactIndex, PgVectorIndex
from synaptoroute.index.base import Owners, Vectors
from synaptoroute.storage import PostgresStorage
from synaptoroute.storage.base import EncoderIdentity, PutRoute
from synaptoroute.testing import IndexContract
from tests.index.test_exact import random_rows
from tests.postgres_server import PostgresServer
from tests.seeded import SeededEncoder, route, vectors_of

OWNERS = np.repeat(np.arange(400, dtype=np.int32), 5)


class PgVectorContract(IndexContract):
    """Makes indexes in the tests' server and closes them."""

    settings = ""

    @pytest.fixture(autouse=True)
    def _server(self, postgres: PostgresServer) -> Iterator[None]:
        self.postgres, self.made = postgres, list[PgVectorIndex]()
        yield
        for index in self.made:
            index.close()

    def make(self, vectors: Vectors, owners: Owners) -> PgVectorIndex:
        dsn = self.postgres.dsn() + self.settings
        self.made.append(PgVectorIndex.build(dsn, vectors, owners, schema=self.postgres.schema()))
        return self.made[-1]


class TestPgVectorIndexByItsGraph(PgVectorContract):
    """The planner is kept from comparing one by one."""

    recall = 0.95
    settings = " options='-c enable_seqscan=off -c enable_sort=off'"

    def test_the_graph_is_used(self, index: PgVectorIndex) -> None:
        with index._sealed.database.connected("explain") as connection:
            plan = connection.execute(
                "EXPLAIN SELECT id FROM rows WHERE id <= 1500 "
                "ORDER BY vector::halfvec(24) <#> array_fill(0.1::float4, ARRAY[24])::halfvec LIMIT 32"
            ).fetchall()
        assert "rows_nearest" in str(plan)


class TestPgVectorIndexHalfStored(PgVectorContract):
    """The other half is kept in memory; so few rows are compared one by one, which the planner finds cheaper."""

    def make(self, vectors: Vectors, owners: Owners) -> PgVectorIndex:
        half = len(owners) // 2
        return super().make(vectors[:half], owners[:half]).extended(vectors[half:], owners[half:])


def test_what_was_built_can_be_opened_by_others(postgres: PostgresServer) -> None:
    vectors, queries, schema = random_rows(1, 2_000), random_rows(2, 20), postgres.schema()
    built = PgVectorIndex.build(postgres.dsn(), vectors, OWNERS, schema=schema)
    opened = PgVectorIndex.open(postgres.dsn(), vectors.shape[1], schema=schema)
    assert len(opened) == len(built) == 2_000
    np.testing.assert_array_equal(
        opened.search(queries, 5, exact=True).owners, ExactIndex(vectors, OWNERS).search(queries, 5).owners
    )
    assert opened.vectors_of(opened.rows_of(7)).tobytes() == vectors[35:40].tobytes()
    opened.close()
    with pytest.raises(StorageError, match="closed"):
        opened.search(queries, 1)
    built.close()


def test_bad_rows_are_refused(postgres: PostgresServer) -> None:
    for vectors, owners, says in (
        (random_rows(1, 3), OWNERS[:2], "every row needs one"),
        (np.zeros((1, 4_001), np.float32), OWNERS[:1], "pgvector can index 4000"),
    ):
        with pytest.raises(InvalidInputError, match=says):
            PgVectorIndex.build(postgres.dsn(), vectors, owners, schema=postgres.schema())


def test_queries_are_decided_over_the_utterances_of_a_store(postgres: PostgresServer) -> None:
    """A table that need not fit into memory: proposed and weighed in the database, named by the store."""
    store = PostgresStorage(postgres.dsn(), schema=postgres.schema())
    encoder = SeededEncoder()
    identity = EncoderIdentity(name=encoder.name, dim=encoder.dim, fingerprint=encoder.fingerprint)
    puts = [
        PutRoute(route=each, added=each.utterances, vectors=vectors_of(each.utterances))
        for each in (route(f"r{number}", *range(5)) for number in range(300))
    ]
    store.commit(puts, encoder=identity, expected_revision=0)
    index = PgVectorIndex.of_store(store.database, encoder.dim)
    assert len(index) == 1_500
    model = learn_two_stage(index, encoder.encode(["what is this", "nothing of it"]))
    ranking = model.rank(index, encoder.encode([f"r{number} asked" for number in (3, 77, 299)]), 5)
    best = store.routes_by_number(ranking.owners[:, 0].tolist())
    assert [found.name for found in best if found] == ["r3", "r77", "r299"]
    assert (ranking.confidences[:, 0] > 0.5).all()

    exact = ExactIndex(np.concatenate([put.vectors for put in puts]), np.repeat(np.arange(1, 301, dtype=np.int32), 5))
    queries = encoder.encode([f"r{number} asked" for number in range(0, 300, 7)])
    in_memory, in_database = (
        learn_two_stage(each, encoder.encode(["x"])).rank(each, queries, 5) for each in (exact, index)
    )
    np.testing.assert_array_equal(in_memory.owners, in_database.owners)
    np.testing.assert_allclose(in_memory.confidences, in_database.confidences, atol=1e-4)

    more = route("more", *range(5))
    put = PutRoute(route=more, added=more.utterances, vectors=vectors_of(more.utterances))
    store.commit([put], encoder=identity, expected_revision=1)
    assert len(index) == 1_500, "a view shows what there was when it was opened"
    later = PgVectorIndex.of_store(store.database, encoder.dim)
    (owner,) = later.search(encoder.encode(["more 3"]), 1).owners[0].tolist()
    assert store.routes_by_number([owner, 0]) == (more, None)
    for each in (index, later, store):
        each.close()
