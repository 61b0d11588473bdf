"""The pipeline that none of the five papers has: context, guessed code, denoiser, gated CRF."""

from dataclasses import replace

from training.datasets import Augmentation
from training.recipe import Recipe, Stage
from training.recipes.camvid_code import RECIPE as DEFAULT
from training.refiners import CodeConfig, ContextCrfConfig, GuidedCrfConfig
from training.refiners.denoiser import VEHICLE

FRAME = Augmentation(crop=(360, 480), scale=(0.8, 1.5), aspect=(0.9, 1.1))


def _stage(name: str, objective: str, rate: float, **options: object) -> Stage:
    """A short stage behind the frozen network, on whole frames: the code is of a whole frame."""
    return Stage(
        name,
        objective,
        epochs=4,
        batch_size=4,
        learning_rate=rate,
        weight_decay=1e-3,
        clip=1.0,
        average=0.98,
        evaluate_every=2,
        keep_start=True,
        augmentation=FRAME,
        options={**options, "dropout": True},
    )


def _refined(name: str, learn: str, until: str, rate: float) -> Stage:
    return _stage(name, "refined", rate, learn=[learn], until=until, stride=4)


RECIPE = Recipe(
    name="combined",
    why="""\
Each paper where it is strong, one after the other, each refiner an identity (the CRF: its authors'
weights) until it has learnt. The U-Net with uncertainty and the code are the default model's, and
so are their stages. Context and patches (001) look at features again; the prior on the code is
learned from the image (000's p(z | x) in the place of N(0, I)), so that without evidence the solve
already stands where the image suggests, and evidence and the previous frame move it from there; a
denoiser (003) that gives back what it got until it knows better; and last, where edges count, the
guidance CRF (001), whose messages count more where the network is unsure of itself (004). Behind
the trained network each learns by itself, on what leaves those before it, with the network's
dropout on. Measured so far, at the cost of a single refiner (bench/combined.py, 100 steps of four
frames in all, 0001TP left out), it does not beat the guidance CRF alone: what reads the network's
features again needs more than its share of so few steps. Batches of one frame are no way out: 400
steps of context on 92 frames, one at a time, cost 2.5 points on val; behind 100 of them, 100 of the
guess cost 9 more. To begin with a network and code that are there already: --set
begin_with=BEST.pt stages=context_crf,guess,denoiser,guided_crf.
""",
    unary=DEFAULT.unary,
    refiners=(
        ContextCrfConfig(label_pool=13, hidden=32),
        CodeConfig(guessed=True),
        replace(VEHICLE, residual=True, step_size=1.0, iterations=1),
        GuidedCrfConfig(gated=True),
    ),
    stages=(
        *DEFAULT.stages,
        _refined("context_crf", "context_crf", "context_crf", 1e-3),
        _refined("guess", "code.guess", "code", 5e-4),
        _stage("denoiser", "denoising", 1e-3, scenario="y", noise=0.0),
        _refined("guided_crf", "guided_crf", "guided_crf", 5e-3),
    ),
)
