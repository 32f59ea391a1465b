"""The plane that routes are drawn in, and what is told to stand too close."""

from __future__ import annotations

import numpy as np
import pytest

from synaptoroute import AdaptiveRouter, Route
from synaptoroute.encoder.base import Vectors
from synaptoroute.errors import RouteNotFoundError
from synaptoroute.server.projection import Plane, draw
from tests.seeded import SeededEncoder, route, vector


def unit(rows: list[list[float]]) -> Vectors:
    vectors = np.array(rows, np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def test_the_first_axis_is_where_two_routes_differ() -> None:
    # Both routes spread widely along the third axis; their means differ only along the first.
    vectors = unit([[1, 0, 2], [1, 0, -2], [1, 0, 1], [-1, 0, 2], [-1, 0, -2], [-1, 0, 1]])
    plane = Plane.of(vectors, np.array([0, 0, 0, 1, 1, 1]))
    assert abs(plane.axes[0, 0]) > 0.99
    placed = plane.place(vectors)
    assert (placed[:3, 0] > 0).all()
    assert (placed[3:, 0] < 0).all()


def test_axes_are_orthonormal_and_the_same_each_time() -> None:
    random = np.random.default_rng(1)
    vectors = unit(random.normal(size=(60, 16)).tolist())
    owners = np.repeat(np.arange(6), 10)
    plane, again = Plane.of(vectors, owners), Plane.of(vectors, owners)
    assert plane.axes @ plane.axes.T == pytest.approx(np.eye(2), abs=1e-9)
    assert (plane.axes == again.axes).all()
    assert 0 < plane.explained[0] < 1
    assert 0 < sum(plane.explained) <= 1
    # As much variance as is there: the share along an axis is what the coordinates themselves have.
    assert plane.explained[0] == pytest.approx(plane.place(vectors)[:, 0].var() / vectors.var(axis=0).sum(), rel=1e-4)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_there_is_a_map_of_next_to_nothing(count: int) -> None:
    with AdaptiveRouter(SeededEncoder()) as router:
        for number in range(count):
            router.add_route(route(f"route {number}", f"utterance {number}"))
        answer = draw(router.snapshot, 100).answer
    assert (answer["shown"], answer["total"], len(answer["points"])) == (count, count, count)
    assert all(np.isfinite([point["x"], point["y"]]).all() for point in answer["points"])


def test_an_utterance_of_the_wrong_route_is_astray_and_makes_an_overlap() -> None:
    bills, rain = ["bill one", "bill two", "bill three"], ["rain one", "rain two", "bill four"]
    with AdaptiveRouter(SeededEncoder()) as router:
        router.add_routes([Route(name="billing", utterances=bills), Route(name="weather", utterances=rain)])
        answer = draw(router.snapshot, 100).answer
    texts = [*bills, *rain]
    scores = np.array([[vector(one) @ vector(other) for other in texts] for one in texts]) - 2 * np.eye(6)
    wrong = {text for text, row, own in zip(texts, scores, [0] * 3 + [1] * 3, strict=True) if row.argmax() // 3 != own}
    astray = {point["utterance"]: point for point in answer["points"] if "nearest" in point}
    assert set(astray) == wrong
    assert astray["bill four"]["nearest"] == "billing"
    assert astray["bill four"]["score"] == pytest.approx(scores[5].max(), abs=1e-4)
    assert answer["overlaps"] == [
        {"routes": ["billing", "weather"], "count": len(wrong), "share": round(len(wrong) / 6, 4)}
    ]


def test_a_sample_keeps_every_route_and_its_share() -> None:
    with AdaptiveRouter(SeededEncoder()) as router:
        router.add_routes(
            [
                route("large", *(f"large {number}" for number in range(80))),
                route("small", *(f"small {number}" for number in range(20))),
                route("one", "alone"),
            ]
        )
        answer = draw(router.snapshot, 30).answer
        few = draw(router.snapshot, 2).answer
    kept = [point["route"] for point in answer["points"]]
    assert answer["total"] == 101
    assert len(kept) == answer["shown"] <= 30
    assert kept.count("one") == 1
    assert 3.5 < kept.count("large") / kept.count("small") < 4.6
    assert few["shown"] == 2


@pytest.mark.parametrize(
    ("sizes", "limit", "shown"), [((6,) * 50, 250, 250), ((1,) * 49 + (900,), 50, 50), ((9, 1), 1, 1)]
)
def test_a_sample_is_as_large_as_it_may_be(sizes: tuple[int, ...], limit: int, shown: int) -> None:
    with AdaptiveRouter(SeededEncoder()) as router:
        router.add_routes([route(f"r{at}", *range(size)) for at, size in enumerate(sizes)])
        assert draw(router.snapshot, limit).answer["shown"] == shown


def test_points_are_the_utterances_they_say() -> None:
    with AdaptiveRouter(SeededEncoder()) as router:
        router.add_routes([route("a", "one", "two", "three"), route("b", "four", "five")])
        router.remove_utterance("a", "a two")
        router.add_utterance("a", "a six")
        found = draw(router.snapshot, 100)
        vectors = router.encoder.encode([point["utterance"] for point in found.answer["points"]])
    texts = ["a one", "a three", "a six", "b four", "b five"]
    assert [point["utterance"] for point in found.answer["points"]] == texts
    placed = [[point["x"], point["y"]] for point in found.answer["points"]]
    assert found.plane.place(vectors) == pytest.approx(np.array(placed), abs=2e-5)


def test_some_routes_get_a_plane_of_their_own() -> None:
    with AdaptiveRouter(SeededEncoder()) as router:
        router.add_routes([route(name, f"{name} one", f"{name} two") for name in "abcd"])
        some, all_of_them = draw(router.snapshot, 100, ["b", "c"]), draw(router.snapshot, 100)
        with pytest.raises(RouteNotFoundError):
            draw(router.snapshot, 100, ["b", "nothing"])
    assert {point["route"] for point in some.answer["points"]} == {"b", "c"}
    assert sum(some.plane.explained) > sum(all_of_them.plane.explained)
