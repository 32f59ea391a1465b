"""Another encoder: made beside the one in use, part after part, then swapped in one piece, with nothing lost."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from synaptoroute import AdaptiveRouter, Route
from synaptoroute.encoder import BundledEncoder
from synaptoroute.encoder.base import Vectors
from synaptoroute.errors import (
    EncoderError,
    EncoderMismatchError,
    EncoderUnavailableError,
    InvalidInputError,
    RevisionConflictError,
    StorageError,
)
from synaptoroute.migration import FormerEncoder
from synaptoroute.storage import SQLiteStorage
from tests.seeded import DIM, SeededEncoder, route, vectors_of

SOURCE = Path(__file__).parents[1] / "src"
NAMES = ("apple", "berry", "cherry")


class Turned(SeededEncoder):
    """The same directions in another order, and a dimension more: no vector of it means anything to the other."""

    name, dim, fingerprint = "turned", DIM + 1, "turned-1"

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.texts += texts
        rows = super().encode(texts)[:, ::-1]
        return np.concatenate([np.zeros((len(texts), 1), np.float32), rows], axis=1)


class Held(Turned):
    """Waits before each call until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.released = threading.Event(), threading.Event()

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.begun.set()
        assert self.released.wait(60)
        return super().encode(texts)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "routes.db"


@pytest.fixture
def router(path: Path) -> Iterator[AdaptiveRouter]:
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(path)) as router:
        router.add_routes([route(name) for name in NAMES])
        yield router


def turned(texts: Sequence[str]) -> Vectors:
    return Turned().encode(texts)


# ------------------------------------------------------------------------------------------------------ refusing
def test_a_store_of_another_encoder_is_refused_and_the_way_out_named(router: AdaptiveRouter, path: Path) -> None:
    with pytest.raises(EncoderMismatchError, match=r"seeded-1.*turned-1.*migrate-encoder.*migrate_encoder"):
        AdaptiveRouter(Turned(), SQLiteStorage(path))


# ------------------------------------------------------------------------------------------------------ migrating
def test_a_migration_encodes_everything_and_swaps_router_and_store(router: AdaptiveRouter, path: Path) -> None:
    routes = router.routes
    seen: list[tuple[int, int]] = []
    encoder = Turned()
    report = router.migrate_encoder(encoder, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(9, 9)]
    assert (report.former.name, report.current.name, report.revision, report.encoded) == ("seeded", "turned", 2, 9)
    assert router.encoder is encoder
    assert router.settled, "what there is to learn has been learned"
    assert (router.revision, router.routes) == (2, routes)
    assert [router.route(f"{name} asked").name for name in NAMES] == list(NAMES)
    assert router.history(limit=1)[0].operation == "migrate"
    router.close()
    with AdaptiveRouter(Turned(), SQLiteStorage(path)) as again:
        assert again.settled, "what was learned is kept"
        again.add_route(route("damson"))
        assert again("damson asked").name == "damson"
        stored = again.storage.load(again._lane.identity)
        texts = [text for its in stored.routes for text in its.utterances]
        assert stored.vectors.tobytes() == turned(texts).tobytes()
    with pytest.raises(EncoderMismatchError):
        AdaptiveRouter(SeededEncoder(), SQLiteStorage(path))


def test_queries_go_on_and_changes_made_meanwhile_are_included(router: AdaptiveRouter) -> None:
    encoder = Held()
    reports = []
    migration = threading.Thread(target=lambda: reports.append(router.migrate_encoder(encoder)))
    migration.start()
    assert encoder.begun.wait(60)
    assert router("apple asked").name == "apple"
    router.add_route(route("damson"))
    router.add_utterance("apple", "apple more")
    router.delete_route("berry")
    decision = router("damson asked")
    assert (decision.name, decision.revision) == ("damson", 4)
    with pytest.raises(InvalidInputError, match="running already"):
        router.migrate_encoder(Turned())
    encoder.released.set()
    migration.join()
    assert reports[0].revision == 5
    assert {its.name for its in router.routes} == {"apple", "cherry", "damson"}
    table = router.snapshot
    rows = table.index.vectors_of(table.index.rows_of(table.catalog.slot("apple")))
    assert rows.tobytes() == turned(router.get_route("apple").utterances).tobytes()
    assert router("damson asked").revision == 5


def test_no_query_meets_vectors_of_the_other_encoder(router: AdaptiveRouter) -> None:
    """Asked by many threads while encoders are swapped back and forth: a mixture would fail on its dimension."""
    stop = threading.Event()
    wrong: list[object] = []

    def ask(number: int) -> None:
        count = 0
        while not stop.is_set():
            name = NAMES[count % 3]
            try:
                decision = router(f"{name} asked {number} {count % 50}")
                if decision.matches[0].name != name:
                    wrong.append(decision)
            except Exception as exc:  # noqa: BLE001 - whatever it is, it is shown
                wrong.append(exc)
            count += 1
            # Else four threads that only ask would leave the migration a fifth of the interpreter.
            stop.wait(0.001)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for encoder in (Turned(), SeededEncoder()):
        router.migrate_encoder(encoder)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []


async def test_queries_of_an_event_loop_go_on_across_the_swap(router: AdaptiveRouter) -> None:
    migration = threading.Thread(target=router.migrate_encoder, args=(Turned(),))
    migration.start()
    count = 0
    while migration.is_alive() or count < 20:
        assert (await router.aquery(f"apple asked {count}")).matches[0].name == "apple"
        count += 1
    migration.join()
    assert router.encoder.name == "turned"


def test_an_encoder_that_fails_leaves_everything_as_it_was_and_the_next_goes_on(router: AdaptiveRouter) -> None:
    class Failing(Turned):
        def encode(self, texts: Sequence[str]) -> Vectors:
            if "cherry 2" in texts:
                raise ValueError("no such luck")
            return super().encode(texts)

    router.add_routes([route(f"r{number}", *range(100)) for number in range(4)])
    router.update_route("cherry", utterances=["cherry 1"])
    router.add_utterance("cherry", "cherry 2")
    with pytest.raises(EncoderError, match="no such luck"):
        router.migrate_encoder(Failing())
    assert router("apple asked").name == "apple"
    assert (router.encoder.name, router.revision) == ("seeded", 4)
    encoder = Turned()
    report = router.migrate_encoder(encoder)
    assert report.encoded == 408 - 256, "one part had been set aside"


def test_another_process_that_changes_the_store_meanwhile_is_not_overwritten(
    router: AdaptiveRouter, path: Path
) -> None:
    encoder = Held()
    errors: list[Exception] = []

    def migrate() -> None:
        try:
            router.migrate_encoder(encoder)
        except RevisionConflictError as exc:
            errors.append(exc)

    migration = threading.Thread(target=migrate)
    migration.start()
    assert encoder.begun.wait(60)
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(path)) as other:
        other.add_route(route("damson"))
    encoder.released.set()
    migration.join()
    assert "another process" in str(errors[0])
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(path)) as other:
        assert len(other) == 4
        assert other.migrate_encoder(Turned()).encoded == 0, "the damson had been encoded too, only not swapped"


def test_migrating_to_the_present_encoder_removes_what_was_left_and_changes_nothing(router: AdaptiveRouter) -> None:
    storage = router.storage
    identity = AdaptiveRouter(Turned())._lane.identity
    storage.save_reencoded(["apple 0"], turned(["apple 0"]), encoder=identity)
    report = router.migrate_encoder(SeededEncoder())
    assert (report.encoded, report.decisions.compared, router.revision) == (0, 0, 1)
    assert "apple 0" in storage.unencoded(identity)[0]


# ------------------------------------------------------------------------------------------------------ reporting
def test_the_report_is_on_the_queries_that_are_given(router: AdaptiveRouter) -> None:
    queries = ["apple asked", "berry asked", "who knows"]
    before = router.route_many(queries)
    report = router.migrate_encoder(Turned(), queries=queries, labels=["apple", "berry", None])
    after = router.route_many(queries)
    assert (report.basis, report.decisions.compared) == ("given", 3)
    assert report.decisions.changed == sum(a.name != b.name for a, b in zip(before, after, strict=True))
    assert report.right_before == sum(
        d.name == right for d, right in zip(before, ("apple", "berry", None), strict=True)
    )
    assert json.loads(json.dumps(report.to_dict()))["current"]["fingerprint"] == "turned-1"
    assert "seeded -> turned" in str(report)


def test_the_report_is_on_the_labelled_queries_of_fit_if_none_are_given(router: AdaptiveRouter) -> None:
    queries = [f"{name} asked {number}" for name in NAMES for number in range(10)]
    labels = [query.split()[0] for query in queries]
    assert router.fit(queries, labels, force=True).applied
    report = router.migrate_encoder(Turned())
    assert (report.basis, report.decisions.compared) == ("labelled", 30)
    assert report.right_after is not None
    assert report.right_after >= 25
    labelled = router.snapshot.labelled
    assert labelled
    assert labelled.vectors.tobytes() == turned(queries).tobytes(), "they were encoded anew as well"
    assert router.snapshot.fitted


def test_the_report_is_on_held_out_utterances_if_there_is_nothing_else(router: AdaptiveRouter) -> None:
    router.add_route(Route(name="lonely", utterances=["lonely 1"], threshold=0.9))
    report = router.migrate_encoder(Turned())
    assert (report.basis, report.decisions.compared) == ("held out", 3)
    assert (report.right_before, report.thresholds) == (report.right_after, 1)
    with pytest.raises(InvalidInputError, match="labels are given and no queries"):
        router.migrate_encoder(SeededEncoder(), labels=["apple"])
    with pytest.raises(InvalidInputError, match="no route named 'nonsense'"):
        router.migrate_encoder(SeededEncoder(), queries=["x"], labels=["nonsense"])
    with pytest.raises(InvalidInputError, match="1 queries and 2 labels"):
        router.migrate_encoder(SeededEncoder(), queries=["x"], labels=["apple", "berry"])


# --------------------------------------------------------------------------------------- a store whose encoder is gone
class Withdrawn(SeededEncoder):
    """An encoder whose server stops answering."""

    working = True

    def encode(self, texts: Sequence[str]) -> Vectors:
        if not self.working:
            raise EncoderUnavailableError("this model has been withdrawn")
        return super().encode(texts)


def test_a_live_router_can_leave_an_encoder_that_does_not_work_any_more() -> None:
    encoder = Withdrawn()
    with AdaptiveRouter(encoder) as router:
        router.add_routes([route(name) for name in NAMES])
        encoder.working = False
        with pytest.raises(EncoderUnavailableError):
            router("apple asked")
        report = router.migrate_encoder(Turned())
        assert (report.encoded, report.basis) == (9, "held out")
        assert router("apple asked").name == "apple"


def test_a_store_whose_encoder_is_not_at_hand_can_be_migrated(path: Path, encoder: BundledEncoder) -> None:
    routes = [
        Route(name="billing", utterances=["what do I owe", "show my balance", "pay my bill", "the last invoice"]),
        Route(name="weather", utterances=["will it rain", "is it sunny outside", "how cold is it", "a storm coming"]),
    ]
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(path)) as router:
        router.add_routes(routes)
    storage = SQLiteStorage(path)
    identity = storage.encoder()
    assert identity is not None
    with AdaptiveRouter(FormerEncoder(identity), storage) as router:
        with pytest.raises(EncoderUnavailableError, match=r"'seeded' \(seeded-1\), which is not at hand"):
            router("how much do I have to pay?")
        report = router.migrate_encoder(encoder)
        assert (report.encoded, report.basis) == (8, "held out")
        assert router("how much do I have to pay?").matches[0].name == "billing"
        assert router("do I need an umbrella, will it rain?").name == "weather"
    with AdaptiveRouter(encoder, SQLiteStorage(path)) as router:
        assert router.routes == tuple(routes)


# ----------------------------------------------------------------------------------------------------------- a crash
MIGRATION = """
import sys, time
from synaptoroute import AdaptiveRouter
from synaptoroute.storage import SQLiteStorage
from tests.seeded import SeededEncoder
from tests.test_migration import Turned
def progress(done, total):
    print(done, total, flush=True)
    sys.stdin.readline()
with AdaptiveRouter(SeededEncoder(), SQLiteStorage(sys.argv[1])) as router:
    print(router.migrate_encoder(Turned(), progress=progress).encoded, flush=True)
"""


def test_a_killed_migration_goes_on_where_it_was(path: Path) -> None:
    routes = [route(f"r{number}", *range(260)) for number in range(3)]
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(path)) as router:
        router.add_routes(routes)
        router.wait_until_fitted()
        before = router.storage.load(router._lane.identity)
    done: list[int] = []
    for kill_after in (2, 1, None):
        process = subprocess.Popen(
            [sys.executable, "-c", MIGRATION, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=SOURCE.parent,
            env={"PYTHONPATH": f"{SOURCE}:{SOURCE.parent}"},
        )
        assert process.stdin
        assert process.stdout
        lines = []
        while line := process.stdout.readline():
            lines.append([int(word) for word in line.split()])
            if len(lines) == kill_after:
                process.send_signal(signal.SIGKILL)
                break
            if not process.stdin.closed and len(lines[-1]) == 2:
                process.stdin.write("\n")
                process.stdin.flush()
        process.communicate(timeout=60)
        if kill_after is None:
            assert process.returncode == 0
            assert lines[-1] == [780 - sum(done)]
            break
        done.append(lines[-1][0])
        assert lines[0][1] == 780 - sum(done[:-1]), "what was done before the kill is not done again"
        with AdaptiveRouter(SeededEncoder(), SQLiteStorage(path)) as router:
            stored = router.storage.load(router._lane.identity)
            assert stored.vectors.tobytes() == before.vectors.tobytes(), "until the swap nothing has changed"
    assert done == [512, 256]
    storage = SQLiteStorage(path)
    with pytest.raises(EncoderMismatchError):
        AdaptiveRouter(SeededEncoder(), storage)
    with AdaptiveRouter(Turned(), storage) as router:
        stored = router.storage.load(router._lane.identity)
        assert stored.routes == tuple(routes)
        texts = [text for its in stored.routes for text in its.utterances]
        assert stored.vectors.tobytes() == turned(texts).tobytes()


def test_a_store_that_cannot_be_read_after_the_swap_leaves_queries_going(router: AdaptiveRouter) -> None:
    class Unreadable(Turned):
        @property
        def fingerprint(self) -> str:  # type: ignore[override]
            # Asked once for the migration and once when the new table is opened: there, it is another encoder.
            self.asked = getattr(self, "asked", 0) + 1
            return "turned-1" if self.asked == 1 else "turned-2"

    with pytest.raises(StorageError):
        router.migrate_encoder(Unreadable())
    assert router("apple asked").name == "apple"
    with pytest.raises(StorageError, match="holds vectors of turned"):
        router.add_route(route("damson"))


def test_vectors_of(path: Path) -> None:
    """The two encoders of these tests do disagree."""
    assert not np.allclose(turned(["apple"])[:, :DIM], vectors_of(["apple"]))
