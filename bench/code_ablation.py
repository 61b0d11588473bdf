"""What makes the code correct: objective, conditioning, global or local codes, and their sizes.

Every variant is trained for the same few epochs behind one frozen unary network, on outputs of it
that are computed once, and scored on every second val frame:

    python bench/code_ablation.py --root DIR --checkpoint runs/camvid_code/blend/best.pt
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
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
from training.losses import class_weights
from training.model import Segmenter
from training.networks import UnaryOutput
from training.objectives import CodeSolver, Task, build_objective
from training.recipe import load_recipe
from training.refiners import CodeConfig
from training.train import schedule

BASE = CodeConfig()
VARIANTS = {
    "VAE only (paper 004, concat, global 128)": (
        "code_vae",
        CodeConfig(global_size=128, grid_size=0, conditioning="concat"),
    ),
    "VAE only, concat_mul, both": ("code_vae", BASE),
    "solver, concat, both": ("code_solver", dataclasses.replace(BASE, conditioning="concat")),
    "solver, concat_mul, global 48": ("code_solver", dataclasses.replace(BASE, grid_size=0)),
    "solver, concat_mul, grid 6": ("code_solver", dataclasses.replace(BASE, global_size=0)),
    "solver, concat_mul, both (default)": ("code_solver", BASE),
    "solver, both, half the size": (
        "code_solver",
        dataclasses.replace(BASE, global_size=24, grid_size=3),
    ),
    "solver, both, twice the size": (
        "code_solver",
        dataclasses.replace(BASE, global_size=96, grid_size=12),
    ),
}


class Remembered(nn.Module):
    """Stands in for the unary network: images are numbers, its outputs were computed before."""

    def __init__(self, outputs: Sequence[UnaryOutput]) -> None:
        super().__init__()
        self.outputs = outputs
        self.dropout = nn.Identity()

    def forward(self, image: Tensor) -> UnaryOutput:
        """Outputs for images [B, 3, 1, 1] that hold their number."""
        chosen = [self.outputs[int(number)] for number in image[:, 0, 0, 0]]
        return UnaryOutput(
            torch.cat([one.scores for one in chosen]).float(),
            torch.cat([one.uncertainty for one in chosen]).float(),
            {s: torch.cat([one.features[s] for one in chosen]).float() for s in (4, 8, 16)},
        )


def remember(model: Segmenter, batches: Sequence[Batch]) -> list[UnaryOutput]:
    """Run the unary network once on every image."""
    outputs = []
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for batch in tqdm(batches, "unary"):
            unary = model.unary(batch.image)
            features = {stride: maps.bfloat16() for stride, maps in unary.features.items()}
            outputs.append(UnaryOutput(unary.scores.half(), unary.uncertainty.half(), features))
    return outputs


def numbered(samples: Sequence[Sample]) -> list[Sample]:
    """The same samples with their number for an image."""
    return [
        dataclasses.replace(sample, image=np.full((1, 1, 3), number, np.uint16))
        for number, sample in enumerate(samples)
    ]


def fit(model: Segmenter, objective: str, batches: Sequence[Batch], epochs: int) -> None:
    """Train the code with AdamW, 8 images a step."""
    labels = [batch.labels[0].numpy().astype(np.uint8) for batch in batches]
    weights = class_weights(labels, model.classes, 0.15)
    task = Task(CAMVID_CLASSES, CAMVID_GROUPS, weights)
    goal = build_objective(objective, {}, model, task)
    goal.train()
    learning = [p for p in model.parameters() if p.requires_grad]
    rate = 4e-3 if objective == "code_solver" else 1e-3
    optimiser = torch.optim.AdamW(learning, rate, weight_decay=1e-3)
    steps = epochs * (len(batches) // 8)
    for step in tqdm(range(steps), objective, leave=False):
        rng = np.random.default_rng([0, step])
        chosen = rng.choice(len(batches), 8, replace=False)
        batch = Batch(
            torch.tensor([[[[number]]] for number in chosen]).expand(-1, 3, 1, 1).float(),
            torch.cat([batches[number].labels for number in chosen]),
        )
        for group in optimiser.param_groups:
            group["lr"] = rate * schedule(step, steps, 0.05)
        optimiser.zero_grad()
        goal.loss(batch, rng).backward()
        nn.utils.clip_grad_norm_(learning, 1.0)
        optimiser.step()
    model.eval()


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="folder of CamVid")
    parser.add_argument("--checkpoint", type=Path, required=True, help="of the unary network")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    state = read_checkpoint(options.checkpoint)["model"]
    unary = {key: value for key, value in state.items() if key.startswith("unary.")}
    recipe = load_recipe("camvid_code")

    def build(code: CodeConfig) -> Segmenter:
        torch.manual_seed(0)
        model = Segmenter(len(CAMVID_CLASSES), recipe.unary, (code,))
        model.load_state_dict(unary, strict=False)
        return model.eval()

    train = list(tqdm(open_dataset("camvid", options.root, "train"), "decode"))
    val = list(open_dataset("camvid", options.root, "val"))[::2]
    network = build(BASE)
    augmentation = Augmentation(crop=(360, 480), scale=(0.9, 1.3), aspect=(0.95, 1.05))
    batches = list(Loader(train, augmentation, 1, seed=0).epoch(0))
    seen = remember(network, batches)
    shown = [
        Batch(torch.from_numpy(s.image).permute(2, 0, 1)[None].float(), torch.empty(0)) for s in val
    ]
    val_seen = remember(network, shown)

    table = Table("variant", "K", "evidence", "outside errors removed %", "outside mIoU gained")
    for name, (objective, config) in VARIANTS.items():
        model = build(config)
        assert model.code is not None
        size = model.code.size(360, 480)
        model.unary = Remembered(seen)  # type: ignore[assignment]
        fit(model, objective, batches, options.epochs)
        model.unary = Remembered(val_seen)  # type: ignore[assignment]
        task = Task(CAMVID_CLASSES, CAMVID_GROUPS, torch.ones(model.classes))
        scorer = CodeSolver(model, task)
        gains = scorer.corrections(numbered(val), torch.device("cpu"))
        for kind, gain in gains.items():
            table.add_row(
                name, str(size), kind, f"{gain['removed']:.2f}", f"{gain['miou_gained']:+.2f}"
            )
        table.add_section()
        Console().print(table)


if __name__ == "__main__":
    main()
