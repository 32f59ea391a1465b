"""What is to be near and what far, and what the losses make of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from training.examples import Example, example
from training.losses import anchor, contrastive, masks, relations
from training.trainer import schedule


def batch(*items: Example, cosine: float = 0.0) -> tuple[list[Example], Any]:
    return list(items), np.full((len(items), len(items)), cosine, np.float32)


def pairs(items: list[Example], original: Any, **alike_from: float) -> tuple[list[list[int]], list[list[int]]]:
    near, far = masks(items, original, same_meaning=0.5, alike_from=alike_from)
    assert (near == near.T).all()
    assert (far == far.T).all()
    assert not (near & far).any()
    assert not near.diagonal().any()
    return np.argwhere(np.triu(near)).tolist(), np.argwhere(np.triu(far)).tolist()


class TestMasks:
    def test_texts_of_one_route_are_near_and_of_two_far(self) -> None:
        near, far = pairs(*batch(example("a", "x", "s"), example("b", "x", "s"), example("c", "y", "s")))
        assert near == [[0, 1]]
        assert far == [[0, 2], [1, 2]]

    def test_intents_in_common_are_left_out_of_account(self) -> None:
        one = Example(text="a", routes=frozenset({"card", "lost"}), source="s")
        other = Example(text="b", routes=frozenset({"card", "fee"}), source="s")
        assert pairs(*batch(one, other)) == ([], [])

    def test_texts_of_two_sources_are_far_only_if_the_original_says_so(self) -> None:
        items = example("a", "weather", "s"), example("b", "GetWeather", "t")
        assert pairs(*batch(*items, cosine=0.7)) == ([], [])
        assert pairs(*batch(*items, cosine=0.2)) == ([], [[0, 1]])

    def test_a_refusal_is_far_from_any_request_however_alike_they_look(self) -> None:
        items = example("play it", "x", "s"), example("don't play it", "not x", "t", denies="x")
        assert pairs(*batch(*items, cosine=0.95)) == ([], [[0, 1]])

    def test_routes_that_gather_anything_are_trusted_only_where_the_original_agrees(self) -> None:
        items, original = batch(example("a", "x", "s"), example("b", "x", "s"), cosine=0.1)
        assert pairs(items, original, s=0.3) == ([], [])
        assert pairs(items, original, other=0.3) == ([[0, 1]], [])


def test_the_rate_rises_and_falls_to_nothing() -> None:
    rates = [schedule(step, 10, 100) for step in range(100)]
    assert max(rates) == 1
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.001


class TestLosses:
    @pytest.fixture
    def torch(self) -> Any:
        return pytest.importorskip("torch", reason="PyTorch is in the training environment alone: make encoder")

    def test_contrastive_falls_as_the_near_come_nearer(self, torch: Any) -> None:
        near = torch.tensor([[False, True, False], [True, False, False], [False, False, False]])
        far = ~near & ~torch.eye(3, dtype=torch.bool)

        def loss(angle: float) -> float:
            rows = torch.tensor([[1.0, 0.0], [np.cos(angle), np.sin(angle)], [0.0, 1.0]])
            return float(contrastive(rows, near, far, 0.1))

        assert loss(0.1) < loss(0.5) < loss(1.0)

    def test_other_near_texts_do_not_push(self, torch: Any) -> None:
        # Three texts of one route and no other: nothing to tell them from, nothing to lose.
        near = ~torch.eye(3, dtype=torch.bool)
        rows = torch.eye(3)
        assert float(contrastive(rows, near, torch.zeros(3, 3, dtype=torch.bool), 0.1)) == 0

    def test_contrastive_has_finite_gradients_without_far_texts(self, torch: Any) -> None:
        rows = torch.eye(3, requires_grad=True)
        contrastive(rows, ~torch.eye(3, dtype=torch.bool), torch.zeros(3, 3, dtype=torch.bool), 0.1).backward()
        assert torch.isfinite(rows.grad).all()

    def test_staying_put_costs_nothing(self, torch: Any) -> None:
        rows = torch.nn.functional.normalize(torch.arange(12.0).reshape(3, 4) + 1, dim=1)
        assert float(anchor(rows, rows)) == pytest.approx(0, abs=1e-6)
        assert float(relations(rows, rows, rows, rows)) == 0
        assert float(relations(rows, -rows, rows, rows)) > 1
