"""Augmentation that carries a network from the drives it saw to a drive it did not see."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import VOID
from training.errors import TrainingError


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the random changes, sampled uniformly (where it is a factor, its logarithm).

    Photometric ranges are wide on purpose: CamVid's dusk drive is three times darker than the rest.

    Attributes:
        crop: (height, width) of what is cut out, in pixels after scaling.
        scale: factor on the image's size.
        aspect: factor on the width alone.
        flip: probability of mirroring left and right.
        gamma: exponent on the 0-1 intensity.
        exposure: mean intensity that the image is brought to, 0-255; absolute, so that a dusk image
            is as likely to be lit as a bright one is to be darkened.
        channel_gain: factor on each channel (white balance).
        saturation: 0 is grey, 1 is unchanged.
        shading: strength of a linear brightness ramp across the image.
        noise: standard deviation of sensor noise, 0-255 units.
        blur: standard deviation in pixels; applied to half of the images.
    """

    crop: tuple[int, int] = (256, 320)
    scale: tuple[float, float] = (0.65, 1.7)
    aspect: tuple[float, float] = (0.87, 1.15)
    flip: float = 0.5
    gamma: tuple[float, float] = (0.5, 2.0)
    exposure: tuple[float, float] = (30.0, 150.0)
    channel_gain: tuple[float, float] = (0.88, 1.14)
    saturation: tuple[float, float] = (0.2, 1.4)
    shading: float = 0.4
    noise: float = 8.0
    blur: float = 1.2

    def __post_init__(self) -> None:
        if len(self.crop) != 2 or any(side < 8 or side % 8 for side in self.crop):
            raise TrainingError(f"crop {self.crop}: give HEIGHT,WIDTH, multiples of 8")
        for name in ("scale", "aspect", "gamma", "exposure", "channel_gain", "saturation"):
            limits = getattr(self, name)
            if len(limits) != 2 or not 0 <= limits[0] <= limits[1]:
                raise TrainingError(f"{name} {limits}: give LEAST,MOST, none below 0")

    def __call__(
        self, image: NDArray[np.uint8], labels: NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Change one sample.

        Args:
            image: uint8 [H, W, 3] RGB.
            labels: uint8 [H, W], 255 = void.
            rng: the only source of chance: the same generator state gives the same result.

        Returns:
            uint8 [crop, 3] and uint8 [crop]; what lies outside the image is grey and void.
        """
        image, labels = self._warp(image, labels, rng)
        return self._relight(image, rng), labels

    def _warp(
        self, image: NDArray[np.uint8], labels: NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        height, width = labels.shape
        crop_height, crop_width = self.crop
        scale_y = _factor(rng, self.scale)
        scale_x = scale_y * _factor(rng, self.aspect)
        offset_x = _offset(rng, width * scale_x - crop_width)
        offset_y = _offset(rng, height * scale_y - crop_height)
        matrix = np.array([[scale_x, 0, -offset_x], [0, scale_y, -offset_y]])
        if rng.random() < self.flip:
            matrix[0] = [-matrix[0, 0], 0, crop_width - 1 - matrix[0, 2]]
        size = (crop_width, crop_height)
        warped = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderValue=(127,) * 3)
        marks = cv2.warpAffine(labels, matrix, size, flags=cv2.INTER_NEAREST, borderValue=VOID)
        return np.asarray(warped, np.uint8), np.asarray(marks, np.uint8)

    def _relight(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        ramp = np.linspace(0.0, 1.0, 256) ** _factor(rng, self.gamma)
        mean = max(1e-3, float(ramp[image[::4, ::4]].mean()))
        balance = np.exp(rng.uniform(*np.log(self.channel_gain), size=3))
        gains = _factor(rng, self.exposure) / mean * balance
        lut = np.clip(ramp[:, None] * gains, 0, 255).astype(np.float32)
        lit = np.stack([lut[:, c][image[..., c]] for c in range(3)], axis=-1)
        grey = lit.mean(axis=-1, keepdims=True)
        lit = grey + (lit - grey) * np.float32(rng.uniform(*self.saturation))
        lit *= self._shade(image.shape[:2], rng)[..., None]
        if rng.random() < 0.5:
            lit = np.asarray(cv2.GaussianBlur(lit, (0, 0), rng.uniform(0.3, self.blur)), np.float32)
        lit += rng.standard_normal(lit.shape, np.float32) * np.float32(rng.uniform(0, self.noise))
        return np.clip(lit, 0, 255).astype(np.uint8)

    def _shade(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
        slope_y, slope_x = rng.uniform(-self.shading, self.shading, size=2)
        y = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
        x = np.linspace(-1, 1, shape[1], dtype=np.float32)[None, :]
        return np.exp(np.float32(slope_y) * y + np.float32(slope_x) * x).astype(np.float32)


def _factor(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(np.log(limits[0]), np.log(limits[1]))))


def _offset(rng: np.random.Generator, slack: float) -> float:
    """Where the crop begins: anywhere inside or, where the image is smaller, anywhere around it."""
    return float(rng.uniform(min(0.0, slack), max(0.0, slack)))
