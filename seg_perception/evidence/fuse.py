"""From what several sources know to what one model takes: one size, one index, few sets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import EvidenceError
from seg_perception.evidence.record import MAX_ROWS, Evidence
from seg_perception.nearest import resize_nearest


def fuse(
    evidence: Sequence[Evidence], height: int, width: int, n_classes: int, max_sets: int
) -> Evidence:
    """Join the evidence of all sources into one that a model takes.

    Where sources overlap, the intersection of their sets holds, as sure as the less sure of those
    who narrow it down. Where it is empty, sources contradict each other and the heavier is
    believed, or the first of equals. Rows of weight 0 say nothing. If more than `max_sets` sets
    remain, those with the least weight times pixels are left out (`Evidence.left_out_pixels`).

    Args:
        evidence: any number of sources, of any size: rescaled by nearest neighbour.
        height: H of the result.
        width: W of the result.
        n_classes: C of the model.
        max_sets: most rows of the result.

    Returns:
        Evidence [H, W] with the newest stamp; the sources' names joined by "+".

    Raises:
        EvidenceError: a source speaks about another number of classes.
    """
    for source in evidence:
        if source.n_classes != n_classes:
            raise EvidenceError(
                f"evidence {source.source!r} speaks about {source.n_classes} classes, the model "
                f"has {n_classes}: make it with the classes of the model's manifest"
            )
    if not evidence:
        return _nothing(height, width, n_classes)
    scaled = [rescale(source, height, width) for source in evidence]
    joined = reduce(_intersect, scaled)
    if len(joined.sets) <= max_sets and joined.weight[1:].all():
        return joined
    return _compact(joined, joined.index, joined.sets, joined.weight, max_sets)


def rescale(evidence: Evidence, height: int, width: int) -> Evidence:
    """The same evidence [height, width]: nearest neighbour by pixel centres; itself if it fits."""
    if evidence.index.shape == (height, width):
        return evidence
    return replace(evidence, index=resize_nearest(evidence.index, height, width))


def evidence_inputs(evidence: Evidence, max_sets: int) -> dict[str, NDArray[Any]]:
    """The graph inputs `evidence`, `evidence_sets` and `evidence_weight`.

    Args:
        evidence: of the model's size, with at most `max_sets` rows, as `fuse` makes it.
        max_sets: S, the rows that the graph takes; those unused allow everything and weigh nothing.
    """
    n_rows, n_classes = evidence.sets.shape
    sets = np.ones((max_sets, n_classes), np.float32)
    sets[:n_rows] = evidence.sets
    weight = np.zeros(max_sets, np.float32)
    weight[:n_rows] = evidence.weight
    return {"evidence": evidence.index[None], "evidence_sets": sets, "evidence_weight": weight}


def agreement(evidence: Evidence, labels: NDArray[np.uint8]) -> float:
    """Percent of the evidence pixels whose label is one that remains possible.

    Args:
        evidence: [H, W].
        labels: uint8 [H, W], class ids; ids that the evidence does not know agree with nothing.

    Returns:
        0 to 100; NaN where the evidence knows nothing.
    """
    n_known = np.count_nonzero(evidence.index)
    if not n_known:
        return math.nan
    return float(100.0 - 100.0 * np.count_nonzero(contradicted(evidence, labels)) / n_known)


def contradicted(evidence: Evidence, labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where a label is one that the evidence rules out: bool [H, W].

    Args:
        evidence: [H, W].
        labels: uint8 [H, W], class ids; ids that the evidence does not know agree with nothing.
    """
    impossible = np.ones((len(evidence.sets), 256), bool)
    impossible[:, : evidence.n_classes] = evidence.sets == 0
    impossible[0] = False
    pairs = (evidence.index.astype(np.uint16) << 8) | labels
    return impossible.ravel().take(pairs)


def _nothing(height: int, width: int, n_classes: int) -> Evidence:
    return Evidence(
        np.zeros((height, width), np.uint8),
        np.ones((1, n_classes), np.float32),
        np.zeros(1, np.float32),
        stamp_ns=0,
        source="nothing",
    )


def _intersect(first: Evidence, second: Evidence) -> Evidence:
    """Join two sources of one size, by a table over the pairs of rows that can meet in a pixel."""
    n_second = len(second.sets)
    i, j = np.divmod(np.arange(len(first.sets) * n_second), n_second)
    sets, weight = _joined_rows(first.sets[i], first.weight[i], second.sets[j], second.weight[j])
    return _compact(
        replace(
            second,
            stamp_ns=max(first.stamp_ns, second.stamp_ns),
            source=f"{first.source}+{second.source}",
            left_out_pixels=first.left_out_pixels + second.left_out_pixels,
        ),
        first.index.astype(np.int32) * n_second + second.index,
        sets,
        weight,
        MAX_ROWS,
    )


def _joined_rows(
    sets_a: NDArray[np.float32],
    weight_a: NDArray[np.float32],
    sets_b: NDArray[np.float32],
    weight_b: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Row by row: the set [R, C] that two sources leave possible together, and its weight [R]."""
    sets_a = np.where(weight_a[:, None] > 0, sets_a, 1)
    sets_b = np.where(weight_b[:, None] > 0, sets_b, 1)
    both = sets_a * sets_b
    heavier = np.where((weight_a >= weight_b)[:, None], sets_a, sets_b)
    contradictory = both.max(axis=1) == 0
    narrowed = (both != heavier).any(axis=1) & ~contradictory
    sets = np.where(contradictory[:, None], heavier, both)
    weight = np.where(narrowed, np.minimum(weight_a, weight_b), np.maximum(weight_a, weight_b))
    return sets, weight


def _compact(
    evidence: Evidence,
    index: NDArray[np.integer[Any]],
    sets: NDArray[np.float32],
    weight: NDArray[np.float32],
    max_rows: int,
) -> Evidence:
    """`evidence` with these contents, each set only once, and at most `max_rows` rows.

    Args:
        evidence: gives stamp, source and pixels left out so far.
        index: [H, W], rows of `sets`, of which there may be any number.
        sets: float32 [R, C].
        weight: float32 [R].
        max_rows: most rows to keep, "nothing known" included.
    """
    pixels = np.bincount(index.ravel(), minlength=len(sets))
    speaking = np.flatnonzero((pixels > 0) & (weight > 0) & (sets.min(axis=1) == 0))
    rows, group = np.unique(np.column_stack([sets, weight])[speaking], axis=0, return_inverse=True)
    group = group.ravel()
    row_pixels = np.bincount(group, weights=pixels[speaking], minlength=len(rows))
    order = np.argsort(-row_pixels * rows[:, -1], kind="stable")
    kept = order[: max_rows - 1]
    place = np.zeros(len(rows), np.uint8)
    place[kept] = np.arange(1, len(kept) + 1)
    lookup = np.zeros(len(sets), np.uint8)
    lookup[speaking] = place[group]
    nothing = np.append(np.ones(sets.shape[1]), 0.0)
    table = np.vstack([nothing, rows[kept]]).astype(np.float32)
    return replace(
        evidence,
        index=lookup[index],
        sets=table[:, :-1],
        weight=table[:, -1],
        left_out_pixels=evidence.left_out_pixels + int(row_pixels[order[max_rows - 1 :]].sum()),
    )
