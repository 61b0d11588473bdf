"""The combined chain against every single refiner behind the same frozen network, at equal cost.

A network is run once on every training frame (augmented, its dropout on); every row then learns
from these outputs for the same number of optimiser steps, which the combined chain's stages share.
Rates and losses are those of the recipe `combined`. A network left out a drive is scored on that
drive's training frames, the other one on val:

    python bench/combined.py --root DIR --json FILE val=MAIN.pt 0001TP=WITHOUT_IT.pt ...

Rows that FILE holds already are not trained again. The combined chains' weights are left beside it,
FILE_SPLIT.pt, for `python -m training.export combined --checkpoint`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from code_ablation import remember
from denoiser import whole
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from tqdm import tqdm

from seg_perception.classes import CAMVID_CLASSES, CAMVID_GROUPS
from seg_perception.datasets import Sample, open_dataset
from seg_perception.datasets.partial_truth import partial_truth
from seg_perception.evaluation.scores import ConfusionMatrix
from training.datasets import Batch, Loader
from training.datasets.evidence import collate
from training.datasets.frames import open_without, spread
from training.losses import class_weights
from training.model import Segmenter
from training.networks import UnaryOutput
from training.objectives import OBJECTIVES, Task
from training.objectives.base import enable_dropout, labels_of
from training.recipe import Stage
from training.recipes.combined import FRAME, RECIPE
from training.refiners import (
    EvidenceBatch,
    GuidedCrfConfig,
    MeanFieldConfig,
    RefinerConfig,
    Scene,
    refiner_name,
)
from training.train import WeightAverage, schedule

CLASSES = len(CAMVID_CLASSES)
FIELD = MeanFieldConfig(
    sxy=40.0, srgb=10.0, bilateral_weight=1.0, spatial_weight=0.5, iterations=5, stride=4
)
EVIDENCE = "points:0.01"
COMBINED = "combined"
STAGES = ("context_crf", "guess", "denoiser", "guided_crf")
"""Of the recipe, those that begin with a trained network and code."""


@dataclass(frozen=True)
class Row:
    """A chain and the stages that train it."""

    refiners: tuple[RefinerConfig, ...]
    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class Seen:
    """A frame and what the frozen network says of it, of one image each."""

    image: Tensor
    unary: UnaryOutput
    labels: Tensor


def rows() -> dict[str, Row]:
    """Every single refiner, and all of the recipe's."""
    guide = RECIPE.stage("guided_crf")
    dense = replace(guide, options={**guide.options, "learn": ["mean_field"], "until": ""})
    denoise = RECIPE.stage("denoiser")
    nothing = replace(denoise, options={**denoise.options, "noise": 0.5})
    context, denoiser = (RECIPE.refiner(name) for name in ("context_crf", "denoiser"))
    return {
        "guided_crf": Row((GuidedCrfConfig(),), (guide,)),
        "guided_crf, gated": Row((GuidedCrfConfig(gated=True),), (guide,)),
        "context_crf": Row((context,), (RECIPE.stage("context_crf"),)),
        "denoiser": Row((denoiser,), (denoise,)),
        "denoiser, from nothing": Row((replace(denoiser, residual=False),), (nothing,)),
        COMBINED: Row(RECIPE.refiners, tuple(RECIPE.stage(name) for name in STAGES)),
        "mean_field": Row((FIELD,), (dense,)),
    }


def ablation() -> dict[str, tuple[str, ...]]:
    """Parts of the trained combined chain, one more in each row."""
    return {
        "+ guided": ("guided_crf",),
        "+ code prior": ("code", "guided_crf"),
        "+ denoiser": ("code", "denoiser", "guided_crf"),
        "+ context": ("context_crf", "code", "denoiser", "guided_crf"),
    }


def build(refiners: Sequence[RefinerConfig], state: dict[str, Tensor]) -> Segmenter:
    """A chain with the weights that a checkpoint has for it, those that are new at their start."""
    torch.manual_seed(0)
    model = Segmenter(CLASSES, RECIPE.unary, refiners)
    own = model.state_dict()
    model.load_state_dict({**own, **{k: v for k, v in state.items() if k in own}})
    return model.eval()


def see(model: Segmenter, batches: Sequence[Batch]) -> list[Seen]:
    """Run the network once on every image."""
    outputs = remember(model, batches)
    images = (batch.image.to(torch.uint8) for batch in batches)
    return [
        Seen(image, unary, batch.labels)
        for image, unary, batch in zip(images, outputs, batches, strict=True)
    ]


def joined(seen: Sequence[Seen], mirrored: bool = False) -> tuple[Scene, Tensor]:
    """A batch as float32: its scene, and labels int64 [B, H, W]."""

    def maps(parts: Sequence[Tensor]) -> Tensor:
        whole_batch = torch.cat(list(parts)).float()
        return whole_batch.flip(-1) if mirrored else whole_batch

    unary = UnaryOutput(
        maps([one.unary.scores for one in seen]),
        maps([one.unary.uncertainty for one in seen]),
        {s: maps([one.unary.features[s] for one in seen]) for s in seen[0].unary.features},
    )
    return Scene(maps([one.image for one in seen]), unary), maps([x.labels for x in seen]).long()


def fit(model: Segmenter, stage: Stage, seen: Sequence[Seen], steps: int) -> None:
    """One stage of the recipe on remembered outputs."""
    labels = [one.labels[0].numpy().astype(np.uint8) for one in seen]
    task = Task(CAMVID_CLASSES, CAMVID_GROUPS, class_weights(labels, CLASSES, stage.class_exponent))
    goal: Any = OBJECTIVES[stage.objective](model, task, **stage.options)
    goal.train()
    learning = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learning, stage.learning_rate, weight_decay=stage.weight_decay)
    average = WeightAverage(model, stage.average)
    for step in tqdm(range(steps), stage.name, mininterval=20):
        rng = np.random.default_rng([0, step])
        torch.manual_seed(step)
        chosen = [seen[i] for i in rng.choice(len(seen), stage.batch_size, replace=False)]
        loss = goal.loss_of(*joined(chosen, rng.random() < 0.5))
        for group in optimiser.param_groups:
            group["lr"] = stage.learning_rate * schedule(step, steps, stage.warmup)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learning, stage.clip)
        optimiser.step()
        average.update(model)
    model.load_state_dict(average.state)
    model.eval()


@torch.no_grad()
def miou(model: Segmenter, seen: Sequence[Seen], evidence: Sequence[EvidenceBatch] = ()) -> float:
    """Pooled mIoU of the chain's last scores, percent."""
    confusion = ConfusionMatrix.empty(CLASSES)
    for index, one in enumerate(seen):
        scene, labels = joined([one])
        if evidence:
            scene = replace(scene, evidence=evidence[index])
        found = labels_of(model.refine(scene).scores, labels.shape[1:])
        truth = labels[0].numpy().astype(np.uint8)
        confusion = confusion + ConfusionMatrix.of(found, truth, CLASSES)
    return confusion.miou()


def points(seen: Sequence[Seen]) -> list[EvidenceBatch]:
    """Evidence of one kind, drawn for each frame."""
    return [
        collate(
            [
                partial_truth(
                    one.labels[0].numpy().astype(np.uint8),
                    EVIDENCE,
                    None,
                    classes=CAMVID_CLASSES,
                    groups=CAMVID_GROUPS,
                    rng=np.random.default_rng(index),
                )
            ]
        )
        for index, one in enumerate(seen)
    ]


class Split:
    """One frozen network, what it saw, and the figures so far.

    Args:
        name: a drive that the network was trained without, or "val".
        checkpoint: of the network and its code.
        root: folder of CamVid.
        frames: at most so many frames are learned from, evenly spread.
        every: only every Nth frame is scored.
    """

    def __init__(self, name: str, checkpoint: Path, root: Path, frames: int, every: int) -> None:
        self.state = torch.load(checkpoint, map_location="cpu", weights_only=True)["model"]
        network = build((), self.state)
        if name == "val":
            train, scored = (open_dataset("camvid", root, split) for split in ("train", "val"))
        else:
            train, _ = open_without("camvid", root, "train", [name])
            scored = open_dataset("camvid", root, "train", drives=[name])
        shown = [scored[i] for i in range(0, len(scored), every)]
        self.scored = see(network, [whole(sample) for sample in shown])
        enable_dropout(network.unary)
        samples: list[Sample] = [train[i] for i in spread(range(len(train)), frames)]
        self.train = see(network, list(Loader(samples, FRAME, 1, seed=0).epoch(0)))

    def row(self, row: Row, steps: int) -> tuple[Segmenter, dict[str, float]]:
        """Train a chain, `steps` in all, and score it."""
        model = build(row.refiners, self.state)
        began = time.process_time()
        for stage in row.stages:
            fit(model, stage, self.train, steps // len(row.stages))
        spent = time.process_time() - began
        return model, {"miou": miou(model, self.scored), "steps": steps, "cpu_s": spent}

    def parts(self, model: Segmenter) -> dict[str, dict[str, float]]:
        """The combined chain part by part, and with evidence beside the code alone with it."""
        state, found = model.state_dict(), {}
        for name, kept in ablation().items():
            chain = [config for config in RECIPE.refiners if refiner_name(config) in kept]
            found[name] = {"miou": miou(build(chain, state), self.scored)}
        evidence = points(self.scored)
        found["+ evidence"] = {"miou": miou(model, self.scored, evidence)}
        plain = replace(RECIPE.refiner("code"), guessed=False)
        alone = build((plain,), self.state)
        return found | {"code alone, evidence": {"miou": miou(alone, self.scored, evidence)}}


def measure(
    split: Split,
    figures: dict[str, Any],
    wanted: Sequence[str],
    steps: int,
    keep: Path,
    store: Callable[[], None],
) -> None:
    """Fill in the rows of one split that are missing; the combined chain's weights go to `keep`."""
    if "unary" not in figures:
        figures["unary"] = {"miou": miou(build((), split.state), split.scored)}
    for name in wanted:
        if name not in figures:
            model, figures[name] = split.row(rows()[name], steps)
            if name == COMBINED:
                torch.save({"model": model.state_dict()}, keep)
            store()
    if keep.exists() and not set(ablation()) < set(figures):
        state = torch.load(keep, map_location="cpu", weights_only=True)["model"]
        figures |= split.parts(build(RECIPE.refiners, state))
        store()


def table(record: dict[str, dict[str, Any]]) -> Table:
    """Every row's mIoU in every split, the mean of the left-out drives, the cost of one."""
    drives = [name for name in record if name != "val"]
    shown = Table("chain", *record, "mean of left-out", "CPU s, mean")
    for row in next(iter(record.values())):
        found = {split: figures[row] for split, figures in record.items() if row in figures}
        left_out = [found[drive]["miou"] for drive in drives if drive in found]
        mean = f"{np.mean(left_out):.2f}" if left_out else ""
        spent = [x["cpu_s"] for x in found.values() if "cpu_s" in x]
        cells = [f"{found[split]['miou']:.2f}" if split in found else "" for split in record]
        shown.add_row(row, *cells, mean, f"{np.mean(spent):.0f}" if spent else "")
    return shown


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="+", metavar="SPLIT=CHECKPOINT")
    parser.add_argument("--root", type=Path, required=True, help="folder of CamVid")
    parser.add_argument("--json", type=Path, required=True, help="figures, read and written")
    parser.add_argument("--steps", type=int, default=400, help="of training, each row")
    parser.add_argument("--frames", type=int, default=1000, help="learned from, at most")
    parser.add_argument("--every", type=int, default=1, help="score every Nth frame only")
    parser.add_argument("--rows", nargs="+", choices=rows(), default=list(rows()))
    options = parser.parse_args()
    torch.set_num_threads(1)
    record = json.loads(options.json.read_text()) if options.json.exists() else {}

    def store() -> None:
        options.json.write_text(json.dumps(record, indent=2))

    for name, checkpoint in (pair.split("=", 1) for pair in options.networks):
        figures = record.setdefault(name, {})
        if not {*options.rows, *ablation()} < set(figures):
            split = Split(name, Path(checkpoint), options.root, options.frames, options.every)
            keep = options.json.with_name(f"{options.json.stem}_{name}.pt")
            measure(split, figures, options.rows, options.steps, keep, store)
    Console(width=120).print(table(record))


if __name__ == "__main__":
    main()
