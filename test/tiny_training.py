"""Small models, drives and recipes for the tests of `training`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seg_perception.datasets import Sample
from training.datasets import Augmentation
from training.networks import (
    DilatedResNetConfig,
    FCDenseNetConfig,
    FCN8sConfig,
    UnaryOutput,
    UNetConfig,
)
from training.recipe import Recipe, Stage
from training.refiners import (
    CodeConfig,
    DenoiserConfig,
    EvidenceBatch,
    GaussianPrior,
    PriorConfig,
    Scene,
)

TINY_UNARY = UNetConfig(width=4, blocks=(1, 1), dilations=(1, 2))
TINY_NETWORKS = {
    "unet": TINY_UNARY,
    "fcn8s": FCN8sConfig(width=4, hidden=16),
    "fc_densenet": FCDenseNetConfig(depth=56, growth=2, width=4),
    "dilated_resnet": DilatedResNetConfig(depth=50, width=4),
}
"""One config of every network."""

TINY_CODE = CodeConfig(global_size=5, grid_size=2, channels=3, coarse=(2, 3))
TINY_DENOISER = DenoiserConfig(widths=(4, 6, 8), stride=4, iterations=2)
TINY_PRIOR = PriorConfig(
    size=5,
    grid=(2, 3),
    image_widths=(4, 4),
    segmentation_widths=(4, 4),
    decoder_widths=(4, 4),
    hidden=6,
    high=(4, 3, 2),
)
TINY_CROP = Augmentation(crop=(32, 48), scale=(0.9, 1.1))

ROAD, SIDEWALK, BUILDING, CAR, VOID_STORED = 3, 4, 1, 8, 11


def street_labels(height: int, width: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """uint8 [H, W] as CamVid stores them: sky, building, road, sidewalk, a car, a void rim."""
    horizon = int(rng.integers(height // 3, height // 2))
    labels = np.zeros((height, width), np.uint8)
    labels[horizon // 2 : horizon] = BUILDING
    labels[horizon:] = ROAD
    labels[horizon:, : width // 5] = SIDEWALK
    left = int(rng.integers(width // 4, width - 12))
    labels[horizon : horizon + 6, left : left + 10] = CAR
    labels[:, -1] = VOID_STORED
    return labels


def write_camvid(root: Path, height: int = 48, width: int = 64) -> Path:
    """Three drives in CamVid's layout, a colour for each class; returns `root`."""
    rng = np.random.default_rng(0)
    frames = [("train", d, n) for d in ("0001TP", "0006R0", "0016E5") for n in (30, 60)]
    frames += [("val", "0016E5", n) for n in (90, 120)]
    for split, drive, frame in frames:
        labels = street_labels(height, width, rng)
        image = (labels[..., None] * (20, 7, 13) + rng.integers(0, 30, (height, width, 3))) % 256
        for folder, array in ((split, image.astype(np.uint8)), (f"{split}annot", labels)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / folder / f"{drive}_{frame:06}.png"), array)
    return root


def tiny_samples(count: int, height: int = 32, width: int = 48) -> list[Sample]:
    """Samples whose image tells them apart: its red channel holds the labels."""
    rng = np.random.default_rng(count)
    samples = []
    for index in range(count):
        labels = street_labels(height, width, rng)
        labels[labels == VOID_STORED] = 255
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        image[..., 0] = labels
        samples.append(Sample(f"{index:06}", "0001TP", index, image, labels))
    return samples


def tiny_recipe(**changes: object) -> Recipe:
    """Unary, then the code through the solver, then as autoencoder: two epochs each."""
    stages = tuple(
        Stage(
            name, name, epochs=2, batch_size=2, evaluate_every=1, augmentation=TINY_CROP, warmup=0.5
        )
        for name in ("unary", "code_solver", "code_vae")
    )
    model = {"unary": TINY_UNARY, "refiners": (TINY_CODE,)}
    settings = {"stages": stages, "precision": "fp32", **model}
    return Recipe(name="tiny", why="tests", **{**settings, **changes})


def random_unary(
    height: int, width: int, *, classes: int = 4, channels: int = 2, batch: int = 2, seed: int = 0
) -> UnaryOutput:
    """What a unary network might say of `batch` images, float64."""
    generator = torch.Generator().manual_seed(seed)

    def draw(depth: int, stride: int) -> Tensor:
        size = (-(-height // stride), -(-width // stride))
        return torch.randn(batch, depth, *size, generator=generator, dtype=torch.float64)

    return UnaryOutput(
        scores=2 * draw(classes, 4),
        uncertainty=draw(classes, 4).exp(),
        features={stride: draw(channels, stride) for stride in (4, 8, 16)},
    )


def scene_of(
    unary: UnaryOutput, evidence: EvidenceBatch | None = None, prior: GaussianPrior | None = None
) -> Scene:
    """The scene of an image that is black at four times the size of the scores."""
    batch, _, height, width = unary.scores.shape
    guide = unary.scores.new_zeros(batch, 3, 4 * height, 4 * width)
    return Scene(guide, unary, evidence=evidence, prior=prior)


def evidence_batch(
    index: NDArray[np.uint8], sets: Sequence[Sequence[float]], weight: Sequence[float]
) -> EvidenceBatch:
    """The same sets and weights for every image of uint8 [B, H, W]; float64."""
    batch = len(index)
    return EvidenceBatch(
        torch.from_numpy(index),
        torch.tensor(sets, dtype=torch.float64).expand(batch, -1, -1),
        torch.tensor(weight, dtype=torch.float64).expand(batch, -1),
    )
