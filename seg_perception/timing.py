"""Where the time goes: a stopwatch for the stages of a frame, and their recent percentiles."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Percentiles:
    """Milliseconds that half, nine of ten, and 99 of 100 frames stayed below."""

    p50_ms: float
    p90_ms: float
    p99_ms: float


def percentiles(durations_ms: Sequence[float]) -> Percentiles:
    """The percentiles of at least one duration in milliseconds."""
    p50, p90, p99 = np.percentile(durations_ms, (50, 90, 99))
    return Percentiles(float(p50), float(p90), float(p99))


class Stopwatch:
    """Splits a span of time into named stages.

    Args:
        before: milliseconds of stages that are over already, by name.
    """

    def __init__(self, before: Mapping[str, float] | None = None) -> None:
        self.timings: dict[str, float] = dict(before or {})
        self._lap_start = time.perf_counter()

    def lap(self, stage: str) -> None:
        """End this stage now; it began where the last one ended. Milliseconds."""
        now = time.perf_counter()
        self.timings[stage] = 1e3 * (now - self._lap_start)
        self._lap_start = now


class StageHistory:
    """The last timings of every stage, in memory that does not grow.

    Args:
        length: how many frames are remembered.
    """

    def __init__(self, length: int = 512) -> None:
        self._length = length
        self._durations: dict[str, deque[float]] = {}

    def add(self, timings: Mapping[str, float]) -> None:
        """Remember the milliseconds of each stage of one frame."""
        for stage, duration_ms in timings.items():
            self._durations.setdefault(stage, deque(maxlen=self._length)).append(duration_ms)

    def percentiles(self) -> dict[str, Percentiles]:
        """The percentiles of every stage seen so far."""
        return {stage: percentiles(list(known)) for stage, known in self._durations.items()}
