"""Choose the denoiser's step size and count: ``python -m training.denoiser_steps RECIPE``.

As paper 003 does (section 4.4): every step size is followed for up to 50 steps on val, and the pair
with the highest mIoU wins. It prints the ``--set`` that carries the pair into evaluation and
export; the weights stay as they are.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from tqdm import tqdm

from seg_perception.datasets import Sample, dataset_classes
from seg_perception.evaluation.scores import ConfusionMatrix
from training.datasets.frames import open_without
from training.model import Segmenter
from training.objectives.base import image_of, labels_of
from training.recipe import Recipe, load_recipe, override, recipe_names
from training.refiners import Scene
from training.refiners.denoiser import DenoiserRefiner, PreparedDenoiser

STEP_SIZES = (0.01, 0.02, 0.05, 0.08, 0.1, 0.5, 1.0)


@dataclass(frozen=True)
class Frame:
    """One frame on its way into the iteration.

    Attributes:
        prepared: what the denoiser starts from.
        labels: uint8 [H, W], 255 = void.
    """

    prepared: PreparedDenoiser
    labels: NDArray[np.uint8]


@dataclass(frozen=True)
class Choice:
    """What was chosen, and how it scores in percent mIoU; 0 steps leave the scores as they are."""

    step_size: float
    steps: int
    miou: float

    @property
    def settings(self) -> tuple[str, str]:
        """The choice as ``--set`` takes it."""
        return f"denoiser.step_size={self.step_size}", f"denoiser.iterations={self.steps}"


def denoiser_of(model: Segmenter) -> DenoiserRefiner:
    """The denoiser of a model that has one."""
    denoiser = model.refiners["denoiser"]
    assert isinstance(denoiser, DenoiserRefiner)
    return denoiser


@torch.no_grad()
def prepare(model: Segmenter, sample: Sample) -> Frame:
    """Run all that stands before the denoiser."""
    image = image_of(sample, torch.device("cpu"))
    scene = model.scene_before("denoiser", Scene(image, model.unary(image)))
    return Frame(denoiser_of(model).prepare(scene), sample.labels)


@torch.no_grad()
def curve(
    denoiser: DenoiserRefiner, frames: Iterable[Frame], classes: int, step_size: float, steps: int
) -> list[float]:
    """Pooled mIoU, percent, after 0, 1, ... `steps` steps of one size."""
    found = [ConfusionMatrix.empty(classes)] * (steps + 1)
    for frame in frames:
        state = denoiser.start(frame.prepared)
        for step in range(steps + 1):
            labels = labels_of(denoiser.scores(frame.prepared, state), frame.labels.shape)
            found[step] = found[step] + ConfusionMatrix.of(labels, frame.labels, classes)
            state = state + step_size * denoiser.change(frame.prepared, state)
    return [confusion.miou() for confusion in found]


def choose(
    denoiser: DenoiserRefiner,
    frames: Sequence[Frame],
    classes: int,
    step_sizes: Sequence[float] = STEP_SIZES,
    steps: int = 50,
) -> Choice:
    """The step size and count of the highest mIoU; of equals, the fewest steps.

    Raises:
        ValueError: no frames.
    """
    if not frames:
        raise ValueError("no frames to choose by: leave out drives that do not hold all of val")
    choices = [
        Choice(step_size, count, miou)
        for step_size in step_sizes
        for count, miou in enumerate(curve(denoiser, frames, classes, step_size, steps))
    ]
    return max(choices, key=lambda choice: (choice.miou, -choice.steps))


def load_checkpoint(recipe: Recipe, path: Path) -> Segmenter:
    """The recipe's model with the weights of a checkpoint, in evaluation mode."""
    classes, _ = dataset_classes(recipe.data.dataset)
    model = Segmenter(len(classes), recipe.unary, recipe.refiners).eval()
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["model"])
    return model


def frames_on_val(
    recipe: Recipe, root: Path | None, model: Segmenter, every: int = 1
) -> list[Frame]:
    """Every so many frames of the recipe's val split, without the drives that it leaves out."""
    data = recipe.data
    val, _ = open_without(data.dataset, root, "val", data.leave_out, data.shrink)
    samples = [val[i] for i in range(0, len(val), every)]
    return [prepare(model, sample) for sample in tqdm(samples, "prepare")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m training.denoiser_steps", description=__doc__)
    parser.add_argument("recipe", choices=recipe_names())
    parser.add_argument("--root", type=Path, help="folder of the dataset")
    parser.add_argument("--checkpoint", type=Path, help="default: of the recipe's last stage")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are kept")
    parser.add_argument("--step-sizes", type=float, nargs="+", default=STEP_SIZES)
    parser.add_argument("--steps", type=int, default=50, help="at most so many")
    parser.add_argument("--every", type=int, default=1, help="only every Nth val frame")
    parser.add_argument("--set", nargs="*", default=[], help="as in training")
    options = parser.parse_args(arguments)
    recipe = override(load_recipe(options.recipe), tuple(options.set))
    if recipe.refiner("denoiser") is None:
        parser.error(f"recipe {recipe.name!r} has no denoiser")
    path = options.checkpoint or options.runs / recipe.name / recipe.stages[-1].name / "best.pt"
    model = load_checkpoint(recipe, path)
    frames = frames_on_val(recipe, options.root, model, options.every)
    denoiser = denoiser_of(model)
    chosen = choose(denoiser, frames, model.classes, options.step_sizes, options.steps)
    Console().print(
        f"mIoU {chosen.miou:.2f} on {len(frames)} val frames with --set {' '.join(chosen.settings)}"
    )


if __name__ == "__main__":
    main()
