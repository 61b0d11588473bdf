"""Whether a source lies beside the things it is about: whether it would fit the image if moved.

A source that is displaced by a few hundredths of the image's width, as by a wrong calibration,
contradicts the image only along the edges of things: in too few pixels to tell it from one that
knows better. But it would contradict the image in fewer still if it were moved back, which is not
so for one that lies, nor for one that is right.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from seg_perception.evidence.fuse import contradicted
from seg_perception.evidence.record import Evidence

MOVES = (-0.1, -0.07, -0.05, -0.03, -0.02, 0.02, 0.03, 0.05, 0.07, 0.1)
"""Ways to move it, sideways, as fractions of the image's width."""
FEWEST_PIXELS = 20
"""Fewer that would fit better tell nothing."""
MENDED = 0.5
"""Of what contradicts the image, moving must mend more than this fraction, and moving as far again
must bring back as much: else the source fits there only because less of it is compared."""


def misfit(evidence: Evidence, labels: NDArray[np.uint8], sure: NDArray[np.bool_]) -> float:
    """Percent of a source's pixels that contradict the image and would not if it were moved.

    Args:
        evidence: [H, W].
        labels: uint8 [H, W], an answer in which it took no part.
        sure: bool [H, W], where that answer can be relied on.

    Returns:
        0 to 100; 0 where moving would not mend most of it.
    """
    here, n_here = _contradicted(evidence, labels, sure, 0)
    if here * n_here < FEWEST_PIXELS:
        return 0.0
    moves = {round(fraction * labels.shape[1]) for fraction in MOVES} - {0}
    there, columns = min((_contradicted(evidence, labels, sure, k)[0], k) for k in moves)
    beyond, _ = _contradicted(evidence, labels, sure, 2 * columns)
    if max(there, here - min(here, beyond)) > MENDED * here:
        return 0.0
    mended = here - there
    return 100 * mended if mended * n_here >= FEWEST_PIXELS else 0.0


def _contradicted(
    evidence: Evidence, labels: NDArray[np.uint8], sure: NDArray[np.bool_], columns: int
) -> tuple[float, int]:
    """The fraction of the sure pixels it contradicts, moved so far to the right; their number."""
    width = labels.shape[1]
    there = slice(max(0, columns), width + min(0, columns))
    here = slice(max(0, -columns), width - max(0, columns))
    moved = replace(evidence, index=np.ascontiguousarray(evidence.index[:, here]))
    known = (moved.index > 0) & sure[:, there]
    wrong = contradicted(moved, np.ascontiguousarray(labels[:, there])) & known
    n_known = int(np.count_nonzero(known))
    return int(np.count_nonzero(wrong)) / max(n_known, 1), n_known
