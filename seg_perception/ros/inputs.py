"""The node's senses: subscriptions to images and evidence. Bad messages are told, never fatal."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rclpy.callback_groups import CallbackGroup, MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from seg_perception.errors import SegPerceptionError
from seg_perception.perceiver import Frame
from seg_perception.ros.absence import Wanted
from seg_perception.ros.messages import decode_compressed, stamp_ns, to_rgb
from seg_perception.ros.qos import OVERRIDABLE, SubscriptionEventCallbacks, sensor_data
from seg_perception.ros.senses import AT_ONCE, MESSAGE_TYPES, TRANSFORMS
from seg_perception.ros.tf import listen_to_tf
from seg_perception.timing import Stopwatch

IMAGE, COMPRESSED = "image", "image/compressed"
SECOND_CAMERA = "second_camera"
"""Cause of a fault; the other causes are the names of topics."""

EACH_DEPTH = 50
"""Of all else only the newest message counts; the vehicle's way is made of many, say."""
STAMPS_KEPT = 32
"""Images of each topic that are known again when they come by the other: about a second's."""


@dataclass(frozen=True)
class Received:
    """What the node remembers of an image message until its answer is published.

    Attributes:
        header: goes out again as it came in.
        arrived_s: when the message reached the node, `time.perf_counter()`.
        decode_ms: what making an array of it took.
    """

    header: Header
    arrived_s: float
    decode_ms: float


class Receiver(Protocol):
    """Who wants frames, evidence and faults; called from the executor's threads."""

    def on_frame(self, frame: Frame) -> None:
        """A frame, whose `header` is a `Received`."""

    def on_sensor(self, topic: str, message: Any) -> None:
        """A message of one of `senses.MESSAGE_TYPES`; must return at once."""

    def on_fault(self, cause: str, message: str) -> None:
        """Something that came in cannot be used."""

    def on_lost(self, total: int) -> None:
        """So many images were lost by the middleware since the subscriptions were made."""


class Inputs:
    """The subscriptions of an active node.

    Args:
        node: for which topics are subscribed.
        with_evidence: whether to subscribe to what the sensors know, too.
        receiver: gets what comes in.

    Attributes:
        wanted: the subscriptions to images, in words.
        last_image_s: when the last image arrived, good or bad, or the topics were subscribed,
            `time.monotonic()`.
        any_image: whether there was any yet.
    """

    def __init__(self, node: Node, receiver: Receiver, *, with_evidence: bool) -> None:
        self._node = node
        self._receiver = receiver
        self._camera: str | None = None
        self._stamps = {topic: deque[int](maxlen=STAMPS_KEPT) for topic in (IMAGE, COMPRESSED)}
        self._lost: dict[str, int] = {}
        self.last_image_s = time.monotonic()
        self.any_image = False
        # The sensors first, each beside the others: of what is there together, rclpy begins with
        # what was subscribed first, and an image is to find what came before it.
        self._subscriptions = self._subscribe_sensors() if with_evidence else ()
        # One group: frames are decoded one after the other, in the order in which they came.
        group = MutuallyExclusiveCallbackGroup()
        images = (
            self._subscribe(Image, IMAGE, self._image_handler(IMAGE, to_rgb), group),
            self._subscribe(
                CompressedImage,
                COMPRESSED,
                self._image_handler(COMPRESSED, decode_compressed),
                group,
            ),
        )
        self.wanted = tuple(_describe(subscription) for subscription in images)
        self._subscriptions += images

    def destroy(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _subscribe_sensors(self) -> tuple[Subscription, ...]:
        at_once = MutuallyExclusiveCallbackGroup()
        known = tuple(
            self._subscribe(
                kind,
                topic,
                partial(self._receiver.on_sensor, topic),
                at_once if topic in AT_ONCE else MutuallyExclusiveCallbackGroup(),
            )
            for topic, kind in MESSAGE_TYPES.items()
        )
        take = partial(self._receiver.on_sensor, TRANSFORMS)
        return known + listen_to_tf(self._node, take, at_once)

    def _subscribe(
        self,
        message_type: type,
        topic: str,
        handler: Callable[[Any], None],
        group: CallbackGroup,
    ) -> Subscription:
        def callback(message: Any) -> None:
            try:
                handler(message)
            except SegPerceptionError as error:
                self._receiver.on_fault(topic, str(error))
            except Exception as error:  # no message may end the executor
                self._receiver.on_fault(topic, f"{type(error).__name__}: {error}")

        def lost(event: Any) -> None:
            self._lost[topic] = event.total_count
            self._receiver.on_lost(sum(self._lost.values()))

        counts_losses = topic in (IMAGE, COMPRESSED)
        return self._node.create_subscription(
            message_type,
            topic,
            callback,
            sensor_data(depth=EACH_DEPTH if topic in AT_ONCE else 1),
            callback_group=group,
            event_callbacks=SubscriptionEventCallbacks(
                message_lost=lost if counts_losses else None
            ),
            qos_overriding_options=OVERRIDABLE,
        )

    def _image_handler(
        self, topic: str, decode: Callable[[Any], NDArray[np.uint8]]
    ) -> Callable[[Any], None]:
        def handle(message: Any) -> None:
            arrived_s = time.perf_counter()
            self.last_image_s, self.any_image = time.monotonic(), True
            stamp = stamp_ns(message.header)
            if self._came_the_other_way(topic, stamp):
                return
            watch = Stopwatch()
            pixels = decode(message)
            watch.lap("decode")
            self._stamps[topic].append(stamp)
            self._notice_camera(message.header.frame_id, topic)
            received = Received(message.header, arrived_s, watch.timings["decode"])
            self._receiver.on_frame(Frame(pixels, stamp, received))

        return handle

    def _came_the_other_way(self, topic: str, stamp: int) -> bool:
        """Whether this image was read from the other topic, as image_transport sends both."""
        other = COMPRESSED if topic == IMAGE else IMAGE
        return stamp != 0 and stamp in self._stamps[other]

    def _notice_camera(self, camera: str, topic: str) -> None:
        before, self._camera = self._camera, camera
        if before is not None and before != camera:
            self._receiver.on_fault(
                SECOND_CAMERA,
                f"images of {before!r} and {camera!r} (frame_id) come mixed on {topic}: "
                "remap so that each camera has its own node",
            )


def _describe(subscription: Subscription) -> Wanted:
    package = subscription.msg_type.__module__.partition(".")[0]
    type_name = f"{package}/msg/{subscription.msg_type.__name__}"
    return Wanted(subscription.topic_name, type_name, subscription.qos_profile)
