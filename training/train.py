"""Train a recipe: ``python -m training.train RECIPE [--set field=value ...]``.

Stages run in order. Each leaves ``last.pt`` (to resume from), ``best.pt`` (best score on val) and
``log.csv`` in ``RUNS/NAME/STAGE``; a run that is started again goes on where it stopped and ends
with the same weights. ``torchrun --nproc-per-node N -m training.train ...`` trains it with N
workers, each on its share of every batch.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from seg_perception.classes import ClassInfo
from seg_perception.datasets import Sample, dataset_classes, open_dataset
from training import workers
from training.checkpoints import load_weights, read_checkpoint
from training.command import add_recipe, mistakes_told
from training.datasets import Batch, Loader
from training.datasets.frames import frames_of, open_without, spread
from training.errors import TrainingError
from training.losses import class_weights
from training.model import Segmenter
from training.objectives import Task, build_objective
from training.recipe import Recipe, Stage, load_recipe, override

CPU = torch.device("cpu")

WEIGHED_FRAMES = 500
"""How many training frames class frequencies are counted on."""


@dataclass(frozen=True)
class Material:
    """Samples of one run.

    Attributes:
        train: recorded frames to learn from.
        street: rendered frames, for the stages that want them.
        val: frames that the best weights are chosen by.
        classes: of the dataset.
        groups: class names by group, of the dataset.
    """

    train: Sequence[Sample]
    street: Sequence[Sample]
    val: Sequence[Sample]
    classes: Sequence[ClassInfo]
    groups: Mapping[str, tuple[str, ...]]


def load_material(recipe: Recipe, root: Path | None) -> Material:
    """Open what the recipe trains and is chosen on, and decode what fits into memory.

    Where drives are left out, none of their frames is trained on, and val is what remains of the
    val split.

    Raises:
        TrainingError: a drive to leave out that the dataset does not hold, or stages that mix it
            with rendered streets, which have other classes.
    """
    data = recipe.data
    (train, train_drives), (val, val_drives) = (
        open_without(data.dataset, root, split, data.leave_out, data.shrink)
        for split in (data.split, "val")
    )
    drives = sorted({*train_drives, *val_drives})
    if unknown := sorted(set(data.leave_out) - set(drives)):
        raise TrainingError(
            f"no drive {', '.join(unknown)} to leave out; there are {', '.join(drives)}"
        )
    samples, held = frames_of(train, "decode train"), frames_of(val, "decode val")
    rendered: list[Sample] = []
    if any(stage.street for stage in recipe.stages):
        street = open_dataset("street", None, "train", frames=data.street_frames, seed=recipe.seed)
        if street.classes != train.classes:
            raise TrainingError(
                f"{data.dataset} has other classes than the rendered streets: set street=false in "
                f"{', '.join(stage.name for stage in recipe.stages if stage.street)}"
            )
        rendered = list(tqdm(street, "render street"))
    return Material(samples, rendered, held, train.classes, train.groups)


class WeightAverage:
    """Exponential moving average of weights and batch statistics: what is evaluated and exported.

    Args:
        model: whose weights are averaged; they are copied.
        decay: share of the old average that a step keeps.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.state = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights after one more step; the first steps count for more."""
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 9))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value, 1 - decay)
            else:
                self.state[name].copy_(value)

    def restore(self, state: Mapping[str, Tensor], updates: int) -> None:
        """Go on from a stored average, on the device where this one is."""
        self.updates = updates
        for name, value in state.items():
            self.state[name].copy_(value)


class StageRun:
    """One stage of a recipe on its way: steps, averages, evaluates, saves, resumes."""

    def __init__(
        self,
        recipe: Recipe,
        stage: Stage,
        model: Segmenter,
        material: Material,
        folder: Path,
        device: torch.device = CPU,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.recipe, self.stage, self.model, self.folder = recipe, stage, model, folder
        self.material, self.device = material, device
        model.to(self.device, memory_format=torch.channels_last)
        weights = class_weights(
            [s.labels for s in spread(material.train, WEIGHED_FRAMES)],
            len(material.classes),
            stage.class_exponent,
        )
        task = Task(material.classes, material.groups, weights.to(self.device))
        self.objective = build_objective(stage.objective, stage.options, model, task)
        model.zero_grad()  # what the last stage left would be clipped along with this one's
        samples = [*material.train, *(material.street if stage.street else ())]
        share = (workers.rank(), workers.count())
        self.loader = Loader(
            samples, stage.augmentation, stage.batch_size, recipe.seed, share=share
        )
        self.optimiser = _optimiser(model, stage)
        self.average = WeightAverage(model, stage.average)
        self.epoch = 0
        self.best = -math.inf  # stays so where all of val is left out: then the last weights count

    @property
    def steps(self) -> int:
        """Steps in the whole stage."""
        return self.stage.epochs * len(self.loader)

    def run(self) -> None:
        """Train on from where the last run stopped, and leave the best weights in the model."""
        self._resume()
        if self.stage.keep_start and self.epoch == 0:
            self._keep_start()
        done = self.epoch * len(self.loader)
        bar = tqdm(total=self.steps, initial=done, desc=self.stage.name, disable=workers.rank() > 0)
        while self.epoch < self.stage.epochs:
            loss = self._train_epoch(bar)
            self.epoch += 1
            due = self.epoch % self.stage.evaluate_every == 0 or self.epoch == self.stage.epochs
            first = workers.rank() == 0
            score = self._evaluate() if first and due and self.material.val else None
            if first:
                self._record(loss, score)
                self._save(score)
        bar.close()
        workers.wait()  # for the first one's files
        best = self.folder / "best.pt"
        self.model.load_state_dict(read_checkpoint(best)["model"])
        if workers.rank() == 0:
            tqdm.write(f"{self.stage.name}: the best weights are {best}")

    def _train_epoch(self, bar: tqdm[Any]) -> float:
        self.objective.train()
        total = 0.0
        for index, batch in enumerate(self.loader.epoch(self.epoch)):
            step = self.epoch * len(self.loader) + index
            total += self._step(batch.to(self.device), step)
            bar.set_postfix(loss=f"{total / (index + 1):.4f}")
            bar.update()
        return total / len(self.loader)

    def _step(self, batch: Batch, step: int) -> float:
        rate = self.stage.learning_rate * schedule(step, self.steps, self.stage.warmup)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        own = [workers.rank()] * bool(workers.rank())  # worker 0 draws what a single one draws
        rng = np.random.default_rng([self.recipe.seed, step, *own])
        torch.manual_seed(int(rng.integers(2**31)))
        with self._autocast():
            loss = self.objective.loss(batch, rng)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        workers.average_gradients(self.model.parameters())
        nn.utils.clip_grad_norm_(self.model.parameters(), self.stage.clip)
        self.optimiser.step()
        self.average.update(self.model)
        return float(workers.mean_over_workers(loss.detach()))

    def _autocast(self) -> torch.autocast:
        enabled = self.recipe.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def _evaluate(self) -> float:
        """What the averaged weights score on val: the figure that `best.pt` is chosen by."""
        live = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(self.average.state)
        self.model.eval()
        with torch.no_grad(), self._autocast():
            score = self.objective.score(self.material.val, self.device)
        self.model.load_state_dict(live)
        return score

    def _record(self, loss: float, score: float | None) -> None:
        path = self.folder / "log.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["epoch", "loss", "score", "unix_time"])
            shown = "" if score is None else f"{score:.3f}"
            writer.writerow([self.epoch, f"{loss:.5f}", shown, f"{time.time():.0f}"])
        if score is not None:
            tqdm.write(f"{self.stage.name} epoch {self.epoch}: loss {loss:.4f}, score {score:.2f}")

    def _keep_start(self) -> None:
        if workers.rank() == 0 and self.material.val:
            self._keep_best(self._evaluate())

    def _keep_best(self, score: float | None) -> None:
        path = self.folder / "best.pt"
        # The first score is the best so far, even nan, as where nothing of val is labelled.
        is_best = score is not None and (score > self.best or not path.exists())
        if is_best or not self.material.val:
            if score is not None and not math.isnan(score):
                self.best = score
            _store({"model": self.average.state, "score": score, "epoch": self.epoch}, path)

    def _save(self, score: float | None) -> None:
        self._keep_best(score)
        state = {
            "epoch": self.epoch,
            "best": self.best,
            "model": self.model.state_dict(),
            "average": self.average.state,
            "updates": self.average.updates,
            "optimiser": self.optimiser.state_dict(),
        }
        _store(state, self.folder / "last.pt")

    def _resume(self) -> None:
        path = self.folder / "last.pt"
        if not path.exists():
            return
        state = read_checkpoint(path)
        self.epoch, self.best = state["epoch"], state["best"]
        load_weights(self.model, state, path, self.recipe)
        self.average.restore(state["average"], state["updates"])
        self.optimiser.load_state_dict(state["optimiser"])


def schedule(step: int, steps: int, warmup: float) -> float:
    """Factor on the learning rate: linear rise, then half a cosine to zero."""
    rise = max(1, round(steps * warmup))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def check_stages(recipe: Recipe) -> None:
    """Refuse at once what the last stage would refuse after hours of the others.

    Raises:
        TrainingError: a stage whose objective, or an option of it, is none, or does not fit.
    """
    classes, groups = dataset_classes(recipe.data.dataset)
    model = Segmenter(len(classes), recipe.unary, recipe.refiners)
    task = Task(classes, groups, torch.ones(len(classes)))
    for stage in recipe.stages:
        try:
            build_objective(stage.objective, stage.options, model, task)
        except TrainingError as error:
            raise TrainingError(f"stage {stage.name}: {error}") from error


def train(recipe: Recipe, root: Path | None, runs: Path) -> Segmenter:
    """Run every stage of a recipe and return the model with the best weights of the last.

    Raises:
        TrainingError: recipe, data and what earlier runs left do not fit together.
        DatasetError: the dataset is not there, or not as it should be.
    """
    check_stages(recipe)
    with workers.joined() as device:
        torch.manual_seed(recipe.seed)
        material = load_material(recipe, root)
        model = Segmenter(len(material.classes), recipe.unary, recipe.refiners)
        if recipe.begin_with is not None:
            begin_with(model, Path(recipe.begin_with))
        workers.share_batch_statistics(model)
        for stage in recipe.stages:
            folder = runs / recipe.name / stage.name
            StageRun(recipe, stage, model, material, folder, device).run()
    return model


def begin_with(model: Segmenter, path: Path) -> None:
    """Take over the weights that another run's checkpoint has under the same names.

    Raises:
        TrainingError: it has none of the model's, or one of another shape.
    """
    found = read_checkpoint(path)["model"]
    own = model.state_dict()
    shared = {name: value for name, value in found.items() if name in own}
    different = sorted(name for name, value in shared.items() if value.shape != own[name].shape)
    if different or not shared:
        misfit = f"{different[0]} has another shape" if different else "no weight has the same name"
        raise TrainingError(
            f"{path} does not fit the recipe ({misfit}): --set network and refiners as they were "
            "in its training"
        )
    model.load_state_dict({**own, **shared})
    parts = sorted({_part(name) for name in shared})
    tqdm.write(f"begins with {', '.join(parts)} of {path}")


def _part(name: str) -> str:
    """The part of a model that a weight belongs to: `unary`, `refiners.code`."""
    first, second, *_ = name.split(".")
    return f"{first}.{second}" if first == "refiners" else first


def _optimiser(model: nn.Module, stage: Stage) -> torch.optim.Optimizer:
    learning = [p for p in model.parameters() if p.requires_grad]
    decayed = [p for p in learning if p.ndim > 1]
    plain = [p for p in learning if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": stage.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=stage.learning_rate)


def _store(state: dict[str, Any], path: Path) -> None:
    """Write whole or not at all: a run killed here must find its last checkpoint."""
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__)
    add_recipe(parser)
    parser.add_argument(
        "--leave-out", nargs="*", default=[], help="drives neither trained on nor chosen by"
    )
    parser.add_argument("--threads", type=int, help="CPU threads")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    with mistakes_told(parser, "stopped; the same command goes on after the last finished epoch"):
        recipe = override(load_recipe(options.recipe), options.set)
        train(_without(recipe, options.leave_out), options.root, options.runs)


def _without(recipe: Recipe, drives: Sequence[str]) -> Recipe:
    """The recipe that leaves drives out, under a name of its own."""
    if not drives:
        return recipe
    data = replace(recipe.data, leave_out=tuple(drives))
    return replace(recipe, data=data, name=f"{recipe.name}-without-{'-'.join(drives)}")


if __name__ == "__main__":
    main()
