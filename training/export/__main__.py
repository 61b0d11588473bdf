"""Export a trained recipe: ``python -m training.export RECIPE --out models/default``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from seg_perception.datasets import DATASETS, dataset_classes
from seg_perception.runtime.bundle import Bundle
from training.export.bundle import About, write_bundle
from training.export.quantise import FORMATS
from training.export.rounding import open_rounding
from training.model import Segmenter
from training.recipe import load_recipe, override, recipe_names


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m training.export", description=__doc__)
    parser.add_argument("recipe", choices=recipe_names())
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    parser.add_argument(
        "--checkpoint", type=Path, help="default: best.pt of the recipe's last stage"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are kept")
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
        help="round the unary network's convolutions to eight bits (needs --root)",
    )
    parser.add_argument("--root", type=Path, help="folder of the dataset, to calibrate on")
    parser.add_argument(
        "--calibration-frames", type=int, default=64, metavar="N", help="(default: %(default)s)"
    )
    parser.add_argument("--scores", type=Path, help="JSON file with measured scores")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="FIELD=VALUE", help="as in training"
    )
    options = parser.parse_args(arguments)
    recipe = override(load_recipe(options.recipe), tuple(options.set))
    last = options.runs / recipe.name / recipe.stages[-1].name / "best.pt"
    weights = torch.load(options.checkpoint or last, map_location="cpu", weights_only=True)["model"]
    classes, groups = dataset_classes(recipe.data.dataset)
    model = Segmenter(len(classes), recipe.unary, recipe.refiners)
    model.load_state_dict(weights)
    names = [recipe.data.dataset] + ["street"] * bool(recipe.data.street_frames)
    about = About(
        name=options.name or recipe.name,
        classes=classes,
        groups=groups,
        recipe=recipe.to_record(),
        data=[{"name": name, "terms": DATASETS[name].terms} for name in names],
        scores=json.loads(options.scores.read_text()) if options.scores else {},
    )
    rounding = None
    if options.quantise:
        frames = options.calibration_frames
        rounding = open_rounding(options.quantise, recipe.data, options.root, frames)
    size = tuple(options.size)
    bundle = write_bundle(model, size, about, options.out, options.kernels, rounding)
    print(f"{bundle.path}: {bundle.digest[:12]}, answers {_as_what(bundle)}")  # noqa: T201


def _as_what(bundle: Bundle) -> str:
    quantised = bundle.manifest.quantisation
    if quantised is None:
        return "as the trained model does"
    return f"as rounded to {quantised.precision}: {dict(quantised.loss)}"


if __name__ == "__main__":
    main()
