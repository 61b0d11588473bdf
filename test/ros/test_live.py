"""Listening to a node that somebody else runs and feeds, over real DDS."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rclpy.qos import qos_profile_sensor_data
from ros_client import run_interrupted
from sensor_msgs.msg import Image
from tiny_drives import tiny_drive

from seg_perception.cli import FAILED, OK, main
from seg_perception.evaluation.bag import Bag, BagMessage
from seg_perception.evaluation.make_bag import BagOptions, make_bag
from seg_perception.ros.node_process import NodeProcess

pytestmark = pytest.mark.ros


@pytest.fixture
def messages(tmp_path: Path) -> list[BagMessage]:
    """A drive of 40 frames as a bag holds it."""
    make_bag(tiny_drive(40), tmp_path / "bag", BagOptions())
    with Bag(tmp_path / "bag") as bag:
        return [
            message
            for frame in bag.frames()
            for message in (*frame.before, frame.truth, frame.image)
            if message is not None and message.msgtype == "sensor_msgs/msg/Image"
        ]


@pytest.fixture
def node(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NodeProcess]:
    """A node as a user would run it, in the domain of the environment."""
    with NodeProcess(bundle, {"diagnostics_period": "0.2"}) as process:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(process.domain_id))
        yield process


@contextmanager
def fed(messages: list[BagMessage], node: NodeProcess) -> Iterator[None]:
    """Publish the messages, 20 images a second, round and round until the end of `with`."""
    camera, stop = node.companion("camera"), threading.Event()
    publishers = {
        topic: camera.create_publisher(Image, node.namespace + topic, qos_profile_sensor_data)
        for topic in {message.topic for message in messages}
    }

    def feed() -> None:
        while not stop.is_set():
            for message in messages:
                publishers[message.topic].publish(message.data)
                if message.role == "image" and stop.wait(0.05):
                    return

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        camera.destroy_node()
        camera.context.try_shutdown()


def test_a_running_node_is_scored_live(
    messages: list[BagMessage], node: NodeProcess, bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "scores.json"
    options = ["--bundle", str(bundle), "--frames", "6", "--json", str(out), "--compare"]
    with fed(messages, node):
        assert main(["replay", "--live", "--node", node.node_name, *options]) == OK
    record = json.loads(out.read_text())
    assert record["mode"] == "Live"
    assert record["frames"]["scored"] == 6 <= record["frames"]["answered"]
    assert list(record["methods"]) == ["unrefined", "refined", "replaced", "corrected"]
    methods = record["methods"]
    assert methods["corrected"]["pixel_accuracy"] > methods["refined"]["pixel_accuracy"]
    assert record["evidence_classes"] == ["road"]
    assert record["stamp_to_publish_ms"]["p50"] > 0
    assert "infer" in record["stage_ms"]


def test_silence_is_explained(
    messages: list[BagMessage],
    node: NodeProcess,
    bundle: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    listen = ["replay", "--live", "--bundle", str(bundle)]
    assert main([*listen, "--node", "/nobody", "--timeout", "2"]) == FAILED
    complaint = capsys.readouterr().err
    assert "no answer of /nobody came within 2 s (0 images did)" in complaint
    with fed(messages, node):
        listen += ["--node", node.node_name]
        assert main([*listen, "--frames", "1"]) == OK  # it does answer
        assert main([*listen, "--image-topic", "/elsewhere", "--timeout", "4"]) == FAILED
    complaint = capsys.readouterr().err
    assert "no image of the same stamp came on /elsewhere" in complaint


def test_options_of_a_bag_are_refused(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listen = ["replay", "--live", "--bundle", str(bundle), "--timeout", "1"]
    assert main([*listen, "--rate", "bag", "--evidence", "none"]) == FAILED
    assert "leave out --rate, --evidence" in capsys.readouterr().err


def test_ctrl_c_may_come_at_any_line(bundle: Path) -> None:
    script = """
from pathlib import Path
from seg_perception.errors import ReplayError
from seg_perception.ros.live import Live, LiveOptions
from seg_perception.ros.parameters import Settings
from seg_perception.runtime.bundle import load_bundle

manifest = load_bundle(Path(sys.argv[1])).manifest
with Live(LiveOptions(), manifest, Settings()) as live, contextlib.suppress(ReplayError):
    sys.settrace(interrupt)
    try:
        list(live.frames())  # nothing came
    finally:
        sys.settrace(None)
"""
    run_interrupted(script, str(bundle))
