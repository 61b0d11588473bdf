from __future__ import annotations

from unittest.mock import create_autospec

import pytest
from ros_client import Client

from seg_perception.ros.inputs import COMPRESSED, IMAGE, Inputs, Receiver
from seg_perception.ros.senses import SOURCE_OF

pytestmark = pytest.mark.ros


def test_an_image_overtakes_no_sensor_that_came_before_it(client: Client) -> None:
    """rclpy begins with what was subscribed first, unless another of its group is at work."""
    inputs = Inputs(client.node, create_autospec(Receiver), with_evidence=True)
    heard = {one.topic_name.lstrip("/"): one for one in client.node.subscriptions}
    order = [topic for topic in heard if topic in {*SOURCE_OF, IMAGE, COMPRESSED}]
    assert order[-2:] == [IMAGE, COMPRESSED]
    assert len({id(heard[topic].callback_group) for topic in SOURCE_OF}) == len(SOURCE_OF)
    inputs.destroy()
