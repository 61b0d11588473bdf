"""The sky with its clouds, and the skyline where the world ends."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.sample import Camera
from seg_perception.datasets.street.canvas import Canvas
from seg_perception.datasets.street.labels import BUILDING, SKY, TREE
from seg_perception.datasets.street.light import Light
from seg_perception.datasets.street.noise import SIZE, noise_patch, noise_tile, sample_tile
from seg_perception.datasets.street.road import SIGHT
from seg_perception.datasets.street.texture import to_image

Array = NDArray[np.float32]

SKYLINE_STEPS = 4096
CLOUD_TEXELS = 60.0  # of the noise tile per unit of height: decides how large clouds are


class Sky:
    """Sky and skyline of one drive; both turn as the vehicle does."""

    def __init__(self, camera: Camera, light: Light, rng: np.random.Generator) -> None:
        self._offset = rng.uniform(0, SIZE, 2).astype(np.float32)
        self._coverage = np.float32(np.interp(light.cloudiness, [0, 1], [1.6, -2.2]))
        self._trees = 5 + 3 * np.maximum(noise_patch(0.8, 1, SKYLINE_STEPS, rng)[0], -1.2)
        self._roofs = _rooftops(rng)
        self._rays = _upward_rays(camera)

    def draw(self, canvas: Canvas, heading: float, light: Light) -> None:
        """Fill the canvas above the horizon; `light` in the vehicle frame."""
        forward, left, up = self._rays
        picture = self._colors(forward, left, up, heading, light)
        rows = min(2 * len(up), canvas.camera.height)
        size = (canvas.camera.width, 2 * len(up))
        canvas.image[:rows] = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)[:rows]
        canvas.labels[:rows] = SKY
        self._draw_skyline(canvas, heading, light)

    def _colors(
        self, forward: Array, left: Array, up: Array, heading: float, light: Light
    ) -> NDArray[np.uint8]:
        cos, sin = np.float32(np.cos(heading)), np.float32(np.sin(heading))
        flat = CLOUD_TEXELS / (up + np.float32(0.12))
        x = (forward * cos - left * sin) * flat + self._offset[0]
        y = (forward * sin + left * cos) * flat + self._offset[1]
        noise = sample_tile(noise_tile(1.6), x, y)
        thickness = np.clip((noise - self._coverage) * 0.8, 0, 1) * np.clip(up * 9, 0, 1)
        clear = np.exp(-4 * up)
        east, north, high = light.to_sun.astype(np.float32)
        toward_sun = np.clip(forward * east + left * north + up * high, 0, 1)
        glow = toward_sun**24 * np.float32(110 * light.sun.mean())
        color = _mix(light.zenith, light.horizon, clear) + glow[..., None]
        base = _mix(light.cloud, light.cloud * 0.8, np.clip(noise * 0.4, 0, 1))
        mixed = color + (base - color) * (thickness * np.float32(0.92))[..., None]
        return to_image(mixed)

    def _draw_skyline(self, canvas: Canvas, heading: float, light: Light) -> None:
        """Trees and roofs at the end of sight, which hide where the ground ends."""
        camera = canvas.camera
        azimuth = heading - np.arctan(canvas.ray_x)
        step = np.round(azimuth / (2 * np.pi) * SKYLINE_STEPS).astype(int) % SKYLINE_STEPS
        end_of_ground = np.array([[SIGHT, 0.0, 0.0]])
        base = float(camera.project(end_of_ground)[0][0, 1])
        last = int(np.clip(np.ceil(base) + 1, 0, camera.height))
        for heights, color, label in (
            (self._roofs, np.array([138, 126, 118]), BUILDING),
            (self._trees, np.array([74, 88, 58]), TREE),
        ):
            tops = base - heights[step] * camera.fy / SIGHT
            first = int(np.clip(np.floor(tops.min()), 0, camera.height))
            mask = np.arange(first, last)[:, None] >= tops
            canvas.image[first:last][mask] = np.clip(color * light.ambient, 0, 255)
            canvas.labels[first:last][mask] = label
            canvas.depth[first:last][mask] = SIGHT


def _rooftops(rng: np.random.Generator) -> Array:
    """Heights of far buildings by azimuth, 0 between them: float32 [SKYLINE_STEPS]."""
    heights = np.zeros(SKYLINE_STEPS, np.float32)
    for start in rng.integers(0, SKYLINE_STEPS, 150):
        end = start + rng.integers(8, 30)
        heights[start:end] = np.maximum(heights[start:end], rng.uniform(6, 13))
    return heights


def _upward_rays(camera: Camera) -> tuple[Array, Array, Array]:
    """Unit rays [h, w] (forward, left, up) of every second pixel down to the horizon."""
    horizon = camera.cy - camera.fy * np.tan(camera.pitch_rad)
    rows = np.arange(0, max(2.0, min(horizon + 2, camera.height)), 2) + 0.5
    columns = np.linspace(0, camera.width, (camera.width + 1) // 2, endpoint=False) + 0.5
    below = ((rows - camera.cy) / camera.fy)[:, None]
    right = ((columns - camera.cx) / camera.fx)[None, :]
    cos, sin = np.cos(camera.pitch_rad), np.sin(camera.pitch_rad)
    length = np.sqrt(1 + below**2 + right**2)
    forward, up = (cos - sin * below) / length, np.maximum(-(sin + cos * below) / length, 0)
    return (
        forward.astype(np.float32),
        (-right / length).astype(np.float32),
        up.astype(np.float32),
    )


def _mix(first: NDArray[np.float64], second: NDArray[np.float64], part: Array) -> Array:
    """Colours [h, w, 3] between two: `part` [h, w] of the second."""
    difference = (second - first).astype(np.float32)
    return np.asarray(first.astype(np.float32) + part[..., None] * difference)
