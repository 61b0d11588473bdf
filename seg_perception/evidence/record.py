"""The evidence record: per pixel, the set of classes that remain possible.

A lane region says {road}; a ground plane says {road, sidewalk}; an obstacle says "anything but
road, sidewalk, sky". Many pixels share few sets, so a pixel holds the row of its set.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import VOID
from seg_perception.errors import EvidenceError

MAX_ROWS = 256
"""Rows that a uint8 index can name."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Set-valued labels of one source at one moment.

    Attributes:
        index: uint8 [H, W]; 0 = nothing known, k = row k of `sets`.
        sets: float32 [S, C], multi-hot: 1 for each class that remains possible. Row 0 is all ones.
        weight: float32 [S], >= 0: how much a pixel of each row counts. weight[0] is 0.
        stamp_ns: moment of the observation, nanoseconds, the clock of the frames.
        source: name of the source, e.g. "lane_mask".
        left_out_pixels: pixels whose knowledge was dropped because the model takes fewer sets.

    Raises:
        EvidenceError: an array breaks the rules above.
    """

    index: NDArray[np.uint8]
    sets: NDArray[np.float32]
    weight: NDArray[np.float32]
    stamp_ns: int
    source: str
    left_out_pixels: int = 0

    def __post_init__(self) -> None:
        check_map(self.index, self.source)
        _check_sets(self.sets, self.source)
        _check_weight(self.weight, len(self.sets), self.source)
        highest = int(self.index.max())
        if highest >= len(self.sets):
            raise EvidenceError(
                f"evidence {self.source!r}: the index names row {highest}, but there are only "
                f"{len(self.sets)} sets: give a set for every row"
            )

    @property
    def n_classes(self) -> int:
        """Number of classes the sets speak about."""
        return int(self.sets.shape[1])


def evidence_from_labels(
    labels: NDArray[np.uint8],
    n_classes: int,
    *,
    weight: float = 1.0,
    stamp_ns: int = 0,
    source: str = "labels",
) -> Evidence:
    """Evidence that knows the one class of every labelled pixel.

    Args:
        labels: uint8 [H, W], class ids; 255 = unknown.
        n_classes: C, the number of classes of the model.
        weight: how much each known pixel counts, >= 0.
        stamp_ns: moment of the observation, nanoseconds.
        source: name of the source.

    Raises:
        EvidenceError: `labels` is not such a map, or names a class the model does not have.
    """
    check_map(labels, source)
    # 255 + 1 wraps to 0, so that unknown becomes "nothing known".
    index = labels + np.uint8(1)
    highest = int(index.max())
    if highest > n_classes:
        raise EvidenceError(
            f"evidence {source!r} names class {highest - 1}, but the model has the classes 0 to "
            f"{n_classes - 1}: send those ids, and {VOID} where the class is unknown"
        )
    sets = np.vstack([np.ones((1, n_classes)), np.eye(n_classes)]).astype(np.float32)
    return Evidence(index, sets, row_weights(n_classes + 1, weight), stamp_ns, source)


def row_weights(n_rows: int, weight: float) -> NDArray[np.float32]:
    """Float32 [n_rows]: 0 for "nothing known", `weight` for every other row."""
    weights = np.full(n_rows, weight, np.float32)
    weights[0] = 0.0
    return weights


def check_map(index: NDArray[np.uint8], source: str) -> None:
    """Refuse what is not a uint8 map [H, W] of at least one pixel.

    Raises:
        EvidenceError: it is not; the message names the source.
    """
    if index.dtype != np.uint8 or index.ndim != 2 or index.size == 0:
        raise EvidenceError(
            f"evidence {source!r} is {index.dtype} {list(index.shape)}: "
            "give a uint8 map [H, W] of at least one pixel"
        )


def _check_sets(sets: NDArray[np.float32], source: str) -> None:
    if sets.dtype != np.float32 or sets.ndim != 2 or not 1 <= len(sets) <= MAX_ROWS:
        raise EvidenceError(
            f"evidence {source!r}: the sets are {sets.dtype} {list(sets.shape)}: "
            f"give float32 [S, C] with 1 to {MAX_ROWS} rows"
        )
    if not np.isin(sets, (0.0, 1.0)).all():
        raise EvidenceError(
            f"evidence {source!r}: the sets hold other values than 0 and 1: "
            "write 1 for each class that remains possible"
        )
    if not sets[0].all() or not sets.any(axis=1).all():
        raise EvidenceError(
            f"evidence {source!r}: row 0 must be all ones (nothing known) and every other row "
            "must leave at least one class possible"
        )


def _check_weight(weight: NDArray[np.float32], n_rows: int, source: str) -> None:
    if weight.dtype != np.float32 or weight.shape != (n_rows,):
        raise EvidenceError(
            f"evidence {source!r}: the weights are {weight.dtype} {list(weight.shape)}: "
            f"give float32 [{n_rows}], one for each set"
        )
    if weight[0] != 0 or not np.isfinite(weight).all() or (weight < 0).any():
        raise EvidenceError(
            f"evidence {source!r}: the weights are {weight.tolist()}: give finite numbers >= 0, "
            "the first of them 0 (nothing known weighs nothing)"
        )
