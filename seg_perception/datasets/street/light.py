"""The light of a drive: sun, sky, haze, and what they make of a surface's colour."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Light:
    """Colours are RGB factors (`sun`, `ambient`) or RGB, 0 to 255 (the others).

    Attributes:
        to_sun: [3] unit vector, in the world frame or, after `seen_from`, in the vehicle's.
        sun: what a surface that faces the sun gets; 0 = none.
        ambient: what every surface gets.
        zenith, horizon, cloud, haze: colours of the sky and of what is far away.
        cloudiness: part of the sky under clouds, 0 to 1.
        visibility: distance at which 63 % is haze, metres.
        lamps: whether lamps and windows are lit.
    """

    to_sun: FloatArray
    sun: FloatArray
    ambient: FloatArray
    zenith: FloatArray
    horizon: FloatArray
    cloud: FloatArray
    haze: FloatArray
    cloudiness: float
    visibility: float
    lamps: bool

    def seen_from(self, heading: float) -> Light:
        """The same light in the frame of a vehicle that looks along `heading`."""
        x, y, z = self.to_sun
        cos, sin = np.cos(heading), np.sin(heading)
        return replace(self, to_sun=np.array([x * cos + y * sin, y * cos - x * sin, z]))

    def factor(self, normal: ArrayLike) -> FloatArray:
        """RGB [..., 3] by which a surface's colour is multiplied; unit `normal` [..., 3]."""
        normal = np.asarray(normal, np.float64)
        facing = np.maximum(normal @ self.to_sun, 0.0)[..., None]
        return np.asarray(self.ambient * (0.85 + 0.15 * normal[..., 2:]) + self.sun * facing)

    @property
    def shadow(self) -> FloatArray:
        """RGB [3] factor of level ground in shadow against level ground in the sun."""
        return self.ambient / self.factor((0, 0, 1))

    @property
    def has_shadows(self) -> bool:
        """Whether the sun is strong enough to throw any."""
        return float(self.sun.mean()) > 0.15

    def shade(self, color: ArrayLike, normal: ArrayLike) -> list[float]:
        """The RGB of a surface in this light, at most 255."""
        lit = np.asarray(color, np.float64) * self.factor(normal)
        return [float(channel) for channel in np.minimum(lit, 255)]


def random_light(rng: np.random.Generator) -> Light:
    """Day with sun, half of the time; else overcast, hazy morning or dusk."""
    kind = str(rng.choice(["sunny", "overcast", "hazy", "dusk"], p=[0.5, 0.22, 0.1, 0.18]))
    azimuth = rng.uniform(0, 2 * np.pi)
    elevation = np.radians({"sunny": rng.uniform(22, 60), "hazy": 18, "dusk": 6}.get(kind, 50))
    to_sun = np.array(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ]
    )
    warm = rng.uniform(0, 1)
    return LIGHTS[kind](to_sun, warm, rng)


def _sunny(to_sun: FloatArray, warm: float, rng: np.random.Generator) -> Light:
    return Light(
        to_sun=to_sun,
        sun=np.array([0.72, 0.66 - 0.05 * warm, 0.56 - 0.14 * warm]),
        ambient=np.array([0.50, 0.54, 0.62]) * rng.uniform(0.8, 1.1),
        zenith=np.array([62, 112, 190.0]) + rng.uniform(-15, 25),
        horizon=np.array([196, 216, 236.0]),
        cloud=np.array([250, 250, 250.0]),
        haze=np.array([198, 212, 228.0]),
        cloudiness=rng.uniform(0.1, 0.6),
        visibility=rng.uniform(350, 900),
        lamps=False,
    )


def _overcast(to_sun: FloatArray, warm: float, rng: np.random.Generator) -> Light:
    gray = rng.uniform(0.8, 1.1)
    return Light(
        to_sun=to_sun,
        sun=np.full(3, 0.08),
        ambient=np.array([0.80, 0.82, 0.85]) * gray,
        zenith=np.array([168, 176, 186.0]) * gray,
        horizon=np.array([214, 218, 222.0]) * min(gray, 1.05),
        cloud=np.array([218, 222, 226.0]) * gray,
        haze=np.array([200, 205, 210.0]) * min(gray, 1.05),
        cloudiness=rng.uniform(0.85, 1.0),
        visibility=rng.uniform(200, 500),
        lamps=False,
    )


def _hazy(to_sun: FloatArray, warm: float, rng: np.random.Generator) -> Light:
    return Light(
        to_sun=to_sun,
        sun=np.array([0.50, 0.44, 0.34]),
        ambient=np.array([0.60, 0.60, 0.62]),
        zenith=np.array([150, 176, 206.0]),
        horizon=np.array([240, 228, 208.0]) - 12 * warm,
        cloud=np.array([246, 238, 226.0]),
        haze=np.array([226, 220, 208.0]),
        cloudiness=rng.uniform(0.1, 0.4),
        visibility=rng.uniform(90, 180),
        lamps=False,
    )


def _dusk(to_sun: FloatArray, warm: float, rng: np.random.Generator) -> Light:
    dark = rng.uniform(0.55, 1.0)
    return Light(
        to_sun=to_sun,
        sun=np.array([0.10, 0.06, 0.03]) * dark,
        ambient=np.array([0.34, 0.35, 0.42]) * dark,
        zenith=np.array([64, 80, 120.0]) * dark,
        horizon=(np.array([226, 172, 132.0]) + np.array([14, -10, -24]) * warm)
        * (0.4 + 0.6 * dark),
        cloud=np.array([120, 112, 128.0]) * dark,
        haze=np.array([134, 126, 134.0]) * dark,
        cloudiness=rng.uniform(0.3, 0.8),
        visibility=rng.uniform(250, 500),
        lamps=True,
    )


LIGHTS = {"sunny": _sunny, "overcast": _overcast, "hazy": _hazy, "dusk": _dusk}
