"""Quality of service of the node's topics, and what the middleware tells about it."""

from __future__ import annotations

from collections.abc import Iterable

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

__all__ = [
    "LATCHED",
    "LOSSLESS",
    "OVERRIDABLE",
    "TF",
    "TF_STATIC",
    "PublisherEventCallbacks",
    "SubscriptionEventCallbacks",
    "reliable",
    "sensor_data",
]

LATCHED = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
LOSSLESS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
"""For a replay that waits for each message to arrive; see `reliable`."""
TF = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
TF_STATIC = QoSProfile(
    depth=100,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
OVERRIDABLE = QoSOverridingOptions.with_default_policies()
"""Lets users set `qos_overrides.<topic>.publisher` or `.subscription`."""


def sensor_data(depth: int) -> QoSProfile:
    """Best effort and volatile; made anew for each topic, since overrides are written into it."""
    return QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT)


def reliable(subscribed: Iterable[str], published: Iterable[str]) -> dict[str, str]:
    """Parameters, as behind `-p NAME:=`, that make topics of a node (full names) reliable."""
    ends = {"subscription": subscribed, "publisher": published}
    return {
        f"qos_overrides.{topic}.{end}.reliability": "reliable"
        for end, topics in ends.items()
        for topic in topics
    }
