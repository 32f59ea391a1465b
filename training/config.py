"""Everything that a run depends on, in one place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Of one run; the shipped weights are made with the defaults.

    Attributes:
        seed: Of the texts, the batches and the network.
        steps: Optimiser steps.
        routes_a_step, texts_a_route: Routes in a batch, and texts of each.
        refused_share: Share of the routes in a batch that bring refusals of themselves along, two of each.
        sentences_a_step: Wikipedia sentences in a batch.
        learning_rate, warm_up: Highest rate, and the steps until it is reached; it falls to zero as a cosine.
        weight_decay: Of the optimiser.
        frozen_layers: Layers that stay as they are, from the embeddings up.
        max_tokens: Texts are cut here.
        temperature: Of the contrastive loss.
        neighbours: Share of batches' route groups made of the routes nearest to each other, rather than any.
        same_meaning: Texts of two sources are left out against each other from this cosine of the original on.
        anchor_weight: Of staying near the original on Wikipedia sentences.
        relation_weight: Of keeping the original's similarities between sentences, and between texts and sentences.
        kept_weight: Of staying near the original on the texts of routes.
        noise: Share of texts with a typo, an omission or a greeting.
        precision: "bfloat16" for matrix products, twice as fast on processors that have it (AMX), or "float32".
        evaluate_every: Steps between looks at the development sets, and between checkpoints.
    """

    seed: int = 20261126
    steps: int = 1_800
    routes_a_step: int = 24
    texts_a_route: int = 3
    refused_share: float = 0.5
    sentences_a_step: int = 16
    learning_rate: float = 9e-5
    warm_up: int = 60
    weight_decay: float = 0.01
    frozen_layers: int = 2
    max_tokens: int = 48
    temperature: float = 0.06
    neighbours: float = 0.6
    same_meaning: float = 0.55
    anchor_weight: float = 1.0
    relation_weight: float = 8.0
    kept_weight: float = 0.2
    noise: float = 0.3
    precision: str = "bfloat16"
    evaluate_every: int = 600


#: Share of the route groups that each source gives.
SHARES = {
    "things": 0.34,
    "hwu64": 0.25,
    "nluplusplus": 0.12,
    "routes": 0.10,
    "metatool": 0.08,
    "opposites": 0.06,
    "snips": 0.03,
    "exchanged": 0.02,
}
#: Two texts of one route of these sources are alike only from this cosine of the original on: some of their routes
#: gather whatever was said about money, or anything at all.
ALIKE_FROM = {"metatool": 0.35, "hwu64": 0.15, "snips": 0.15}
