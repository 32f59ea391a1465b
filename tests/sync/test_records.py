"""Records of routes: what goes out comes back bit for bit, and nothing else is believed."""

from __future__ import annotations

import json
import re
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synaptoroute import Route
from synaptoroute.storage.base import EncoderIdentity
from synaptoroute.sync.records import (
    PoisonError,
    content_of,
    digest_of,
    estimated_bytes,
    packed,
    unpacked,
    unpacked_many,
)
from tests.seeded import DIM, route, vectors_of

ENCODER = EncoderIdentity(name="seeded", dim=DIM, fingerprint="seeded-1")
KEY = b"sixteen or more of them"
ROUTE = Route(
    name="billing ß", utterances=["a ü", "b \x00 c"], threshold=0.1, description="d", metadata={"z": 1, "a": [None]}
)


def record(key: bytes | None = None) -> bytes:
    return packed(ROUTE.name, (ROUTE, vectors_of(ROUTE.utterances)), ENCODER, key).content


@given(
    utterances=st.lists(st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip), min_size=1, max_size=4),
    threshold=st.one_of(st.none(), st.floats(-1, 1)),
    metadata=st.dictionaries(
        st.text(st.characters(codec="utf-8")),
        st.one_of(
            st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(st.characters(codec="utf-8"))
        ),
    ),
    key=st.one_of(st.none(), st.binary(min_size=16)),
)
@settings(deadline=None, max_examples=100)
def test_comes_back_bit_for_bit(
    utterances: list[str], threshold: float | None, metadata: dict[str, object], key: bytes | None
) -> None:
    sent = Route(name="r", utterances=utterances, threshold=threshold, metadata=metadata)
    vectors = vectors_of(sent.utterances)
    one = packed("r", (sent, vectors), ENCODER, key)
    got = unpacked(one.content, ENCODER, key)
    assert got.route == sent
    assert got.vectors.tobytes() == vectors.tobytes()
    assert got.digest == one.digest == digest_of(sent, vectors)
    assert len(one.content) <= estimated_bytes(sent, DIM)


def test_a_dropped_route_is_its_name() -> None:
    got = unpacked(packed("a", None, ENCODER, KEY).content, ENCODER, KEY)
    assert (got.name, got.route, got.digest) == ("a", None, "-")


def test_the_digest_changes_with_anything() -> None:
    vectors = vectors_of(ROUTE.utterances)
    others = [
        ROUTE.replaced(**{field: value})
        for field, value in {"name": "x", "threshold": None, "description": None, "metadata": {"z": 1}}.items()
    ]
    turned = vectors[::-1]
    digests = {digest_of(other, vectors) for other in (ROUTE, *others)} | {digest_of(ROUTE, turned)}
    assert len(digests) == 6


@pytest.mark.parametrize("key", [None, KEY])
def test_no_single_flipped_bit_is_believed_or_does_harm(key: bytes | None) -> None:
    good = record(key)
    digest = unpacked(good, ENCODER, key).digest
    for place in range(len(good)):
        bad = bytearray(good)
        bad[place] ^= 1 << place % 8
        try:
            got = unpacked(bytes(bad), ENCODER, key)
        except PoisonError:
            continue
        # Without a key, what still makes sense is another route, as its digest tells.
        assert key is None
        assert got.digest != digest


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_garbage_is_poison(content: bytes) -> None:
    for key in (None, KEY):
        with pytest.raises(PoisonError):
            unpacked(content, ENCODER, key)
    with pytest.raises(PoisonError):
        unpacked(b"SR1" + content, ENCODER, None)


def made(head: object = None, content: object = None, rows: bytes | None = None) -> bytes:
    head = {"encoder": "seeded-1", "dim": DIM, "drop": False} if head is None else head
    content = ["a", ["a 0"], None, None, {}] if content is None else content
    rows = vectors_of(["a 0"]).tobytes() if rows is None else rows
    texts = [
        part if isinstance(part, bytes) else json.dumps(part, separators=separators).encode()
        for part, separators in ((head, None), (content, (",", ":")))
    ]
    return b"SR1" + struct.pack("<III", len(texts[0]), len(texts[1]), len(rows)) + texts[0] + texts[1] + rows


@pytest.mark.parametrize(
    "bad",
    [
        made(head=[]),
        made(head={}),
        made(head={"encoder": "another", "dim": DIM}),
        made(head={"encoder": "seeded-1", "dim": DIM + 1}),
        made(head={"encoder": "seeded-1", "dim": DIM, "drop": True}),
        made(head=b"[" * 5_000),
        made(content={}),
        made(content=[]),
        made(content=b"[" * 100_000),
        made(content=["a", "a 0", None, None, {}]),
        made(content=["a", [" a 0"], None, None, {}]),
        made(content=["a", ["a 0", "a 0"], None, None, {}]),
        made(content=["a", [], None, None, {}], rows=b""),
        made(content=["a", ["a 0"], 7, None, {}]),
        made(content=["a", ["a 0"], None, None, None]),
        made(content=["../a\n", ["a 0"], None, None, {}]),
        made(content=["a", [b"\xff".decode(errors="surrogateescape")], None, None, {}]),
        made(content=["a", [1], None, None, {}]),
        made(rows=b""),
        made(rows=np.full(DIM, np.nan, "<f4").tobytes()),
        made(rows=np.full(DIM, np.inf, "<f4").tobytes()),
        made(rows=np.zeros(DIM, "<f4").tobytes()),
        made(rows=np.ones(DIM, "<f4").tobytes()),
        made() + b"more",
        made(rows=b"\x00" * (33 << 20)),
        b"\x80\x04cos\nsystem\n(S'true'\ntR.",
    ],
    ids=range(26),
)
def test_what_is_no_route_is_poison(bad: bytes) -> None:
    with pytest.raises(PoisonError):
        unpacked(bad, ENCODER, None)


def test_what_is_made_by_hand_as_a_replica_makes_it_is_no_poison() -> None:
    """So that each of the cases above fails for its own reason."""
    assert unpacked(made(), ENCODER, None).route == route("a", 0)
    with pytest.raises(PoisonError, match="key"):
        unpacked(record(KEY), ENCODER, None)
    with pytest.raises(PoisonError, match="key"):
        unpacked(record(), ENCODER, KEY)
    with pytest.raises(PoisonError, match="key"):
        unpacked(record(KEY), ENCODER, KEY + b"!")


def test_of_many_records_only_the_bad_ones_are_set_aside() -> None:
    """Their vectors are looked at together, and each record still answers for its own."""
    long = vectors_of(["a 0"]) * np.float32(1.01)
    nan = vectors_of(["a 0"])
    nan[0, -1] = np.nan
    dropped = packed("gone", None, ENCODER, None).content
    contents = [made(), b"garbage", made(rows=long.tobytes()), dropped, record(), made(rows=nan.tobytes()), made()]
    found = unpacked_many(contents, ENCODER, None)
    assert [isinstance(one, PoisonError) for one in found] == [False, True, True, False, False, True, False]
    for content, one in zip(contents, found, strict=True):
        if isinstance(one, PoisonError):
            with pytest.raises(PoisonError, match=re.escape(str(one))):
                unpacked(content, ENCODER, None)
        else:
            alone = unpacked(content, ENCODER, None)
            assert (one.name, one.route, one.digest) == (alone.name, alone.route, alone.digest)
            assert one.vectors.tobytes() == alone.vectors.tobytes()
    assert unpacked_many([], ENCODER, None) == []


@given(
    name=st.sampled_from(["a", "billing ß", "x/y"]),
    utterances=st.lists(st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip), min_size=1, max_size=4),
    threshold=st.one_of(st.none(), st.floats(-1, 1)),
    description=st.one_of(st.none(), st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip)),
    metadata=st.dictionaries(st.text(st.characters(codec="utf-8")), st.lists(st.integers(), max_size=2), max_size=3),
)
@settings(deadline=None, max_examples=100)
def test_content_is_json_without_spaces_and_with_sorted_keys(
    name: str,
    utterances: list[str],
    threshold: float | None,
    description: str | None,
    metadata: dict[str, object],
) -> None:
    """Every release has to write it like this, or digests of replicas of two releases would differ."""
    sent = Route(name=name, utterances=utterances, threshold=threshold, description=description, metadata=metadata)
    fields = [sent.name, sent.utterances, sent.threshold, sent.description, sent.metadata]
    written = json.dumps(fields, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    assert content_of(sent) == written.encode()
