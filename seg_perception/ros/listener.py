"""Listens to what the node answers: masks by the stamp of their image, and its diagnostics."""

from __future__ import annotations

import time
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from seg_perception.ros.diagnostics import NodeReport, read_status
from seg_perception.ros.messages import stamp_ns, to_label_map
from seg_perception.ros.qos import LOSSLESS

DEEP = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)


@dataclass(frozen=True)
class PackedMap:
    """A uint8 map [h,w], compressed losslessly so that a long drive fits into memory."""

    data: bytes
    shape: tuple[int, int]

    @classmethod
    def of(cls, values: NDArray[np.uint8]) -> PackedMap:
        """Compress a map."""
        height, width = values.shape
        return cls(zlib.compress(values.tobytes(), level=1), (height, width))

    def unpack(self) -> NDArray[np.uint8]:
        """The map."""
        return np.frombuffer(zlib.decompress(self.data), np.uint8).reshape(self.shape)


@dataclass(frozen=True)
class Mask:
    """A mask as it came.

    Attributes:
        labels: class ids.
        published_ns: when the node handed it to the middleware, by the wall clock.
    """

    labels: PackedMap
    published_ns: int


class Listener:
    """Subscribes to a node's answers.

    Args:
        node: through which to listen.
        target: full name of the node that answers.
        wants_entropy: whether to keep the entropy map of the image of this stamp.
        lossless: the node offers its answers reliably, see `NodeProcess`.

    Attributes:
        masks: by the stamp of the image, nanoseconds.
        entropies: likewise.
        report: the node's last diagnostics.
        receipts: how many messages of each sensor topic the node has dealt with, see `Receipts`;
            only if `lossless`, for they cost the node as much as the smaller messages do.
    """

    def __init__(
        self,
        node: Node,
        target: str,
        wants_entropy: Callable[[int], bool] = lambda stamp: True,
        *,
        lossless: bool = False,
    ) -> None:
        self.masks: dict[int, Mask] = {}
        self.entropies: dict[int, PackedMap] = {}
        self.report: NodeReport | None = None
        self.receipts: Counter[str] = Counter()
        self._target, self._wants_entropy = target, wants_entropy
        qos = LOSSLESS if lossless else DEEP
        node.create_subscription(Image, f"{target}/mask", self._on_mask, qos)
        node.create_subscription(Image, f"{target}/entropy", self._on_entropy, qos)
        if lossless:
            node.create_subscription(Header, f"{target}/received", self._on_receipt, LOSSLESS)
        # Confidence is published like the others, for a realistic load, but only entropy is shown.
        node.create_subscription(Image, f"{target}/confidence", lambda message: None, DEEP)
        # The last, so that who is told of something here is heard on the others, too.
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _on_receipt(self, message: Header) -> None:
        self.receipts[message.frame_id] += 1

    def _on_mask(self, message: Image, info: Any) -> None:
        labels = PackedMap.of(to_label_map(message))
        self.masks[stamp_ns(message.header)] = Mask(labels, sent_ns(info))

    def _on_entropy(self, message: Image) -> None:
        stamp = stamp_ns(message.header)
        if self._wants_entropy(stamp):
            self.entropies[stamp] = PackedMap.of(to_label_map(message))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        report = read_status(message, self._target.removeprefix("/"))
        self.report = report or self.report

    def counts(self) -> dict[str, int]:
        """What the node has counted: frames, evidence and faults, by name."""
        values: Mapping[str, str] = {} if self.report is None else self.report.values
        return {
            key: int(value)
            for key, value in values.items()
            if key.startswith(("frames.", "evidence.", "faults.")) and value.isdigit()
        }

    def stages(self) -> dict[str, dict[str, float]]:
        """{"p50", "p90", "p99"} in milliseconds by stage, as the node tells them."""
        return {} if self.report is None else self.report.stages()

    def conversions(self) -> dict[str, float]:
        """Milliseconds that a message takes to become evidence, p50, by source."""
        return {} if self.report is None else self.report.conversions()


def sent_ns(info: Any) -> int:
    """When a message was handed to the middleware, by the sender's wall clock.

    Args:
        info: the second argument of a subscription's callback. Not every middleware tells; then it
            is now.
    """
    return int(info["source_timestamp"]) or time.time_ns()
