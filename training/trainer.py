"""The run itself: resumable, logged, the same for the same seed on the same machine."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training import corpora, losses
from training.batches import Batches
from training.config import ALIKE_FROM, Config
from training.development import Development
from training.examples import Example
from training.generators import traps, written
from training.generators.noise import noisy
from training.network import Network, averaged, save

#: Texts of a thing's aspect, of a route, of an opposite, of a trap; shares of texts that are also refused.
TEXTS = {"things": 14, "routes": 24, "opposites": 8, "traps": 2, "exclusions": 3}
REFUSED = {"hwu64": 0.5, "snips": 0.15, "metatool": 0.3, "things": 0.3, "routes": 0.5, "opposites": 0.5}
MOST = {"snips": 300, "metatool": 40}
SENTENCES = 6_000
LOG_EVERY = 20
#: Shares of the trained weights that are looked at in the end.
SHARES_TRIED = (0.4, 0.6, 0.8, 0.9, 1.0)


def gather(data: Path, random: np.random.Generator) -> list[Example]:
    """All texts to learn from."""
    things = written.names_of_things()
    asked = [
        *corpora.hwu64(data),
        *corpora.snips(data, MOST["snips"], random),
        *corpora.metatool(data, MOST["metatool"], random),
        *corpora.nluplusplus(data),
        *written.things(TEXTS["things"], random),
        *traps.traps(things, TEXTS["traps"], random),
        *traps.exclusions(things, TEXTS["exclusions"], random),
        *written.routes(TEXTS["routes"], random),
        *written.opposites(TEXTS["opposites"], random),
        *traps.exchanged(random),
    ]
    refused = [
        rewritten
        for source, share in REFUSED.items()
        for rewritten in corpora.rewritten_refusals([item for item in asked if item.source == source], share, random)
    ]
    return [*asked, *refused, *corpora.published_refusals(data)]


def with_denied_routes(examples: Sequence[Example], vectors: NDArray[np.float32]) -> list[Example]:
    """Published refusals with the HWU64 route they deny: that of the request which the original finds nearest."""
    plain = [place for place, item in enumerate(examples) if item.source == "hwu64" and item.denies is None]
    asked = vectors[plain]

    def denied(place: int) -> str:
        return examples[plain[int((asked @ vectors[place]).argmax())]].route

    return [
        replace(item, source="hwu64", denies=denied(place)) if item.denies == "" else item
        for place, item in enumerate(examples)
    ]


class Trainer:
    """One run in a folder of its own.

    Args:
        config: Of the run.
        data: Folder of the data sets.
        folder: Where log, checkpoints and weights go; a run that was interrupted goes on from its last checkpoint.
        weights, tokenizer: Of the model before training.
    """

    def __init__(
        self, config: Config, data: Path, folder: Path, weights: dict[str, NDArray[np.float32]], tokenizer: bytes
    ) -> None:
        import torch

        torch.manual_seed(config.seed)
        self.config, self.folder, self.original = config, folder, weights
        folder.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(config.seed)
        examples = gather(data, random)
        self.sentences = corpora.sentences(data, SENTENCES, random)
        self.network = Network(weights, tokenizer, max_tokens=config.max_tokens)
        self.sentence_vectors = self._remembered("sentences", self.sentences)
        self.vectors = self._remembered("examples", [item.text for item in examples])
        self.examples = with_denied_routes(examples, self.vectors)
        self.development = Development.read(data)
        self.batches = Batches(self.examples, self.vectors, config)
        parameters = self.network.freeze(config.frozen_layers)
        self.optimiser = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
        self._parameters = parameters
        self._started = time.monotonic()

    def run(self) -> None:
        """Train, looking at the development sets and writing a checkpoint now and then."""
        step = self._resume()
        if step == 0:
            self._log({"event": "start", "config": asdict(self.config), "texts": self._counts()})
            self._look(0)
        self.network.model.train()
        recent: list[dict[str, float]] = []
        while step < self.config.steps:
            recent.append(self._step(step))
            step += 1
            if step % LOG_EVERY == 0:
                means = {name: round(float(np.mean([each[name] for each in recent])), 5) for name in recent[0]}
                self._log({"event": "step", "step": step, **means})
                recent = []
            if step % self.config.evaluate_every == 0 or step == self.config.steps:
                self._look(step)
                self._checkpoint(step)

    def sweep(self, shares: Sequence[float] = SHARES_TRIED) -> dict[float, dict[str, float]]:
        """Development figures of the trained weights averaged with the original ones, by share of the trained."""
        trained, found = self.network.weights(), {}
        for share in shares:
            self.network.load(averaged(trained, self.original, share))
            found[share] = self.development.figures(self.network.vectors)
            self._log({"event": "average", "share": share, **_rounded(found[share])})
        self.network.load(trained)
        return found

    def save(self, share: float) -> Path:
        """Write the averaged weights as ``model.safetensors``."""
        path = self.folder / "model.safetensors"
        save(averaged(self.network.weights(), self.original, share), path, {"share": share, **asdict(self.config)})
        return path

    def _step(self, step: int) -> dict[str, float]:
        import torch

        config = self.config
        # A generator of its own for each step: a resumed run draws what the whole one would have drawn.
        random = np.random.default_rng((config.seed, step))
        torch.manual_seed(config.seed + step)
        places = self.batches.draw(random)
        lines = random.permutation(len(self.sentences))[: config.sentences_a_step]
        batch = [self.examples[place] for place in places]
        texts = [noisy(item.text, random, config.noise) for item in batch] + [self.sentences[line] for line in lines]
        before = torch.from_numpy(self.vectors[places])
        before_lines = torch.from_numpy(self.sentence_vectors[lines])
        near, far = losses.masks(
            batch, (before @ before.T).numpy(), same_meaning=config.same_meaning, alike_from=ALIKE_FROM
        )
        with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bfloat16"):
            vectors = self.network.encode(texts).float()
        asked, plain = vectors[: len(batch)], vectors[len(batch) :]
        wanted = torch.tensor([item.denies is None for item in batch])
        parts = {
            "contrastive": losses.contrastive(asked, torch.from_numpy(near), torch.from_numpy(far), config.temperature),
            "anchor": losses.anchor(plain, before_lines),
            "relations": losses.relations(vectors, plain, torch.cat([before, before_lines]), before_lines),
            "kept": losses.anchor(asked[wanted], before[wanted]),
        }
        loss = (
            parts["contrastive"]
            + config.anchor_weight * parts["anchor"]
            + config.relation_weight * parts["relations"]
            + config.kept_weight * parts["kept"]
        )
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * schedule(step, config.warm_up, config.steps)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self.optimiser.step()
        return {"loss": loss.item(), "texts": len(texts), **{name: value.item() for name, value in parts.items()}}

    def _look(self, step: int) -> None:
        self._log({"event": "development", "step": step, **_rounded(self.development.figures(self.network.vectors))})

    def _checkpoint(self, step: int) -> None:
        import torch

        partial = self.folder / "checkpoint.partial"
        state = {
            "step": step,
            "config": asdict(self.config),
            "model": self.network.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        torch.save(state, partial)
        partial.replace(self.folder / "checkpoint.pt")

    def _resume(self) -> int:
        import torch

        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return 0
        state: dict[str, Any] = torch.load(path, weights_only=True)
        if state["config"] != asdict(self.config):
            raise SystemExit(f"{path} is of a run with another configuration; give another folder")
        self.network.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self._log({"event": "resumed", "step": state["step"]})
        return int(state["step"])

    def _remembered(self, name: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """The original's vectors of the texts, kept in the folder: a resumed run does not make them again."""
        path, of = self.folder / f"{name}.npz", hashlib.sha256("\n".join(texts).encode()).hexdigest()
        if path.exists():
            with np.load(path) as kept:
                if str(kept["of"]) == of:
                    return np.asarray(kept["vectors"])
        vectors = self.network.vectors(texts)
        np.savez(path, of=of, vectors=vectors)
        return vectors

    def _counts(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for item in self.examples:
            name = item.source if item.denies is None else f"{item.source}, refused"
            counts[name] = counts.get(name, 0) + 1
        return counts

    def _log(self, row: dict[str, Any]) -> None:
        row["s"] = round(time.monotonic() - self._started, 1)
        line = json.dumps(row)
        print(line, flush=True)
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def schedule(step: int, warm_up: int, steps: int) -> float:
    """Share of the highest learning rate: up in a line, down as half a cosine."""
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(steps - warm_up, 1)))


def _rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in figures.items()}
