"""Sensors that are wrong on purpose: what `make-bag --fault` does to their readings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import VOID
from seg_perception.errors import ConfigError
from seg_perception.evaluation.bag import TOPICS_OF
from seg_perception.evaluation.sensors import Reading

ANY = ("drop", "delay")
KINDS = {
    "lane_mask": ("noise", "shift", *ANY),
    "labels": ("noise", "shift", *ANY),
    "lane_borders": ("noise", "bias", "yaw", "pitch", *ANY),
    "depth": ("noise", "bias", "shift", *ANY),
    "points": ("noise", "bias", "yaw", "pitch", *ANY),
}
"""The faults that each source can have."""


@dataclass(frozen=True)
class Fault:
    """What is wrong with one source; 0 = nothing.

    Attributes:
        source: see `KINDS`.
        noise: masks: fraction of the pixels that say something random; depth: standard deviation
            in parts of the depth; points and borders: standard deviation in metres.
        bias: metres that everything seems further away.
        shift: parts of the image's width that everything lies too far to the right.
        yaw: degrees by which the calibration is wrong about the vertical, to the right.
        pitch: degrees by which it is wrong about the horizontal, downwards.
        drop: probability that a reading is missing.
        delay: seconds by which a reading is older than its stamp says.
    """

    source: str
    noise: float = 0.0
    bias: float = 0.0
    shift: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0
    drop: float = 0.0
    delay: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.drop <= 1 and self.delay >= 0 and self.noise >= 0):
            raise ConfigError(
                f"fault of {self.source}: drop is {self.drop}, delay {self.delay}, noise "
                f"{self.noise}: give a drop from 0 to 1, and no negative delay or noise"
            )


def parse_fault(text: str) -> Fault:
    """Read a fault as the command line gives it: "depth:noise=0.05,delay=0.2".

    Raises:
        ConfigError: an unknown source or kind, or a value that is no number.
    """
    source, _, said = text.partition(":")
    if source not in KINDS:
        raise ConfigError(f"fault {text!r} is of no source: use one of {', '.join(KINDS)}")
    values = dict(_assignment(text, part) for part in said.split(","))
    unknown = values.keys() - set(KINDS[source])
    if unknown:
        raise ConfigError(
            f"fault {text!r}: {source} has no {', '.join(sorted(unknown))}: use "
            f"{', '.join(KINDS[source])}, as in {source}:{KINDS[source][0]}=0.1"
        )
    return Fault(source, **values)


class FaultySensors:
    """Spoils the readings of a drive, frame by frame, and remembers what is delayed.

    Args:
        faults: at most one of each source.

    Raises:
        ConfigError: two of one source.
    """

    def __init__(self, faults: Sequence[Fault]) -> None:
        self._faults = {fault.source: fault for fault in faults}
        if len(self._faults) < len(faults):
            raise ConfigError("two faults of one source: join them, as in depth:noise=0.1,drop=0.2")
        self._past: dict[str, list[tuple[int, Mapping[str, Reading]]]] = {}

    def restart(self) -> None:
        """Another drive begins."""
        self._past.clear()

    def spoil(
        self, readings: Mapping[str, Reading], stamp_ns: int, rng: np.random.Generator
    ) -> dict[str, Reading]:
        """The readings as the faulty sensors give them; what is dropped or not there yet is gone.

        Args:
            readings: by the names of `evaluation.sensors`.
            stamp_ns: of the frame, nanoseconds.
            rng: decides what is random.
        """
        spoilt: dict[str, Reading] = {}
        for source, names in TOPICS_OF.items():
            said = {name: readings[name] for name in names if name in readings}
            fault = self._faults.get(source)
            if fault is not None and said:
                late = self._late(fault, said, stamp_ns)
                dropped = rng.random() < fault.drop
                said = {} if dropped else {n: _spoil(r, fault, rng) for n, r in late.items()}
            spoilt |= said
        return spoilt

    def _late(
        self, fault: Fault, said: Mapping[str, Reading], stamp_ns: int
    ) -> Mapping[str, Reading]:
        """What the source said as long ago as it lags."""
        past = self._past.setdefault(fault.source, [])
        past.append((stamp_ns, said))
        shown_ns = stamp_ns - round(fault.delay * 1e9)
        while len(past) > 1 and past[1][0] <= shown_ns:
            past.pop(0)
        then_ns, reading = past[0]
        return reading if then_ns <= shown_ns else {}


def _spoil(reading: Reading, fault: Fault, rng: np.random.Generator) -> Reading:
    spoil = {"lane_mask": _spoil_mask, "labels": _spoil_mask, "depth": _spoil_depth}
    return spoil.get(fault.source, _spoil_points)(reading, fault, rng)


def _spoil_mask(mask: Reading, fault: Fault, rng: np.random.Generator) -> Reading:
    """Some pixels say what some other pixel says, and all lie elsewhere."""
    lying = rng.random(mask.shape) < fault.noise
    spoilt = mask.copy()
    spoilt[lying] = rng.choice(np.unique(mask), np.count_nonzero(lying))
    return _shifted(spoilt, fault.shift, VOID)


def _spoil_depth(depth: Reading, fault: Fault, rng: np.random.Generator) -> Reading:
    factor = 1 + fault.noise * rng.standard_normal(depth.shape, np.float32)
    return _shifted((depth * factor + fault.bias).astype(np.float32), fault.shift, np.nan)


def _spoil_points(points: Reading, fault: Fault, rng: np.random.Generator) -> Reading:
    noisy = points + fault.noise * rng.standard_normal(points.shape)
    noisy[:, 2] += fault.bias
    return np.asarray(noisy @ _turn(fault).T, np.float32)


def _shifted(image: Reading, fraction: float, unknown: float) -> Reading:
    """The image moved to the right by a fraction of its width; unknown where it left."""
    columns = round(fraction * image.shape[1])
    moved = np.roll(image, columns, axis=1)
    moved[:, slice(columns) if columns >= 0 else slice(columns, None)] = unknown
    return moved


def _turn(fault: Fault) -> NDArray[np.float64]:
    """Rotation [3,3] of the optical frame: everything to the right by yaw, down by pitch."""
    yaw, pitch = math.radians(fault.yaw), math.radians(fault.pitch)
    c, s = math.cos(yaw), math.sin(yaw)
    about_down = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    c, s = math.cos(pitch), math.sin(pitch)
    about_right = np.array([[1, 0, 0], [0, c, s], [0, -s, c]])
    turn: NDArray[np.float64] = about_right @ about_down
    return turn


def _assignment(fault: str, part: str) -> tuple[str, Any]:
    name, _, value = part.partition("=")
    try:
        return name.strip(), float(value)
    except ValueError:
        raise ConfigError(
            f"fault {fault!r}: {part!r} is not NAME=NUMBER, as in depth:noise=0.05,delay=0.2"
        ) from None
