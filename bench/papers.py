"""The orderings of papers 001, 002 and 003, at a size that a CPU core can train.

``python bench/papers.py 002 003 --root CAMVID --runs RUNS [--leave-out DRIVE] [--seed N]``

CamVid at half its size, narrow networks from scratch, the reach of context and kernels halved with
the images, everything else as the recipes have it. All chains of a paper begin with one network;
where they go on training it, the row "trained as long" tells what that alone brings. What is
trained is not trained again, and what was interrupted goes on. Tables, figures and JSON are left in
RUNS. Scored is val, or the drive that is left out, at its full size.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console

from training.checkpoints import load_model
from training.denoiser_steps import choose, denoiser_of, frames_on_val
from training.evaluate import __main__ as evaluate
from training.recipe import Recipe, load_recipe, override
from training.train import train

FCN8S = ("data.shrink=2", "unary.width=16", "unary.hidden=128")
RESNET = ("data.shrink=2", "unary.depth=50", "unary.width=16")
FIELD = ("mean_field.stride=2", "mean_field.sxy=30", "mean_field.srgb=8")
CONTEXT = ("context_crf.radii=1,2", "context_crf.dilations=3,6", "context_crf.label_pool=13")
SIZES = (0.02, 0.05, 0.1, 0.5, 1.0)
RESIDUAL = ("denoiser.residual=true", "denoiser.options.noise=0")
DENOISER = ("denoiser.stride=4", "denoiser.widths=32,64,96,128")


def stage(name: str, crop: str, scale: str, epochs: int, rate: float) -> tuple[str, ...]:
    """Settings of a stage."""
    return (
        f"{name}.augmentation.crop={crop}",
        f"{name}.augmentation.scale={scale}",
        f"{name}.epochs={epochs}",
        f"{name}.learning_rate={rate}",
        f"{name}.evaluate_every={max(3, epochs // 6)}",
    )


JOINT = stage("joint", "176,240", "0.9,1.3", 10, 2e-4)


@dataclass(frozen=True)
class Bench:
    """Where everything of one seed and split lies.

    Attributes:
        root: folder of CamVid.
        runs: folder of the runs.
        seed: of all trainings.
        drive: that is left out; "" = none.
    """

    root: Path
    runs: Path
    seed: int
    drive: str

    @property
    def suffix(self) -> str:
        """What runs and tables are told apart by."""
        return f"seed{self.seed}" + (f"-without-{self.drive}" if self.drive else "")

    def recipe(self, name: str, variant: str, settings: tuple[str, ...]) -> Recipe:
        """A recipe under a name of its own."""
        whole = "_".join(word for word in (name, variant) if word)
        changes = (*settings, f"seed={self.seed}", f"name={whole}-{self.suffix}")
        recipe = override(load_recipe(name), changes)
        return replace(
            recipe, data=replace(recipe.data, leave_out=(self.drive,) * bool(self.drive))
        )

    def train(self, recipe: Recipe) -> dict[str, Path]:
        """Train what is not trained yet; the best weights of each stage, by its name."""
        Console().rule(recipe.name)
        train(recipe, self.root, self.runs)
        folder = self.runs / recipe.name
        return {one.name: folder / one.name / "best.pt" for one in recipe.stages}

    def table(self, paper: str, shared: tuple[str, ...], rows: Mapping[str, str]) -> None:
        """Score the rows and leave table, figures and pictures."""
        split = ["--split", "train", "--drives", self.drive] if self.drive else ["--split", "val"]
        files = self.runs / f"{paper}-{self.suffix}"
        written = [f"--{kind}={files}.{end}" for kind, end in FILES.items()]
        models = [f"{key}={model}" for key, model in rows.items()]
        settings = ["--set", *shared]
        evaluate.main([paper, *models, "--root", str(self.root), *split, *written, *settings])


FILES = {"markdown": "md", "json": "json", "figure": "png"}


def fcn8s(bench: Bench, stages: str) -> dict[str, Path]:
    """FCN-8s of 002 and 003, and as much of 002's chain as the stages (with commas) say."""
    alone = (*stage("unary", "176,224", "0.75,1.5", 90, 1e-3), "crf.augmentation.crop=176,240")
    settings = (*FCN8S, *FIELD, *alone, "crf.epochs=3", *JOINT, f"stages={stages}")
    return bench.train(bench.recipe("crf_as_rnn", "", settings))


def crf_as_rnn(bench: Bench) -> None:
    """FCN-8s < + CRF < + CRF-RNN."""
    found = fcn8s(bench, "unary,crf,joint")
    plain = ("refiners=", "stages=joint", "joint.options.learn=unary", *JOINT)
    begin = f"begin_with={found['unary']}"
    longer = bench.train(bench.recipe("crf_as_rnn", "longer", (*FCN8S, *plain, begin)))
    rows = {
        "fcn8s": f"{found['unary']}#unary",
        "fcn8s, trained as long": f"{longer['joint']},refiners=",
        "crf": str(found["unary"]),
        "crf, learned alone": str(found["crf"]),
        "crf_rnn": str(found["joint"]),
    }
    bench.table("002", (*FCN8S, *FIELD), rows)


def iterative_denoiser(bench: Bench) -> None:
    """FCN-8s < + DAE(y_true) < + DAE(y)."""
    begin = f"begin_with={fcn8s(bench, 'unary')['unary']}"
    learn = stage("denoiser", "176,224", "0.75,1.5", 30, 1e-3)
    variants = {
        "fcn8s+dae_y_true": ("y_true", ()),
        "fcn8s+dae_y": ("y", ()),
        "fcn8s+dae_y, residual, no noise": ("y", RESIDUAL),
    }
    rows = {}
    for key, (scenario, own) in variants.items():
        options = (f"denoiser.options.scenario={scenario}", "denoiser.options.dropout=true")
        settings = (*FCN8S, *DENOISER, *learn, *options, *own, begin, "stages=denoiser")
        variant = f"{scenario}_residual" if own else scenario
        recipe = bench.recipe("iterative_denoiser", variant, settings)
        path = bench.train(recipe)["denoiser"]
        rows["fcn8s"] = ",".join((f"{path}#unary", *own))
        rows[key] = ",".join((str(path), *own, *steps(bench, recipe, path)))
    bench.table("003", (*FCN8S, *DENOISER), rows)


def steps(bench: Bench, recipe: Recipe, path: Path) -> tuple[str, ...]:
    """Step size and count, chosen on every fourth frame of val."""
    model = load_model(recipe, path)
    frames = frames_on_val(recipe, bench.root, model, every=4)
    return choose(denoiser_of(model), frames, model.classes, SIZES, steps=12).settings


def segmodel(bench: Bench) -> None:
    """Unary < + context < + patch < + guide."""
    first = stage("unary", "160,224", "0.6,1.7", 40, 1e-3)
    alone = ("refiners=", "stages=unary")
    unary = bench.train(bench.recipe("segmodel", "", (*RESNET, *first, *alone)))["unary"]
    shared = (*RESNET, *stage("joint", "160,224", "0.6,1.7", 24, 5e-4), "stages=joint")
    chain = ("refiners=context_crf", *CONTEXT)
    variants = {
        "unary": ("unary", ("refiners=",)),
        "context": ("unary,context_crf", (*chain, "context_crf.patch=1")),
        "patch": ("unary,context_crf", chain),
        "guide": ("unary,context_crf,guided_crf", (*CONTEXT, "guided_crf.stride=2")),
    }
    rows = {}
    for key, (learn, own) in variants.items():
        settings = (*shared, *own, f"joint.options.learn={learn}", f"begin_with={unary}")
        path = bench.train(bench.recipe("segmodel", key, settings))["joint"]
        rows[key] = ",".join((str(path), *own))
    bench.table("001", RESNET, rows)


PAPERS: Mapping[str, Callable[[Bench], object]] = {
    "001": segmodel,
    "002": crf_as_rnn,
    "003": iterative_denoiser,
}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("papers", nargs="+", choices=tuple(PAPERS))
    parser.add_argument("--root", type=Path, required=True, help="folder of CamVid")
    parser.add_argument("--runs", type=Path, default=Path("runs/papers"))
    parser.add_argument("--leave-out", default="", metavar="DRIVE")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for paper in options.papers:
        PAPERS[paper](Bench(options.root, options.runs, options.seed, options.leave_out))


if __name__ == "__main__":
    main()
