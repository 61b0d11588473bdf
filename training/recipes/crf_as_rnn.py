"""Paper 002 (CRF-RNN): FCN-8s and a dense CRF behind it, trained end to end."""

from training.datasets import Augmentation
from training.networks import FCN8sConfig
from training.recipe import Data, Recipe, Stage
from training.refiners import MeanFieldConfig

WHOLE = Augmentation(crop=(360, 480), scale=(0.9, 1.3), aspect=(0.95, 1.05))

RECIPE = Recipe(
    name="crf_as_rnn",
    why="""\
Paper 002: FCN-8s (from ImageNet: --set unary.weights=vgg16.pth), then the CRF alone, then both end
to end, on whole images, with five mean-field steps in training and ten at test: more in training
let gradients vanish. Kernels and initial weights are the authors'; the weights are full matrices as
in their code (mean_field.weights=class is what the paper says). Different: AdamW with half a cosine
for SGD at 1e-13 on a summed loss, images by twos, a larger rate for the CRF alone, whose few
numbers would hardly move at the network's, and the class weights of all recipes in every stage:
with them in the first stage alone, learning the CRF took half a point of mIoU. For one CPU core:
--set unary=unet unary.width=16 mean_field.stride=2 mean_field.sxy=30 mean_field.srgb=8; half the
size is a quarter of the time. Not learned, a CRF hurts good scores: behind the default U-Net, on
every fifth frame of CamVid val, mIoU falls from 65.8 to 64.1 with the authors' parameters and to
58.7 with pydensecrf's usual ones.
""",
    unary=FCN8sConfig(),
    refiners=(MeanFieldConfig(),),
    data=Data(street_frames=0),
    stages=(
        Stage("unary", "unary", epochs=200, learning_rate=1e-4, weight_decay=1e-4),
        Stage(
            "crf",
            "refined",
            epochs=5,
            batch_size=2,
            learning_rate=1e-2,
            weight_decay=0.0,
            evaluate_every=1,
            augmentation=WHOLE,
            options={"learn": ("mean_field",)},
        ),
        Stage(
            "joint",
            "refined",
            epochs=20,
            batch_size=2,
            learning_rate=5e-5,
            weight_decay=1e-4,
            evaluate_every=5,
            augmentation=WHOLE,
            options={"learn": ("unary", "mean_field")},
        ),
    ),
)
