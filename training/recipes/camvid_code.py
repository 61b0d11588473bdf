"""The default model: a U-Net trained on CamVid, and a code trained through the solver."""

from training.datasets import Augmentation
from training.recipe import Recipe, Stage
from training.refiners import CodeConfig

RECIPE = Recipe(
    name="camvid_code",
    why="""\
About an hour and a half on one busy CPU core. `coarse` sees the drives at a third of the
resolution, where a step costs a third; `fine` then only has to learn edges and small things. The
photometric augmentation is far wider than what CamVid shows, because the drive left out is what
counts, and one of them is at dusk. `blend` adds rendered streets: +1.4 mIoU on val, and the demo's
streets rise from 45 to 61. `code` keeps the unary network and trains the decoder through the
unrolled Gauss-Newton solve, on whole images (the global code decodes to a map of the whole image:
crops would teach it wrong geometry).
""",
    refiners=(CodeConfig(),),
    stages=(
        Stage(
            "coarse",
            "unary",
            epochs=80,
            evaluate_every=20,
            augmentation=Augmentation(crop=(144, 192), scale=(0.33, 0.9)),
        ),
        Stage("fine", "unary", epochs=50, learning_rate=1e-3),
        Stage("blend", "unary", epochs=12, learning_rate=5e-4, street=True, evaluate_every=4),
        Stage(
            "code",
            "code_solver",
            epochs=30,
            learning_rate=4e-3,
            weight_decay=1e-3,
            clip=1.0,
            average=0.99,
            class_exponent=0.15,
            street=True,
            evaluate_every=4,
            augmentation=Augmentation(crop=(360, 480), scale=(0.9, 1.3), aspect=(0.95, 1.05)),
        ),
    ),
)
