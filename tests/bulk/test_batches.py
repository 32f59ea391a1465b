from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from synaptoroute import AdaptiveRouter
from synaptoroute.bulk import ADDED, BulkColumns, Unrouted, route_batches
from synaptoroute.encoder.base import Vectors
from synaptoroute.errors import (
    EncoderError,
    EncoderUnavailableError,
    InvalidInputError,
    RouteNotFoundError,
)
from tests import seeded
from tests.bulk.conftest import rows


def batch(texts: Sequence[str | None], kind: pa.DataType | None = None) -> pa.RecordBatch:
    return pa.record_batch({"text": pa.array(texts, kind or pa.string())})


def routed(router: AdaptiveRouter, texts: Sequence[str | None], **options: Any) -> list[dict[str, Any]]:
    """The rows that come out for one batch of these texts."""
    (out,) = route_batches(router, [batch(texts)], **options)
    rows: list[dict[str, Any]] = out.to_pylist()
    return rows


# ---------------------------------------------------------------------------------------------------- decisions
def test_every_row_gets_what_the_router_decides_for_its_text(router: AdaptiveRouter) -> None:
    texts = ["billing now", "weather here", "  greeting  ", "nothing of these", "billing now"]
    out = routed(router, texts)
    for text, row, decision in zip(texts, out, router.route_many(texts), strict=True):
        assert row["text"] == text
        assert row["route_name"] == decision.name
        assert row["route_score"] == pytest.approx(decision.score, abs=1e-5)
        assert row["route_confidence"] == pytest.approx(decision.confidence, abs=1e-5)
        assert row["route_reason"] == decision.reason
        assert row["route_runner_up"] == decision.matches[1].name
        assert row["route_revision"] == router.revision
    assert {row["route_name"] for row in out} == {"billing", "weather", "greeting", None}


def test_how_rows_are_put_into_batches_and_threads_does_not_matter(router: AdaptiveRouter) -> None:
    table = rows(100)
    whole = pa.Table.from_batches(route_batches(router, table.to_batches())).to_pylist()
    small = pa.Table.from_batches(route_batches(router, table.to_batches(max_chunksize=7), alone=True)).to_pylist()
    for one, other in zip(whole, small, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_a_text_is_encoded_once_a_batch() -> None:
    encoder = seeded.SeededEncoder()
    with AdaptiveRouter(encoder) as router:
        router.add_route(seeded.route("billing"))
        router.wait_until_fitted()
        before = encoder.encoded
        assert len(routed(router, ["billing a", "billing b", "billing a", None, " billing b"])) == 5
        assert encoder.encoded - before == 2


def test_options_are_as_of_route(router: AdaptiveRouter) -> None:
    (row,) = routed(router, ["billing now"], allow=["weather"], threshold=-1)
    assert (row["route_name"], row["route_runner_up"]) == ("weather", None)
    (row,) = routed(router, ["billing now"], threshold=1)
    assert (row["route_name"], row["route_reason"]) == (None, "below_threshold")
    (row,) = routed(router, ["billing now"], min_confidence=1)
    assert (row["route_name"], row["route_reason"]) == (None, "below_confidence")
    with pytest.raises(InvalidInputError, match="threshold is 2"):
        route_batches(router, [], threshold=2)
    with pytest.raises(RouteNotFoundError):
        route_batches(router, [], allow=["gone"])


def test_the_routers_own_least_confidence_holds() -> None:
    with AdaptiveRouter(seeded.SeededEncoder(), min_confidence=1) as router:
        router.add_routes([seeded.route("billing"), seeded.route("weather")])
        assert routed(router, ["billing now"])[0]["route_reason"] == "below_confidence"


def test_all_batches_are_of_one_revision_while_routes_change() -> None:
    with AdaptiveRouter(seeded.SeededEncoder()) as router:
        router.add_routes([seeded.route("billing"), seeded.route("weather")])
        out = route_batches(router, [batch(["billing now"]), batch(["billing now"])])
        first = next(out).to_pylist()
        router.delete_route("billing")
        assert next(out).to_pylist() == first
        assert first[0]["route_name"] == "billing"


def test_a_router_without_routes_abstains_everywhere() -> None:
    with AdaptiveRouter(seeded.SeededEncoder()) as router:
        (row,) = routed(router, ["billing now"])
    assert row["route_reason"] == "no_routes"
    assert row["route_name"] is row["route_score"] is row["route_runner_up"] is None


# ------------------------------------------------------------------------------------- texts that are none
def test_a_text_that_cannot_be_routed_has_a_reason_and_nothing_else(router: AdaptiveRouter) -> None:
    out = routed(router, [None, "", " \n", "x" * 32_769, "billing now"])
    reasons = [row["route_reason"] for row in out]
    assert reasons == ["missing_text", "empty_text", "empty_text", "text_too_long", "matched"]
    for row in out[:4]:
        assert {name for name in ADDED if row[f"route_{name}"] is not None} == {"reason"}


def test_bytes_that_are_not_utf8_have_a_reason(router: AdaptiveRouter) -> None:
    # Arrow takes them for strings without looking.
    texts = pa.StringArray.from_buffers(2, pa.py_buffer(b"\0\0\0\0\2\0\0\0\5\0\0\0"), pa.py_buffer(b"\xff\xfeabc"))
    (out,) = route_batches(router, [pa.record_batch({"text": texts})])
    assert out.column("route_reason")[0].as_py() == Unrouted.INVALID
    assert out.column("route_reason")[1].as_py() != Unrouted.INVALID


class FailingEncoder(seeded.SeededEncoder):
    """Raises on texts with a certain word, as one with a shorter limit would."""

    error: Exception = ValueError("too many tokens")

    def encode(self, texts: Sequence[str]) -> Vectors:
        if any("poison" in text for text in texts):
            raise self.error
        return super().encode(texts)


@pytest.fixture
def failing() -> FailingEncoder:
    return FailingEncoder()


@pytest.fixture
def fragile(failing: FailingEncoder) -> AdaptiveRouter:
    router = AdaptiveRouter(failing)
    router.add_routes([seeded.route("billing"), seeded.route("weather")])
    return router


def test_a_text_the_encoder_fails_on_has_a_reason_and_the_others_are_routed(fragile: AdaptiveRouter) -> None:
    out = routed(fragile, ["billing 1", "poison", "billing 2", "poison"])
    assert [row["route_reason"] for row in out] == ["matched", "not_encoded", "matched", "not_encoded"]
    fragile.close()


def test_an_encoder_that_fails_on_everything_or_is_away_ends_the_run(
    fragile: AdaptiveRouter, failing: FailingEncoder
) -> None:
    with pytest.raises(EncoderError, match="too many tokens"):
        routed(fragile, ["poison 1", "poison 2"])
    failing.error = EncoderUnavailableError("gone")
    with pytest.raises(EncoderUnavailableError):
        routed(fragile, ["billing 1", "poison 2"])
    fragile.close()


# ------------------------------------------------------------------------------------------------------ columns
def test_the_schema_is_this(router: AdaptiveRouter) -> None:
    given = pa.schema([("id", pa.int32()), ("text", pa.string())], metadata={"whose": "mine"})
    (out,) = route_batches(router, [pa.record_batch([pa.array([1], pa.int32()), ["billing now"]], schema=given)])
    assert out.schema.metadata == given.metadata
    assert [(field.name, str(field.type)) for field in out.schema] == [
        ("id", "int32"),
        ("text", "string"),
        ("route_name", "string"),
        ("route_score", "double"),
        ("route_confidence", "double"),
        ("route_reason", "string"),
        ("route_runner_up", "string"),
        ("route_revision", "int64"),
        ("route_stage", "string"),
    ]


def test_some_columns_under_another_prefix_come_in_their_usual_order(router: AdaptiveRouter) -> None:
    columns = BulkColumns(text="said", add=("revision", "name"), prefix="to_")
    (out,) = route_batches(router, [pa.record_batch({"said": ["billing now"], "route_name": ["?"]})], columns=columns)
    assert out.to_pylist() == [
        {"said": "billing now", "route_name": "?", "to_name": "billing", "to_revision": router.revision}
    ]


def test_an_empty_batch_has_the_schema_too(router: AdaptiveRouter) -> None:
    (empty,), (full,) = (route_batches(router, [batch(texts)]) for texts in ([], ["billing"]))
    assert empty.num_rows == 0
    assert empty.schema == full.schema


@pytest.mark.parametrize(
    "kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string()), pa.null()], ids=str
)
def test_strings_of_every_kind_are_texts(router: AdaptiveRouter, kind: pa.DataType) -> None:
    texts = [None] if kind == pa.null() else ["billing now", None]
    (out,) = route_batches(router, [batch(texts, kind)])
    assert out.column("route_reason").to_pylist() == ["missing_text" if text is None else "matched" for text in texts]
    assert out.schema.field("text").type == kind


@pytest.mark.parametrize(
    ("given", "columns", "message"),
    [
        ({"said": ["a"]}, BulkColumns(), "no such column; there are said"),
        ({"text": [1]}, BulkColumns(), "type int64, wanted strings"),
        ({"text": ["a"], "route_name": ["b"]}, BulkColumns(), "'route_name' already; choose another prefix"),
        ({"text": ["a"]}, BulkColumns(prefix="", text="name"), "no such column"),
    ],
)
def test_columns_that_do_not_fit_are_refused(
    router: AdaptiveRouter, given: dict[str, list[Any]], columns: BulkColumns, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        next(route_batches(router, [pa.record_batch(given)], columns=columns))


def test_two_columns_of_texts_are_one_too_many(router: AdaptiveRouter) -> None:
    twice = pa.RecordBatch.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    with pytest.raises(InvalidInputError, match="two columns of that name"):
        next(route_batches(router, [twice]))


@pytest.mark.parametrize("add", [(), ("name", "colour")])
def test_only_what_a_decision_has_can_be_added(add: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInputError, match="wanted of name, score"):
        BulkColumns(add=add)
