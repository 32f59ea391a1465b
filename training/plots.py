"""The log as a picture."""

from __future__ import annotations

import json
from pathlib import Path

_DEVELOPMENT = {
    "clinc150_5": "CLINC150, 5 shots",
    "banking77_5": "Banking77, 5 shots",
    "outside_auroc": "out of scope, AUROC",
    "refused_auroc": "refusals, AUROC",
    "similarity": "similarity, Spearman",
}


def draw(log: Path, picture: Path) -> None:
    """Loss, development figures by step, and development figures by share of the trained weights."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    steps = [row for row in rows if row["event"] == "step"]
    looks = [row for row in rows if row["event"] == "development"]
    averages = [row for row in rows if row["event"] == "average"]
    figure, (losses, training, averaging) = pyplot.subplots(1, 3, figsize=(13, 3.6))
    for name in ("contrastive", "anchor", "relations", "kept"):
        losses.plot([row["step"] for row in steps], [row[name] for row in steps], label=name, linewidth=0.9)
    losses.set(yscale="log", xlabel="step", title="losses")
    for name, label in _DEVELOPMENT.items():
        training.plot([row["step"] for row in looks], [row[name] for row in looks], label=label, marker=".")
        looked = [row for row in averages if name in row]
        averaging.plot([row["share"] for row in looked], [row[name] for row in looked], label=label, marker=".")
    training.set(xlabel="step", title="development figures")
    averaging.set(xlabel="share of the trained weights", title="averaged with the original")
    losses.legend(fontsize=7)
    training.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(picture, metadata={"Date": None})
    pyplot.close(figure)
