"""Why no image comes: what users of such nodes ask first, and logs seldom tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible
from rclpy.topic_endpoint_info import TopicEndpointInfo

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")


@dataclass(frozen=True)
class Wanted:
    """What is subscribed: the full name of a topic, its type, its QoS."""

    topic: str
    type_name: str
    qos: QoSProfile


def why_no_image(node: Node, wanted: Sequence[Wanted]) -> str:
    """What stands between these subscriptions and an image, and what to do about it."""
    reasons = [
        _why_silent(one, publisher)
        for one in wanted
        for publisher in node.get_publishers_info_by_topic(one.topic)
    ]
    return "; ".join(reasons) if reasons else "nobody publishes there. " + _advice(node)


def _why_silent(wanted: Wanted, publisher: TopicEndpointInfo) -> str:
    who = f"{publisher.node_name} publishes {wanted.topic}"
    if publisher.topic_type != wanted.type_name:
        return f"{who} as {publisher.topic_type} instead of {wanted.type_name}: remap another topic"
    fits, why = qos_check_compatible(publisher.qos_profile, wanted.qos)
    if fits == QoSCompatibility.ERROR:
        return f"{who}, but the QoS does not fit ({why.strip()}): change qos_overrides"
    return (
        f"{who}, but nothing arrives: see whether it sends (ros2 topic hz {wanted.topic}); images "
        "of megabytes need larger buffers, see 'Large images' in the README"
    )


def _advice(node: Node) -> str:
    own = node.get_fully_qualified_name() + "/"
    topics = [
        name
        for name, types in node.get_topic_names_and_types()
        if set(types) & set(IMAGE_TYPES)
        and not name.startswith(own)
        and node.count_publishers(name)
    ]
    if not topics:
        return "No topic has images: start the camera"
    return f"Images there are on {', '.join(topics)}: remap, e.g. -r image:={topics[0]}"
