"""Export a trained recipe: ``python -m training.export RECIPE --out models/default``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seg_perception.datasets import DATASETS, dataset_classes
from seg_perception.runtime.bundle import Bundle
from training.checkpoints import best_of, load_model
from training.command import add_recipe, mistakes_told
from training.export.bundle import About, write_bundle
from training.export.quantise import FORMATS
from training.export.rounding import open_rounding
from training.recipe import load_recipe, override


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m training.export", description=__doc__)
    add_recipe(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    parser.add_argument(
        "--checkpoint", type=Path, help="default: best.pt of the recipe's last stage"
    )
    parser.add_argument("--name", help="name of the model (default: the recipe's)")
    parser.add_argument(
        "--size", type=int, nargs=2, default=(360, 480), metavar=("HEIGHT", "WIDTH")
    )
    parser.add_argument(
        "--kernels",
        choices=("float32", "float16"),
        help="compile the GPU kernels into the bundle, storing large arrays so (needs triton)",
    )
    parser.add_argument(
        "--quantise",
        choices=FORMATS,
        help="round the unary network's convolutions to eight bits, calibrated on --root",
    )
    parser.add_argument(
        "--calibration-frames", type=int, default=64, metavar="N", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--scores", type=_read_scores, default={}, metavar="FILE", help="JSON of measured scores"
    )
    options = parser.parse_args(arguments)
    with mistakes_told(parser):
        bundle = export(options)
    print(f"{bundle.path}: {bundle.digest[:12]}, answers {_as_what(bundle)}")  # noqa: T201


def export(options: argparse.Namespace) -> Bundle:
    """Write the bundle that the command line asks for.

    Raises:
        TrainingError: recipe, checkpoint and size do not fit together.
        SegPerceptionError: there is no data to calibrate on, or the bundle answers wrongly.
    """
    recipe = override(load_recipe(options.recipe), options.set)
    model = load_model(recipe, options.checkpoint or best_of(recipe, options.runs))
    classes, groups = dataset_classes(recipe.data.dataset)
    names = [recipe.data.dataset] + ["street"] * bool(recipe.data.street_frames)
    about = About(
        name=options.name or recipe.name,
        classes=classes,
        groups=groups,
        recipe=recipe.to_record(),
        data=[{"name": name, "terms": DATASETS[name].terms} for name in names],
        scores=options.scores,
    )
    rounding = None
    if options.quantise:
        frames = options.calibration_frames
        rounding = open_rounding(options.quantise, recipe.data, options.root, frames)
    size = tuple(options.size)
    return write_bundle(model, size, about, options.out, options.kernels, rounding)


def _read_scores(path: str) -> dict[str, Any]:
    try:
        scores = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"cannot read {path} as JSON ({error})") from error
    if not isinstance(scores, dict):
        raise argparse.ArgumentTypeError(f"{path} holds no JSON object")
    return scores


def _as_what(bundle: Bundle) -> str:
    quantised = bundle.manifest.quantisation
    if quantised is None:
        return "as the trained model does"
    return f"as rounded to {quantised.precision}: {dict(quantised.loss)}"


if __name__ == "__main__":
    main()
