"""The pipeline that none of the five papers has: network, guessed code, denoiser, guidance CRF."""

from training.datasets import Augmentation
from training.recipe import Recipe, Stage
from training.recipes.camvid_code import RECIPE as DEFAULT
from training.refiners import CodeConfig, GuidedCrfConfig
from training.refiners.denoiser import VEHICLE

RECIPE = Recipe(
    name="combined",
    why="""\
Each paper where it is strong. The U-Net with uncertainty and the code are the default model's, and
so are their stages; but the prior on the code is learned from the image (paper 000's p(z | x) in
the place of N(0, I)), so that without evidence the solve already stands where the image suggests,
and evidence and the previous frame move it from there. The denoiser (003) learns on what comes out
of that, at 1/4, with the network's dropout on, since on the frames it was trained on the network
errs too little. The guidance CRF (001) comes last, where edges count, and learns its compatibility
alone. Not in it yet: paper 001's context and patch prediction, and uncertainty as a gate on the
CRF's messages.
""",
    unary=DEFAULT.unary,
    refiners=(CodeConfig(guessed=True), VEHICLE, GuidedCrfConfig()),
    stages=(
        *DEFAULT.stages,
        Stage(
            "denoiser",
            "denoising",
            epochs=60,
            learning_rate=1e-3,
            weight_decay=1e-4,
            augmentation=Augmentation(crop=(224, 224)),
            options={"scenario": "y", "noise": 0.5, "dropout": True},
        ),
        Stage(
            "guided_crf",
            "refined",
            epochs=4,
            learning_rate=5e-3,
            weight_decay=0.0,
            evaluate_every=2,
            options={"learn": ["guided_crf"]},
        ),
    ),
)
