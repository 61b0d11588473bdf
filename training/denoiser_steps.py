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

from seg_perception.datasets import Sample
from seg_perception.evaluation.scores import ConfusionMatrix
from training.checkpoints import best_of, load_model
from training.command import add_recipe, mistakes_told
from training.datasets.frames import open_without
from training.errors import TrainingError
from training.model import Segmenter
from training.objectives.base import image_of, labels_of
from training.recipe import Recipe, load_recipe, override
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
        TrainingError: no frames.
    """
    if not frames:
        raise TrainingError("no frames to choose by: leave out drives that do not hold all of val")
    choices = [
        Choice(step_size, count, miou)
        for step_size in step_sizes
        for count, miou in enumerate(curve(denoiser, frames, classes, step_size, steps))
    ]
    return max(choices, key=lambda choice: (choice.miou, -choice.steps))


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
    add_recipe(parser)
    parser.add_argument("--checkpoint", type=Path, help="default: of the recipe's last stage")
    parser.add_argument("--step-sizes", type=float, nargs="+", default=STEP_SIZES)
    parser.add_argument("--steps", type=int, default=50, help="at most so many")
    parser.add_argument("--every", type=int, default=1, help="only every Nth val frame")
    options = parser.parse_args(arguments)
    with mistakes_told(parser):
        recipe = override(load_recipe(options.recipe), options.set)
        if recipe.refiner("denoiser") is None:
            parser.error(f"recipe {recipe.name!r} has no denoiser")
        model = load_model(recipe, options.checkpoint or best_of(recipe, options.runs))
        frames = frames_on_val(recipe, options.root, model, options.every)
        chosen = choose(
            denoiser_of(model), frames, model.classes, options.step_sizes, options.steps
        )
    Console().print(
        f"mIoU {chosen.miou:.2f} on {len(frames)} val frames with --set {' '.join(chosen.settings)}"
    )


if __name__ == "__main__":
    main()
