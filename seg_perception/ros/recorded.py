"""A played bag, frame by frame, as arrays: what the scores and the report are made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image

from seg_perception.errors import SegPerceptionError
from seg_perception.evaluation.bag import COMPRESSED_TYPE, Bag, BagMessage
from seg_perception.evaluation.drive import Answer, ReplayFrame
from seg_perception.evidence.lanes import evidence_from_lane_mask
from seg_perception.evidence.record import Evidence, evidence_from_labels
from seg_perception.ros.messages import decode_compressed, stamp_ns, to_label_map, to_rgb
from seg_perception.ros.player import PlayLog

EVIDENCE_SOURCES = ("labels", "lane_mask")
"""The evidence inputs that the node understands; others in a bag are played but say nothing."""


class EvidenceMemory:
    """Which evidence the node could use for a frame: the newest of each source, if near enough.

    Args:
        n_classes: of the node's model.
        lane_ids: ids of the classes that a lane mask means to the node.
        max_age_s: the node's `evidence_max_age`.
        sources: the inputs that the node listens to.
    """

    def __init__(
        self,
        n_classes: int,
        lane_ids: tuple[int, ...],
        max_age_s: float = 0.5,
        sources: tuple[str, ...] = EVIDENCE_SOURCES,
    ) -> None:
        self._n_classes, self._lane_ids, self._sources = n_classes, lane_ids, sources
        self._max_age_ns = round(max_age_s * 1e9)
        self._newest: dict[str, Evidence] = {}

    def take(self, source: str, message: Image) -> None:
        """Remember a message; one that cannot be read changes nothing, as in the node."""
        if source not in self._sources:
            return
        about: dict[str, Any] = {"stamp_ns": stamp_ns(message.header), "source": source}
        try:
            values = to_label_map(message)
            if source == "labels":
                evidence = evidence_from_labels(values, self._n_classes, **about)
            else:
                evidence = evidence_from_lane_mask(values, self._lane_ids, self._n_classes, **about)
        except SegPerceptionError:
            return
        self._newest[source] = evidence

    def near(self, stamp_ns: int) -> tuple[Evidence, ...]:
        """What is near enough to a frame of this stamp in nanoseconds."""
        return tuple(
            evidence
            for evidence in self._newest.values()
            if abs(evidence.stamp_ns - stamp_ns) <= self._max_age_ns
        )


def replayed_frames(bag: Bag, log: PlayLog, memory: EvidenceMemory) -> Iterator[ReplayFrame]:
    """The frames of a bag that were answered, in order.

    Args:
        bag: opened.
        log: of its play.
        memory: empty; without evidence for the node, an empty one that is never fed.

    Raises:
        BagError: the bag cannot be read.
        MessageError: its truth cannot be read.
    """
    for frame in bag.frames():
        for message in frame.before:
            if message.role in EVIDENCE_SOURCES and log.with_evidence:
                memory.take(message.role, deserialize_message(message.data, Image))
        mask = log.masks.get(frame.stamp_ns)
        if mask is None:
            continue
        entropy = log.entropies.get(frame.stamp_ns)
        yield ReplayFrame(
            stamp_ns=frame.stamp_ns,
            image=_image(frame.image),
            truth=None if frame.truth is None else _labels(frame.truth),
            evidence=memory.near(frame.stamp_ns),
            answer=Answer(
                labels=mask.labels.unpack(),
                entropy=None if entropy is None else entropy.unpack(),
                latency_ms=log.latency_ms.get(frame.stamp_ns),
            ),
        )


def _image(message: BagMessage) -> NDArray[np.uint8]:
    if message.msgtype == COMPRESSED_TYPE:
        return decode_compressed(deserialize_message(message.data, CompressedImage))
    return to_rgb(deserialize_message(message.data, Image))


def _labels(message: BagMessage) -> NDArray[np.uint8]:
    return to_label_map(deserialize_message(message.data, Image))
