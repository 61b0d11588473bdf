"""Evidence that is wrong on purpose, to measure how much correction is hurt by it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import ConfigError
from seg_perception.evidence.record import Evidence


def lie(evidence: Evidence, fraction: float, rng: np.random.Generator) -> Evidence:
    """Give a random fraction of the known pixels a set that excludes what was known there.

    A lie says another thing the source might say (sky for ground). A source that has nothing
    else to say (a lane detector) names single other classes.

    Args:
        evidence: what the source knows.
        fraction: of the known pixels, 0 to 1.
        rng: decides which pixels, and what they say.

    Raises:
        ConfigError: `fraction` is not in [0, 1].
    """
    if not 0 <= fraction <= 1:
        raise ConfigError(f"fraction of lies is {fraction}; give a number from 0 to 1")
    sets, weight = _with_contradictions(evidence.sets, evidence.weight)
    pixels = np.flatnonzero((evidence.sets == 0).any(axis=1)[evidence.index])
    lying = rng.choice(pixels, round(fraction * len(pixels)), replace=False)
    index = evidence.index.copy()
    for row in np.unique(evidence.index.flat[lying]):
        liars = lying[evidence.index.flat[lying] == row]
        index.flat[liars] = rng.choice(np.flatnonzero(_disjoint(sets, row)), len(liars))
    return replace(evidence, index=index, sets=sets, weight=weight)


def shift(evidence: Evidence, fraction_of_width: float) -> Evidence:
    """Move the evidence sideways, as a wrong calibration does; nothing is known where it left.

    Args:
        evidence: what the source knows.
        fraction_of_width: of the image; positive moves to the right.
    """
    width = evidence.index.shape[1]
    columns = np.arange(width) - round(fraction_of_width * width)
    inside = (columns >= 0) & (columns < width)
    index = np.where(inside, evidence.index[:, columns.clip(0, width - 1)], np.uint8(0))
    return replace(evidence, index=index)


def _with_contradictions(
    sets: NDArray[np.float32], weight: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Add single-class sets where a set has no other that contradicts it."""
    lonely = [row for row in range(1, len(sets)) if not _disjoint(sets, row).any()]
    missing = np.flatnonzero((sets[lonely] == 0).any(axis=0)) if lonely else np.empty(0, int)
    added = np.eye(sets.shape[1], dtype=np.float32)[missing]
    weights = np.full(len(added), weight.max(), np.float32)
    return np.vstack([sets, added]), np.concatenate([weight, weights])


def _disjoint(sets: NDArray[np.float32], row: int) -> NDArray[np.bool_]:
    """Which sets share no class with the given one: bool [S]."""
    shared: NDArray[np.bool_] = sets @ sets[row] == 0
    return shared
