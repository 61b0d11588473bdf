"""Paper 001 (SegModel): dilated ResNet, context in patches, guidance CRF, trained as one."""

from training.datasets import Augmentation
from training.networks import DilatedResNetConfig
from training.recipe import Data, Recipe, Stage
from training.refiners import ContextCrfConfig, GuidedCrfConfig

WIDE = Augmentation(crop=(320, 320), scale=(0.5, 2.0))

RECIPE = Recipe(
    name="segmodel",
    why="""\
Paper 001: a ResNet-101 at 1/16 (from ImageNet: --set unary.weights=resnetv2_101.pth), feature and
label context predicted in patches at 1/8, a learned upsampling to 1/4, and there three mean-field
steps that a guided filter carries; all of it trained together on the hardest half of the pixels, at
scales of 0.5 to 2. Different: the signs of its Algorithm 1, which work against smoothness as
printed, a filter that is normalised at borders too, and a guidance whose weights learn (their code
stops the gradient). AdamW and half a cosine for SGD and poly, the trainer's; batches of 8 for 16;
batch statistics stay those of training instead of some last epochs for them alone. The paper's
table, part by part, each under a name of its own: --set refiners=context_crf
joint.options.learn=unary,context_crf is "+patch", with context_crf.patch=1 "+context", the whole
"+guide". For one CPU core: --set unary=unet unary.width=16 unary.augmentation.crop=160,240
joint.augmentation.crop=160,240 context_crf.label_pool=13, for at that size 25 cells are the image.
""",
    unary=DilatedResNetConfig(),
    refiners=(ContextCrfConfig(), GuidedCrfConfig()),
    data=Data(street_frames=0),
    stages=(
        Stage("unary", "unary", epochs=100, learning_rate=1e-3, augmentation=WIDE),
        Stage(
            "joint",
            "refined",
            epochs=100,
            learning_rate=5e-4,
            weight_decay=1e-4,
            augmentation=WIDE,
            options={"learn": ("unary", "context_crf", "guided_crf"), "hardest": 0.5},
        ),
    ),
)
