"""/tf and /tf_static, where tf2_msgs is installed: each transform as if it came on `transforms`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from geometry_msgs.msg import TransformStamped
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.subscription import Subscription

from seg_perception.ros.qos import TF, TF_STATIC

try:
    from tf2_msgs.msg import TFMessage
except ImportError:  # as with ROS 2 from wheels
    TFMessage = None


def listen_to_tf(
    node: Node, take: Callable[[TransformStamped], None], group: CallbackGroup | None = None
) -> tuple[Subscription, ...]:
    """Subscribe to TF; no subscriptions where its messages are not known.

    Args:
        node: to subscribe through.
        take: given every transform, a stamp of 0 meaning that it always holds.
        group: of the callbacks.
    """
    if TFMessage is None:
        return ()

    def callback_for(*, fixed: bool) -> Callable[[Any], None]:
        def callback(message: Any) -> None:
            for transform in unpacked(message.transforms, fixed=fixed):
                take(transform)

        return callback

    return (
        node.create_subscription(
            TFMessage, "/tf", callback_for(fixed=False), TF, callback_group=group
        ),
        node.create_subscription(
            TFMessage, "/tf_static", callback_for(fixed=True), TF_STATIC, callback_group=group
        ),
    )


def unpacked(transforms: Iterable[TransformStamped], *, fixed: bool) -> Iterator[TransformStamped]:
    """The transforms, with a stamp of 0 where they always hold, as /tf_static means it."""
    for transform in transforms:
        if fixed:
            transform.header.stamp.sec = transform.header.stamp.nanosec = 0
        yield transform
