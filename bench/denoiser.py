"""Paper 003's rows for a vehicle-sized denoiser on CamVid val: unary, + DAE(y_true), + DAE(y).

Beside them a residual one, which begins as the identity and learns without noise.

The unary network is frozen and runs once on every training frame, half of them augmented; each
denoiser then learns from crops of these outputs. Step size and count are chosen on every fourth
val frame, the figures are of every second, others than these:

    python bench/denoiser.py --root DIR --checkpoint runs/camvid_code/blend/best.pt
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from tqdm import tqdm

from seg_perception.classes import CAMVID_CLASSES, CAMVID_GROUPS
from seg_perception.datasets import Sample, open_dataset
from training.checkpoints import read_checkpoint
from training.datasets import Augmentation, Batch, Loader
from training.denoiser_steps import Choice, Frame, choose, curve, denoiser_of
from training.losses import class_weights
from training.model import Segmenter
from training.objectives import Denoising, Task
from training.objectives.base import image_of, labels_at
from training.recipe import load_recipe
from training.refiners import Scene
from training.refiners.denoiser import VEHICLE, DenoiserConfig, PreparedDenoiser
from training.train import schedule

CPU = torch.device("cpu")
CROP_CELLS = (14, 14)  # of the features: 224 x 224 pixels
BATCH = 10
RESIDUAL = replace(VEHICLE, residual=True)
VARIANTS = {
    "DAE(y_true)": (VEHICLE, "y_true", 0.5),
    "DAE(y)": (VEHICLE, "y", 0.5),
    "DAE(y), residual": (RESIDUAL, "y", 0.0),
}
"""Denoiser, what is corrupted, and the noise on it."""

STEP_SIZES = (0.05, 0.1, 0.2, 0.5, 1.0)
AUGMENTATION = Augmentation(crop=(360, 480), scale=(0.9, 1.3), aspect=(0.95, 1.05))


@torch.no_grad()
def remember(model: Segmenter, batch: Batch) -> tuple[PreparedDenoiser, Tensor]:
    """What the denoiser is given for one image, as float16, and the labels at its stride."""
    with torch.autocast("cpu", torch.bfloat16):
        unary = model.unary(batch.image)
    prepared = denoiser_of(model).prepare(Scene(batch.image, unary))
    stored = PreparedDenoiser(prepared.probs.half(), prepared.features.half())
    return stored, labels_at(batch.labels, prepared.probs)


def crops(
    seen: Sequence[tuple[PreparedDenoiser, Tensor]], rng: np.random.Generator
) -> tuple[PreparedDenoiser, Tensor]:
    """A batch of random crops, aligned with the cells of the features, half of them mirrored."""
    probs, features, labels = [], [], []
    for index in rng.choice(len(seen), BATCH, replace=False):
        frame, truth = seen[index]
        rows, columns = frame.features.shape[-2:]
        top = int(rng.integers(rows - CROP_CELLS[0]))
        left = int(rng.integers(columns - CROP_CELLS[1]))
        cells = slice(top, top + CROP_CELLS[0]), slice(left, left + CROP_CELLS[1])
        fine = tuple(slice(4 * cell.start, 4 * cell.stop) for cell in cells)
        everything = slice(None)
        parts = (
            frame.probs[0][(everything, *fine)],
            frame.features[0][(everything, *cells)],
            truth[0][fine],
        )
        if rng.random() < 0.5:
            parts = tuple(part.flip(-1) for part in parts)
        for pile, part in zip((probs, features, labels), parts, strict=True):
            pile.append(part)
    prepared = PreparedDenoiser(torch.stack(probs).float(), torch.stack(features).float())
    return prepared, torch.stack(labels)


def fit(
    model: Segmenter,
    seen: Sequence[tuple[PreparedDenoiser, Tensor]],
    scenario: str,
    noise: float,
    steps: int,
) -> None:
    """Train the denoiser with AdamW, 10 crops of 224 x 224 pixels a step."""
    labels = [truth[0].numpy().astype(np.uint8) for _, truth in seen]
    weights = class_weights(labels, model.classes, 0.3)  # as the unary network was trained
    task = Task(CAMVID_CLASSES, CAMVID_GROUPS, weights)
    goal = Denoising(model, task, scenario=scenario, noise=noise)
    goal.train()
    learning = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learning, 2e-3, weight_decay=1e-4)
    for step in tqdm(range(steps), scenario, mininterval=10):
        rng = np.random.default_rng([0, step])
        torch.manual_seed(step)
        loss = goal.reconstruction(*crops(seen, rng))
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * schedule(step, steps, 0.05)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learning, 1.0)
        optimiser.step()
    model.eval()


def whole(sample: Sample) -> Batch:
    """One frame as it is."""
    return Batch(image_of(sample, CPU), torch.from_numpy(sample.labels).long()[None])


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="folder of CamVid")
    parser.add_argument("--checkpoint", type=Path, required=True, help="of the unary network")
    parser.add_argument("--steps", type=int, default=1200, help="of training, each denoiser")
    parser.add_argument("--at-most", type=int, default=10, help="steps of inference")
    options = parser.parse_args()
    state = read_checkpoint(options.checkpoint)["model"]
    unary = {key: value for key, value in state.items() if key.startswith("unary.")}

    def build(config: DenoiserConfig) -> Segmenter:
        torch.manual_seed(0)
        model = Segmenter(len(CAMVID_CLASSES), load_recipe("camvid_code").unary, (config,))
        model.load_state_dict(unary, strict=False)
        return model.eval()

    model, classes = build(VEHICLE), len(CAMVID_CLASSES)
    train = list(tqdm(open_dataset("camvid", options.root, "train"), "decode"))
    batches = [whole(sample) for sample in train[::2]]
    batches += list(Loader(train[1::2], AUGMENTATION, 1, seed=0).epoch(0))
    seen = [remember(model, batch) for batch in tqdm(batches, "unary", mininterval=10)]
    frames = []
    for sample in open_dataset("camvid", options.root, "val"):
        prepared, _ = remember(model, whole(sample))
        full = PreparedDenoiser(prepared.probs.float(), prepared.features.float())
        frames.append(Frame(full, sample.labels))
    chosen_on, reported = frames[::4], frames[1::2]

    table = Table("denoiser", "step size", "steps", "chosen on: mIoU", "reported: mIoU")
    before = [curve(denoiser_of(model), part, classes, 0.0, 0)[0] for part in (chosen_on, reported)]
    table.add_row("none", "", "", *(f"{miou:.2f}" for miou in before))
    for name, (config, scenario, noise) in VARIANTS.items():
        model = build(config)
        began = time.process_time()
        fit(model, seen, scenario, noise, options.steps)
        spent = time.process_time() - began
        denoiser = denoiser_of(model)
        best = choose(denoiser, chosen_on, classes, STEP_SIZES, options.at_most)
        found = curve(denoiser, reported, classes, best.step_size, best.steps)[-1]
        table.add_row(name, *_figures(best, found))
        Console(width=100).print(table, f"{spent:.0f} s of CPU in training")


def _figures(best: Choice, found: float) -> tuple[str, ...]:
    return f"{best.step_size}", f"{best.steps}", f"{best.miou:.2f}", f"{found:.2f}"


if __name__ == "__main__":
    main()
