"""Evidence from lane detection: what lies between the lane borders is road."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import VOID
from seg_perception.errors import EvidenceError
from seg_perception.evidence.record import Evidence, check_map, row_weights


def evidence_from_lane_mask(
    mask: NDArray[np.uint8],
    road_ids: tuple[int, ...],
    n_classes: int,
    *,
    weight: float = 1.0,
    stamp_ns: int = 0,
    source: str = "lane_mask",
) -> Evidence:
    """Evidence that every pixel of the mask is one of the road classes.

    Args:
        mask: uint8 [H, W]; 0 and 255 = unknown, anything else = on a lane.
        road_ids: ids of the classes that a lane can lie on.
        n_classes: C, the number of classes of the model.
        weight: how much each lane pixel counts, >= 0.
        stamp_ns: moment of the observation, nanoseconds.
        source: name of the source.

    Raises:
        EvidenceError: `mask` is not such a map, or `road_ids` are not classes of the model.
    """
    check_map(mask, source)
    if not road_ids or not all(0 <= road_id < n_classes for road_id in road_ids):
        raise EvidenceError(
            f"evidence {source!r}: lanes lie on the classes {list(road_ids)}, but the model has "
            f"the classes 0 to {n_classes - 1}: give at least one of those"
        )
    sets = np.zeros((2, n_classes), np.float32)
    sets[0] = 1.0
    sets[1, list(road_ids)] = 1.0
    index = ((mask != 0) & (mask != VOID)).view(np.uint8)
    return Evidence(index, sets, row_weights(2, weight), stamp_ns, source)
