"""Quality of service of the node's topics, and what the middleware tells about it."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

__all__ = [
    "LATCHED",
    "OVERRIDABLE",
    "PublisherEventCallbacks",
    "SubscriptionEventCallbacks",
    "sensor_data",
]

LATCHED = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
OVERRIDABLE = QoSOverridingOptions.with_default_policies()
"""Lets users set `qos_overrides.<topic>.publisher` or `.subscription`."""


def sensor_data(depth: int) -> QoSProfile:
    """Best effort and volatile; made anew for each topic, since overrides are written into it."""
    return QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT)
