"""Paper 000: FCN, and a code of the whole face that corrects what looks right only up close."""

from dataclasses import replace

from training.datasets import Augmentation
from training.networks import FCN8sConfig
from training.recipe import Data, Recipe, Stage
from training.refiners import PriorConfig

SHIFTED = Augmentation(
    crop=(256, 256),
    scale=(1.0, 1.08),
    aspect=(0.98, 1.02),
    gamma=(0.8, 1.25),
    exposure=(90.0, 150.0),
    channel_gain=(0.95, 1.05),
    saturation=(0.7, 1.2),
    shading=0.1,
    noise=4.0,
    blur=0.6,
)

STAGE = Stage(
    "joint",
    "prior_joint",
    epochs=100,
    batch_size=48,
    learning_rate=5e-4,
    weight_decay=1e-4,
    class_exponent=0.0,
    evaluate_every=5,
    augmentation=SHIFTED,
)

RECIPE = Recipe(
    name="high_level_prior",
    why="""\
Paper 000's stages: (a) an FCN, from ImageNet with --set unary.weights=vgg16.pth; (b) a VAE of small
segmentations, prior N(0, I); (c) the VAE frozen, an image encoder that learns its codes; (d) all of
it jointly; (e) a head to full size. Batches of about 50, one sample of the code, flips and small
shifts, and small encoders, against overfitting of the image encoder, which is what the paper warns
of. It gives neither widths nor rates: those here are ours. Different: light is varied a little,
batches are normalised, and in (d) half of the decoder's loss is on codes guessed from the image
(Sohn et al. 2015), since those are what it gets at test (joint.options.guessed=0 is the paper's).
The faces are FASSEG's, for the paper's LFW parts; `--set data.dataset=lfw` takes those. For a CPU:
--set unary=unet unary.width=16.
""",
    unary=FCN8sConfig(),
    refiners=(PriorConfig(),),
    data=Data(dataset="faces", street_frames=0),
    stages=(
        replace(STAGE, name="fcn", objective="unary", batch_size=16, learning_rate=1e-4),
        replace(STAGE, name="vae", objective="prior_vae", epochs=300, learning_rate=2e-3),
        replace(STAGE, name="image", objective="prior_image", learning_rate=1e-3),
        STAGE,
        replace(STAGE, name="high", objective="prior_high", epochs=40, batch_size=8),
    ),
)
