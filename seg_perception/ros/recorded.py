"""A played bag, frame by frame, as arrays: what the scores and the report are made of."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image

from seg_perception.errors import SegPerceptionError
from seg_perception.evaluation.bag import COMPRESSED_TYPE, Bag, BagMessage, node_topic
from seg_perception.evaluation.drive import Answer, ReplayFrame
from seg_perception.ros.messages import decode_compressed, to_label_map, to_rgb
from seg_perception.ros.player import PlayLog
from seg_perception.ros.senses import MESSAGE_TYPES, Senses


def replayed_frames(
    bag: Bag, log: PlayLog, senses: Senses | None, table: NDArray[np.uint8] | None = None
) -> Iterator[ReplayFrame]:
    """The frames of a bag that were answered, in order.

    Args:
        bag: opened.
        log: of its play.
        senses: as the node's, and new; None if its model takes no evidence.
        table: uint8 [256], the model's class of each id of the truth; None = the same.

    Raises:
        BagError: the bag cannot be read.
        MessageError: its truth cannot be read.
    """
    for frame in bag.frames():
        for message in frame.before:
            if senses is not None and log.options.gives(message.role):
                _tell(senses, message)
        mask = log.masks.get(frame.stamp_ns)
        if mask is None:
            continue
        entropy = log.entropies.get(frame.stamp_ns)
        yield ReplayFrame(
            stamp_ns=frame.stamp_ns,
            image=_image(frame.image),
            truth=None if frame.truth is None else _labels(frame.truth, table),
            evidence=() if senses is None else senses.usable(frame.stamp_ns),
            answer=Answer(
                labels=mask.labels.unpack(),
                entropy=None if entropy is None else entropy.unpack(),
                latency_ms=log.latency_ms.get(frame.stamp_ns),
            ),
        )


def _tell(senses: Senses, message: BagMessage) -> None:
    """Take in a message; one that cannot be read changes nothing, as in the node."""
    topic = node_topic(message.role)
    with contextlib.suppress(SegPerceptionError):
        senses.take(topic, deserialize_message(message.data, MESSAGE_TYPES[topic]))


def _image(message: BagMessage) -> NDArray[np.uint8]:
    if message.msgtype == COMPRESSED_TYPE:
        return decode_compressed(deserialize_message(message.data, CompressedImage))
    return to_rgb(deserialize_message(message.data, Image))


def _labels(message: BagMessage, table: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    labels = to_label_map(deserialize_message(message.data, Image))
    return labels if table is None else table[labels]
