from __future__ import annotations

import pytest
from ros_client import Client

from seg_perception.ros.listener import Listener

pytestmark = pytest.mark.ros


@pytest.mark.parametrize("lossless", [False, True])
def test_receipts_are_asked_for_only_where_they_are_waited_for(
    client: Client, lossless: bool
) -> None:
    target = f"/listened_to_{lossless}".lower()
    Listener(client.node, target, lossless=lossless)
    topics = {subscription.topic_name for subscription in client.node.subscriptions}
    assert f"{target}/mask" in topics
    assert (f"{target}/received" in topics) == lossless
