"""TF's messages, real ones: by rosbags' definition of tf2_msgs, and by ROS where it has them."""

from __future__ import annotations

from typing import Any

import pytest
import rclpy
import sensor_messages as say
from rclpy.context import Context
from ros_client import PATIENCE_S
from tiny_scene import POSE

from seg_perception.evaluation import bag_messages
from seg_perception.evaluation.bag import TF_TYPE, TYPESTORE
from seg_perception.ros.tf import listen_to_tf, unpacked


def test_what_tf_bundles_comes_one_by_one() -> None:
    made = bag_messages.tf(bag_messages.header(7, "base_link"), {"camera": POSE, "lidar": POSE})
    data = TYPESTORE.serialize_cdr(made, TF_TYPE)
    for fixed, stamp in ((False, 7), (True, 0)):
        message: Any = TYPESTORE.deserialize_cdr(data, TF_TYPE)
        one, other = unpacked(message.transforms, fixed=fixed)
        assert (one.header.frame_id, one.child_frame_id) == ("base_link", "camera")
        assert other.child_frame_id == "lidar"
        assert {each.header.stamp.nanosec for each in (one, other)} == {stamp}


def test_tf_is_heard_where_its_messages_are_known() -> None:
    tf2_msgs = pytest.importorskip("tf2_msgs.msg", reason="no tf2_msgs: source a ROS 2")
    context = Context()
    rclpy.init(context=context)
    node = rclpy.create_node("tf", context=context)
    heard: list[Any] = []
    subscriptions = listen_to_tf(node, heard.append)
    for subscription in subscriptions:
        publisher = node.create_publisher(
            tf2_msgs.TFMessage, subscription.topic_name, subscription.qos_profile
        )
        transform = say.transform("base_link", subscription.topic_name, POSE, stamp=10**9)
        publisher.publish(tf2_msgs.TFMessage(transforms=[transform]))
    for _ in range(round(PATIENCE_S / 0.1)):
        rclpy.spin_once(node, timeout_sec=0.1)
        if len(heard) == len(subscriptions):
            break
    stamps = {one.child_frame_id: one.header.stamp.sec for one in heard}
    assert stamps == {"/tf": 1, "/tf_static": 0}
    node.destroy_node()
    context.try_shutdown()
