"""The node's answers: publishers of maps, overlay and class names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from rclpy.qos import qos_policy_name_from_kind
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from seg_perception.classes import ClassInfo
from seg_perception.nearest import resize_nearest
from seg_perception.overlay import hatch, outline, overlay
from seg_perception.perceiver import Perception
from seg_perception.ros.messages import LABEL_INFO_TYPE, from_array, label_info, to_jpeg
from seg_perception.ros.parameters import Settings
from seg_perception.ros.qos import (
    LATCHED,
    LOSSLESS,
    OVERRIDABLE,
    PublisherEventCallbacks,
    sensor_data,
)
from seg_perception.timing import Stopwatch

EVENTS = ReentrantCallbackGroup()
"""Of publishers that are taken back: an event that is destroyed before rclpy takes it would block
any other group for good, such as that of the parameters' services."""


class Receipts:
    """Tells on ~/received which sensor messages were dealt with: converted, refused or skipped.

    The stamp is the message's, `frame_id` its topic. A replay waits for these, so that nothing it
    sends gets lost or comes too late.
    """

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._publisher = node.create_lifecycle_publisher(
            Header, "~/received", LOSSLESS, callback_group=EVENTS
        )

    def send(self, topic: str, header: Header) -> None:
        """Tell of a message with this header, if anybody listens."""
        if self._publisher.get_subscription_count():
            self._publisher.publish(Header(stamp=header.stamp, frame_id=topic))

    def destroy(self) -> None:
        """Take the topic back."""
        self._node.destroy_lifecycle_publisher(self._publisher)


class Outputs:
    """The publishers of a configured node; what nobody subscribes to costs nothing.

    Args:
        node: for which topics are made; they are silent until it is active.
        classes: of the model.
        on_fault: told when a subscriber asks for what is not offered: cause and message.
    """

    def __init__(
        self,
        node: LifecycleNode,
        classes: Sequence[ClassInfo],
        on_fault: Callable[[str, str], None],
    ) -> None:
        self._node = node
        self._on_fault = on_fault
        self._classes = tuple(classes)
        with ExitStack() as made:
            self._maps = {
                name: self._publisher(made, Image, name)
                for name in ("mask", "confidence", "entropy")
            }
            self._overlay = self._publisher(made, Image, "overlay")
            self._overlay_jpeg = self._publisher(made, CompressedImage, "overlay/compressed")
            # Not a lifecycle publisher: names are known, and wanted, before the first frame.
            names = node.create_publisher(
                LABEL_INFO_TYPE, "~/label_info", LATCHED, callback_group=EVENTS
            )
            made.callback(node.destroy_publisher, names)
            header = Header(stamp=node.get_clock().now().to_msg())
            names.publish(label_info(self._classes, header))
            self._made = made.pop_all()

    def publish(
        self, perception: Perception, header: Header, settings: Settings
    ) -> dict[str, float]:
        """Publish one answer with the header of its image.

        Returns:
            Milliseconds of the stages publish and, if it was computed, overlay.
        """
        watch = Stopwatch()
        labels, confidence, entropy = perception.labels, perception.confidence, perception.entropy
        for name, values in (("mask", labels), ("confidence", confidence), ("entropy", entropy)):
            if self._maps[name].get_subscription_count():
                self._maps[name].publish(from_array(values, "mono8", header))
        watch.lap("publish")
        if self._publish_overlay(perception, header, settings):
            watch.lap("overlay")
        return watch.timings

    def destroy(self) -> None:
        """Take the topics back."""
        self._made.close()

    @property
    def shows_overlay(self) -> bool:
        """Whether somebody looks at the overlay."""
        publishers = (self._overlay, self._overlay_jpeg)
        return any(publisher.get_subscription_count() for publisher in publishers)

    def _publish_overlay(self, perception: Perception, header: Header, settings: Settings) -> bool:
        as_image = self._overlay.get_subscription_count() > 0
        as_jpeg = self._overlay_jpeg.get_subscription_count() > 0
        if not (as_image or as_jpeg):
            return False
        picture = self._picture(perception, settings)
        if as_image:
            self._overlay.publish(from_array(picture, "rgb8", header))
        if as_jpeg:
            self._overlay_jpeg.publish(to_jpeg(picture, header))
        return True

    def _picture(self, perception: Perception, settings: Settings) -> NDArray[np.uint8]:
        picture = overlay(
            perception.frame.image,
            perception.labels,
            self._classes,
            settings.overlay_alpha,
            legend=settings.overlay_legend,
        )
        known, before = perception.known, perception.labels_unrefined
        if not settings.overlay_evidence or known is None:
            return picture
        index = resize_nearest(known.index, *perception.frame.size)
        picture = hatch(picture, index, known.sets, self._classes)
        return picture if before is None else outline(picture, perception.labels != before)

    def _publisher(self, made: ExitStack, message_type: type, name: str) -> LifecyclePublisher:
        def incompatible(event: Any) -> None:
            topic = self._node.resolve_topic_name(f"~/{name}")
            policy = qos_policy_name_from_kind(event.last_policy_kind)
            self._on_fault(
                "subscriber_qos",
                f"a subscriber of {topic} gets nothing, since it asks for another {policy}: let it "
                f"use the sensor-data QoS (best effort), or set qos_overrides.{topic}.publisher",
            )

        publisher = self._node.create_lifecycle_publisher(
            message_type,
            f"~/{name}",
            sensor_data(depth=5),
            callback_group=EVENTS,
            event_callbacks=PublisherEventCallbacks(
                incompatible_qos=incompatible, use_default_callbacks=False
            ),
            qos_overriding_options=OVERRIDABLE,
        )
        made.callback(self._node.destroy_lifecycle_publisher, publisher)
        return publisher
