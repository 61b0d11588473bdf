"""Quality of service of the node's topics, and what the middleware tells about it."""

from __future__ import annotations

from collections.abc import Iterable

from rclpy.qos import DurabilityPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
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
    "lossless_overrides",
    "sensor_data",
]

LATCHED = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
LOSSLESS = QoSProfile(
    depth=4,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""For a replay that waits for each message to arrive (`lossless_overrides`): what is sent before
both sides have discovered each other comes late, but comes."""
TF = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
TF_STATIC = QoSProfile(
    depth=100,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
OVERRIDABLE = QoSOverridingOptions(
    (
        QoSPolicyKind.HISTORY,
        QoSPolicyKind.DEPTH,
        QoSPolicyKind.RELIABILITY,
        QoSPolicyKind.DURABILITY,
    )
)
"""Lets users set `qos_overrides.<topic>.publisher` or `.subscription`."""


def sensor_data(depth: int) -> QoSProfile:
    """Best effort and volatile; made anew for each topic, since overrides are written into it."""
    return QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT)


def lossless_overrides(subscribed: Iterable[str], published: Iterable[str]) -> dict[str, str]:
    """Parameters, as behind `-p NAME:=`, that make topics of a node (full names) `LOSSLESS`."""
    policies = {"reliability": "reliable", "durability": "transient_local"}
    ends = {"subscription": subscribed, "publisher": published}
    return {
        f"qos_overrides.{topic}.{end}.{policy}": value
        for end, topics in ends.items()
        for topic in topics
        for policy, value in policies.items()
    }
