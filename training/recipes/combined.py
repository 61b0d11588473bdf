"""The pipeline that none of the five papers has: context, code, denoiser, two CRFs."""

from dataclasses import replace

from training.datasets import Augmentation
from training.recipe import Recipe, Stage
from training.recipes.camvid_code import RECIPE as DEFAULT
from training.refiners import CodeConfig, ContextCrfConfig, GuidedCrfConfig, MeanFieldConfig
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


def _refined(name: str, rate: float) -> Stage:
    return _stage(name, "refined", rate, learn=[name], until=name, stride=4)


RECIPE = Recipe(
    name="combined",
    why="""\
Each paper where it is strong, one after the other, each refiner an identity (the CRFs: weights like
their authors') until it has learnt. The U-Net with uncertainty and the code are the default
model's, and so are their stages. Context and patches (001) look at features again; the code (004)
takes in what the vehicle knows; a denoiser (003) gives back what it got until it knows better; a
dense CRF (002) carries far; and last, where edges count, the guidance CRF (001), whose messages
count more where the network is unsure of itself (004). Behind the trained network each learns by
itself, on what leaves those before it, with the network's dropout on, and stays as it began where
that is better on val: context gains behind a small network (docs/papers.md) and costs a point
behind this one. What reads features learns from frames that the network has seen, and carries
little to a drive that it has not; the two CRFs, which read the image, gain there as well. A prior
of the code learned from the image (000's p(z | x); code.guessed=true and a stage that learns
code.guess) cost 1.2 to 2.2 points on val and is left out. To begin with a network and code that are
there already: --set begin_with=BEST.pt stages=context_crf,denoiser,mean_field,guided_crf.
""",
    unary=DEFAULT.unary,
    refiners=(
        ContextCrfConfig(label_pool=13, hidden=32),
        CodeConfig(),
        replace(VEHICLE, residual=True, step_size=1.0, iterations=1),
        MeanFieldConfig(
            sxy=40.0, srgb=10.0, bilateral_weight=1.0, spatial_weight=0.5, iterations=5, stride=4
        ),
        GuidedCrfConfig(gated=True),
    ),
    stages=(
        *DEFAULT.stages,
        _refined("context_crf", 1e-3),
        _stage("denoiser", "denoising", 1e-3, scenario="y", noise=0.0),
        _refined("mean_field", 5e-3),
        _refined("guided_crf", 5e-3),
    ),
)
