"""What the network is to do better, and what it is to leave alone.

The masks are NumPy, so they are tested without PyTorch; the losses take PyTorch tensors and masks of the same shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training.examples import Example

if TYPE_CHECKING:
    Tensor = Any

Mask = NDArray[np.bool_]


def masks(
    batch: Sequence[Example], original: NDArray[np.float32], *, same_meaning: float, alike_from: Mapping[str, float]
) -> tuple[Mask, Mask]:
    """Which pairs are to be near and which far; pairs in neither are left out of account.

    Args:
        batch: n texts.
        original: (n, n) cosines of the model as it was before training.
        same_meaning: Texts of different sources count as different only below this cosine, unless one refuses
            what the other asks.
        alike_from: By source, the least cosine from which two texts of one route are taken to be alike.

    Returns:
        ``(near, far)``, both symmetric boolean (n, n) with an empty diagonal.
    """
    n = len(batch)
    near, far = np.zeros((n, n), bool), np.zeros((n, n), bool)
    for i, one in enumerate(batch):
        for j in range(i + 1, n):
            other = batch[j]
            if one.routes == other.routes:
                near[i, j] = original[i, j] >= alike_from.get(one.source, -1.0)
            elif (one.denies is None) != (other.denies is None):
                far[i, j] = True
            elif one.source == other.source:
                far[i, j] = not one.routes & other.routes
            else:
                far[i, j] = original[i, j] < same_meaning
    return near | near.T, far | far.T


def contrastive(vectors: Tensor, near: Tensor, far: Tensor, temperature: float) -> Tensor:
    """Each near pair against all that is far from its first text; the other near ones are not in the sum.

    So a route is drawn together only as far as it takes to tell it from the others, and keeps its inner order.
    """
    import torch

    scores = vectors @ vectors.T / temperature
    # Not minus infinity: a text without far ones would have NaN for a gradient.
    others = torch.logsumexp(scores.masked_fill(~far, -1e4), dim=1, keepdim=True)
    pairs = torch.nn.functional.softplus(others - scores)
    # Each text counts once, whatever the number of its companions.
    counts = near.sum(dim=1)
    each = (pairs * near).sum(dim=1) / counts.clamp(min=1)
    return each[counts > 0].mean()


def anchor(vectors: Tensor, original: Tensor) -> Tensor:
    """Mean of 1 - cosine to the original vector of the same text."""
    return (1 - (vectors * original).sum(dim=1)).mean()


def relations(left: Tensor, right: Tensor, original_left: Tensor, original_right: Tensor) -> Tensor:
    """Mean squared change of the cosines between two groups of texts."""
    return (left @ right.T - original_left @ original_right.T).square().mean()
