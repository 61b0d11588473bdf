"""What the camera does to the light: haze on its way, exposure, colour, blur, noise."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.street.canvas import Canvas
from seg_perception.datasets.street.light import Light

Image = NDArray[np.uint8]

GAUSSIAN = np.array([NormalDist().inv_cdf((k + 0.5) / 256) for k in range(256)])
"""Quantiles of the normal distribution: turns random bytes into noise."""


@dataclass(frozen=True)
class Lens:
    """One camera's picture quality.

    Attributes:
        gain: RGB [3] exposure and white balance.
        gamma: of the tone curve, 1 = none.
        vignette: how much darker the corners are, 0 to 1.
        blur: deviation of the lens's blur in pixels.
        noise: deviation of the sensor's noise, of 255.
    """

    gain: tuple[float, float, float]
    gamma: float
    vignette: float
    blur: float
    noise: float

    def expose(self, canvas: Canvas, light: Light, seed: list[int]) -> Image:
        """The picture uint8 [H, W, 3] that the camera hands out; `seed` decides its noise."""
        image = _through_haze(canvas, light)
        image *= self._shading(canvas)[..., None]
        soft = cv2.GaussianBlur(image, (3, 3), self.blur) if self.blur > 0.2 else image
        exposed = cv2.LUT(np.clip(soft, 0, 255).astype(np.uint8), self._curve())
        return self._with_noise(np.asarray(exposed), seed)

    def _shading(self, canvas: Canvas) -> NDArray[np.float32]:
        across = (canvas.ray_x / canvas.ray_x[-1]) ** 2
        down = (canvas.ray_y / canvas.ray_y[-1]) ** 2
        return np.asarray(1 - np.float32(self.vignette) / 2 * (down[:, None] + across))

    def _curve(self) -> Image:
        """Look-up table [1, 256, 3]."""
        level = np.arange(256)[:, None] / 255 * self.gain
        shoulder = np.where(level > 0.8, 0.8 + 0.2 * np.tanh((level - 0.8) / 0.2), level)
        return np.clip(255 * shoulder**self.gamma, 0, 255).astype(np.uint8)[None]

    def _with_noise(self, image: Image, seed: list[int]) -> Image:
        draws = np.random.default_rng(seed).integers(0, 256, image.shape, np.uint8)
        levels = np.round(GAUSSIAN * self.noise).astype(np.int16)
        grain = cv2.LUT(draws, levels)
        return np.asarray(cv2.add(image, grain, dtype=cv2.CV_8U), np.uint8)


def random_lens(light: Light, rng: np.random.Generator) -> Lens:
    """A camera that exposes a light as well or badly as cameras do."""
    brightness = float(light.factor((0, 0, 1)).mean())
    exposure = 1.2 * brightness ** (-0.2 if light.lamps else -0.6) * rng.lognormal(0.0, 0.14)
    balance = 1 + rng.normal(0, 0.022, 3)
    return Lens(
        gain=(exposure * balance[0], exposure * balance[1], exposure * balance[2]),
        gamma=rng.uniform(0.85, 1.15),
        vignette=rng.uniform(0.0, 0.3),
        blur=rng.uniform(0.35, 0.75),
        noise=rng.uniform(0.8, 3.5) * (1.6 if light.lamps else 1.0),
    )


def _through_haze(canvas: Canvas, light: Light) -> NDArray[np.float32]:
    """Mix every surface with the haze before it, by its depth."""
    clear = np.exp(canvas.depth * np.float32(-1 / light.visibility))
    clear[np.isinf(canvas.depth)] = 1
    haze = light.haze.astype(np.float32)
    image = canvas.image.astype(np.float32)
    image -= haze
    image *= clear[..., None]
    image += haze
    return image
