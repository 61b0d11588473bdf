"""The combined chain against every single refiner behind the same frozen network, at equal cost.

A network is run once on every training frame (augmented, its dropout on); every row then learns
from these outputs, each single refiner with as many optimiser steps as make it cost about what the
combined chain costs. A network left out a drive is scored on that drive's training frames, the
other one on val:

    python bench/combined.py --root DIR --json FILE val=MAIN.pt 0001TP=WITHOUT_IT.pt ...

of `camvid_code`; with ``--small``, of FCN-8s at half the size (RUNS/crf_as_rnn-*/unary/best.pt, as
bench/papers.py leaves them), scored at that size. Rows that FILE holds already are not trained
again. The combined chains' weights are left beside it, FILE_SPLIT.pt.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from code_ablation import remember
from denoiser import whole
from papers import CONTEXT, FCN8S, FIELD
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from tqdm import tqdm

from seg_perception.classes import CAMVID_CLASSES, CAMVID_GROUPS
from seg_perception.datasets.partial_truth import partial_truth
from seg_perception.evaluation.scores import ConfusionMatrix
from training.checkpoints import read_checkpoint
from training.datasets import Augmentation, Batch, Loader
from training.datasets.evidence import collate
from training.datasets.frames import open_without
from training.losses import class_weights
from training.model import Segmenter
from training.networks import NetworkConfig, UnaryOutput
from training.objectives import Task, build_objective
from training.objectives.base import enable_dropout, labels_of
from training.recipe import Stage, load_recipe, override
from training.recipes.combined import FRAME, RECIPE
from training.refiners import (
    EvidenceBatch,
    GuidedCrfConfig,
    RefinerConfig,
    Scene,
    refiner_name,
)
from training.train import WeightAverage, schedule

CLASSES = len(CAMVID_CLASSES)
EVIDENCE = "points:0.01"
COMBINED = "combined"
STEPS = 400
"""Of a single refiner; a second row of it costs about what the combined chain costs."""


@dataclass(frozen=True)
class Row:
    """A chain, and the stages that train it, each with its number of steps."""

    refiners: tuple[RefinerConfig, ...]
    stages: tuple[tuple[Stage, int], ...]


@dataclass(frozen=True)
class Bench:
    """What stands frozen before the chains, and the chains.

    Attributes:
        unary: the network.
        shrink: images are seen, and scored, at 1/shrink of their size.
        frame: how training frames are augmented.
        copies: of each training frame, augmented in different ways.
        rows: by name.
    """

    unary: NetworkConfig
    shrink: int
    frame: Augmentation
    copies: int
    rows: Mapping[str, Row]


@dataclass(frozen=True)
class Seen:
    """A frame and what the frozen network says of it, of one image each."""

    image: Tensor
    unary: UnaryOutput
    labels: Tensor


def refined(name: str, rate: float, stride: int) -> Stage:
    """The recipe's stage of the guidance CRF, for any refiner."""
    options = {"learn": [name], "until": name, "stride": stride, "dropout": True}
    return replace(RECIPE.stage("guided_crf"), name=name, learning_rate=rate, options=options)


def rows(
    parts: Mapping[str, tuple[RefinerConfig, Stage]],
    longer: Mapping[str, int],
    chains: Mapping[str, Mapping[str, int]],
    code: Sequence[RefinerConfig] = (),
) -> dict[str, Row]:
    """Every single refiner, twice, and chains of them.

    Args:
        parts: refiners and the stages in which they learn, by name.
        longer: steps at which a single one costs what the combined chain costs.
        chains: steps of a chain's parts, in its order, by the chain's name.
        code: stands first in each chain and does nothing without evidence.
    """
    found = {name: Row((config,), ((stage, STEPS),)) for name, (config, stage) in parts.items()}
    for name, steps in longer.items():
        config, stage = parts[name]
        found[f"{name}, {steps} steps"] = Row((config,), ((stage, steps),))
    for chain, shares in chains.items():
        refiners = [parts[name][0] for name in shares]
        stages = tuple((parts[name][1], steps) for name, steps in shares.items())
        found[chain] = Row((*code, *refiners), stages)
    return found


def default() -> Bench:
    """The default network and its code."""
    names = ("context_crf", "denoiser", "mean_field", "guided_crf")
    parts = {name: (RECIPE.refiner(name), RECIPE.stage(name)) for name in names}
    # Without its gate, which changes nothing measurable.
    parts["guided_crf"] = (GuidedCrfConfig(), RECIPE.stage("guided_crf"))
    chains = {
        "denoiser and guided_crf": {"denoiser": 200, "guided_crf": 200},
        "with denoiser": {"denoiser": 200, "mean_field": 200, "guided_crf": 100},
        COMBINED: {"mean_field": 280, "guided_crf": 100},
    }
    longer = {"guided_crf": 1400}
    return Bench(RECIPE.unary, 1, FRAME, 1, rows(parts, longer, chains, (RECIPE.refiner("code"),)))


def small() -> Bench:
    """FCN-8s as bench/papers.py trains it; the reach of all kernels is halved with the images."""
    recipe = override(load_recipe("crf_as_rnn"), (*FCN8S, *FIELD))
    context = override(RECIPE, CONTEXT).refiner("context_crf")
    parts = {
        "context_crf": (context, refined("context_crf", 1e-3, 2)),
        "denoiser": (RECIPE.refiner("denoiser"), RECIPE.stage("denoiser")),
        "mean_field": (recipe.refiner("mean_field"), refined("mean_field", 1e-2, 2)),
        "guided_crf": (GuidedCrfConfig(stride=2), refined("guided_crf", 5e-3, 2)),
    }
    longer = {"context_crf": 1600, "denoiser": 1600, "guided_crf": 1000}
    chains = {
        "both CRFs": {"mean_field": 300, "guided_crf": 100},
        "with denoiser": {
            "context_crf": 400,
            "denoiser": 400,
            "mean_field": 150,
            "guided_crf": 100,
        },
        COMBINED: {"context_crf": 400, "mean_field": 280, "guided_crf": 100},
    }
    frame = replace(FRAME, crop=(176, 240), scale=(0.8, 1.4))
    return Bench(recipe.unary, 2, frame, 2, rows(parts, longer, chains))


def see(model: Segmenter, frames: Iterable[Batch]) -> list[Seen]:
    """Run the network once on every image."""
    batches = list(frames)
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


def fit(model: Segmenter, stage: Stage, seen: Sequence[Seen], steps: int, seed: int) -> None:
    """One stage on remembered outputs."""
    labels = [one.labels[0].numpy().astype(np.uint8) for one in seen]
    task = Task(CAMVID_CLASSES, CAMVID_GROUPS, class_weights(labels, CLASSES, stage.class_exponent))
    goal: Any = build_objective(stage.objective, stage.options, model, task)
    goal.train()
    learning = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learning, stage.learning_rate, weight_decay=stage.weight_decay)
    average = WeightAverage(model, stage.average)
    for step in tqdm(range(steps), stage.name, mininterval=20):
        rng = np.random.default_rng([seed, step])
        torch.manual_seed(1000 * seed + step)
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
    """One frozen network, what it saw, and how chains behind it score.

    Args:
        bench: the network and the chains.
        name: a drive that the network was trained without, or "val".
        checkpoint: of the network, and of its code if it has one.
        root: folder of CamVid.
    """

    def __init__(self, bench: Bench, name: str, checkpoint: Path, root: Path) -> None:
        self.bench = bench
        self.state = read_checkpoint(checkpoint)["model"]
        network = self._build(())
        train, drives = open_without("camvid", root, "train", [name], bench.shrink)
        split, others = ("train", set(drives) - {name}) if name in drives else (name, set())
        scored, _ = open_without("camvid", root, split, others, bench.shrink)
        self.scored = see(network, [whole(scored[i]) for i in range(len(scored))])
        enable_dropout(network.unary)
        loader = Loader([train[i] for i in range(len(train))], bench.frame, 1, seed=0)
        self.train = [x for copy in range(bench.copies) for x in see(network, loader.epoch(copy))]

    def untrained(self) -> dict[str, float]:
        """The network alone."""
        return {"miou": miou(self._build(()), self.scored)}

    def row(self, row: Row, seed: int) -> tuple[Segmenter, dict[str, float]]:
        """Train a chain and score it."""
        model = self._build(row.refiners)
        began = time.process_time()
        for stage, steps in row.stages:
            fit(model, stage, self.train, steps, seed)
        spent = time.process_time() - began
        return model, {"miou": miou(model, self.scored), "cpu_s": spent}

    def parts(self, state: dict[str, Tensor]) -> dict[str, dict[str, float]]:
        """The trained combined chain part by part; with evidence beside the code alone with it."""
        chain = self.bench.rows[COMBINED].refiners
        found = {}
        for count, config in enumerate(chain[:-1], 1):
            model = self._build(chain[:count], state)
            found[f"its parts to {refiner_name(config)}"] = {"miou": miou(model, self.scored)}
        codes = [config for config in chain if refiner_name(config) == "code"]
        if codes:
            evidence = points(self.scored)
            for name, kept in {"code alone": codes, COMBINED: chain}.items():
                model = self._build(kept, state)
                found[f"{name}, {EVIDENCE}"] = {"miou": miou(model, self.scored, evidence)}
        return found

    def _build(
        self, refiners: Sequence[RefinerConfig], state: dict[str, Tensor] | None = None
    ) -> Segmenter:
        """A chain with the weights that a checkpoint has for it, the others at their start."""
        torch.manual_seed(0)
        model = Segmenter(CLASSES, self.bench.unary, refiners)
        own, given = model.state_dict(), state or self.state
        model.load_state_dict({name: given.get(name, value) for name, value in own.items()})
        return model.eval()


def measure(
    split: Split,
    figures: dict[str, Any],
    wanted: Iterable[str],
    seed: int,
    keep: Path,
    store: Callable[[], None],
) -> None:
    """Fill in the rows of one split that are missing; the combined chain's weights go to `keep`."""
    figures["unary"] = split.untrained()
    for name in wanted:
        if name not in figures:
            model, figures[name] = split.row(split.bench.rows[name], seed)
            if name == COMBINED:
                torch.save({"model": model.state_dict()}, keep)
                figures |= split.parts(model.state_dict())
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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="+", metavar="SPLIT=CHECKPOINT")
    parser.add_argument("--root", type=Path, required=True, help="folder of CamVid")
    parser.add_argument("--json", type=Path, required=True, help="figures, read and written")
    parser.add_argument("--small", action="store_true", help="FCN-8s at half the size")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the chains' training; give each a FILE of its own"
    )
    parser.add_argument("--rows", nargs="+", help="only these")
    options = parser.parse_args()
    torch.set_num_threads(1)
    bench = small() if options.small else default()
    wanted = options.rows or list(bench.rows)
    if unknown := set(wanted) - set(bench.rows):
        parser.error(f"no rows {', '.join(unknown)}: there are {', '.join(bench.rows)}")
    record = json.loads(options.json.read_text()) if options.json.exists() else {}

    def store() -> None:
        options.json.write_text(json.dumps(record, indent=2))

    for name, checkpoint in (pair.split("=", 1) for pair in options.networks):
        figures = record.setdefault(name, {})
        if not set(wanted) < set(figures):
            split = Split(bench, name, Path(checkpoint), options.root)
            keep = options.json.with_name(f"{options.json.stem}_{name}.pt")
            measure(split, figures, wanted, options.seed, keep, store)
    Console(width=120).print(table(record))


if __name__ == "__main__":
    main()
