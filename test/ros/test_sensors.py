"""Every sensor topic through the real node, over real DDS: what it brings, what may go wrong."""

from __future__ import annotations

import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sensor_messages as say
from nav_msgs.msg import Path as PathMessage
from numpy.typing import NDArray
from ros_client import RESEND_S, Client, NodeProcess, wait_for
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from std_msgs.msg import Header
from tiny_bundle import TINY_CLASSES, color_image
from tiny_scene import HEIGHT_M, PITCH_RAD

from seg_perception.overlay import overlay
from seg_perception.ros.messages import from_array, image_view, to_label_map

pytestmark = pytest.mark.ros

MS = 10**6
SKY, ROAD, SIDEWALK, CAR = range(4)
LABELS = np.full((24, 32), SIDEWALK, np.uint8)
LABELS[:4] = CAR
IMAGE = color_image(LABELS, TINY_CLASSES)
"""A picture that is wrong all over: what is right, only the sensors know."""

Say = Callable[[int], list[tuple[str, Any]]]


@pytest.fixture(scope="module")
def node(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    mount = f"[0.0, 0.0, {HEIGHT_M}, 0.0, {PITCH_RAD}, 0.0]"
    parameters = {"bundle": bundle, "diagnostics_period": 0.1, "mount.camera": mount}
    parameters["evidence_gate"] = False  # the picture contradicts every sensor
    with NodeProcess(tmp_path_factory.mktemp("node"), parameters) as process:
        yield process
        assert process.stop() == 0


@pytest.fixture(scope="module")
def vehicle(node: NodeProcess, client: Client) -> Client:
    """The client, once the node is active."""
    client.wait_for_report(lambda report: report.state == "active", "the node to be active")
    return client


def image() -> Image:
    return from_array(IMAGE, "rgb8", Header(frame_id=say.FRONT))


def lane_mask(stamp: int) -> list[tuple[str, Any]]:
    mask = np.zeros((24, 32), np.uint8)
    mask[18:, 10:20] = 1
    return [("evidence/lane_mask", say.label_image(mask, stamp))]


def borders(stamp: int) -> list[tuple[str, Any]]:
    return [
        ("evidence/lane_left", say.border(stamp, 1.5)),
        ("evidence/lane_right", say.border(stamp, -1.5)),
    ]


def depth(stamp: int) -> list[tuple[str, Any]]:
    return [("evidence/depth", say.depth_image(stamp))]


def points(stamp: int) -> list[tuple[str, Any]]:
    return [("evidence/points", say.cloud(stamp, "base_link"))]


def used_by(client: Client, source: str, says: Say, age_ns: int = 0) -> NDArray[np.uint8]:
    """Tell the camera's info and what a sensor says, then send the image; what was answered."""

    def tell(stamp: int) -> None:
        client.tell("camera_info", say.camera_info(stamp))
        for topic, message in says(stamp - age_ns):
            client.tell(topic, message)

    labels = to_label_map(client.ask(image(), before=tell))
    assert (labels != LABELS).any(), f"{source} was not used: {client.report}"
    key = f"evidence.{source}.agreement_percent"
    client.wait_for_report(lambda report: report.values.get(key, "nan") != "nan", key)
    return labels


def test_without_camera_info_the_fix_is_told(vehicle: Client) -> None:
    said = vehicle.provoke(
        "evidence/depth", lambda: vehicle.send("evidence/depth", say.depth_image(vehicle.stamp()))
    )
    assert "remap camera_info to that of the image's camera" in said
    assert vehicle.fresh_report().values["camera"] == "no calibrated camera_info yet"


@pytest.mark.parametrize(
    ("source", "says", "right"),
    [
        ("lane_mask", lane_mask, {(20, 15): ROAD}),
        # Road or what stands on it, of which the tiny model takes the last; no sidewalk.
        ("lane_borders", borders, {(17, 16): CAR, (5, 16): SIDEWALK}),
        ("depth", depth, {(22, 16): SIDEWALK, (12, 16): CAR}),
        ("points", points, {(22, 16): SIDEWALK, (12, 16): CAR}),
    ],
)
def test_each_sensor_corrects_the_map(
    source: str, says: Say, right: dict[tuple[int, int], int], vehicle: Client
) -> None:
    labels = used_by(vehicle, source, says)
    assert {place: labels[place] for place in right} == right
    report = vehicle.wait_for_report(
        lambda report: f"evidence.{source}.convert_ms" in report.values, "what it costs"
    )
    assert report.values[f"evidence.{source}.reason"] == ""
    assert float(report.values[f"evidence.{source}.agreement_percent"]) > 0
    assert f"evidence.{source}.per_second" in report.values
    assert report.values["camera"] == "160x120, fx 140.0, fy 140.0"


def test_a_sensor_may_lag(vehicle: Client) -> None:
    used_by(vehicle, "depth", depth, age_ns=100 * MS)
    report = vehicle.wait_for_report(
        lambda report: report.values.get("evidence.depth.age_ms") == "100.0", "the age"
    )
    assert report.values["evidence.depth.reason"] == ""


def test_a_sensor_may_stop_and_come_back(vehicle: Client) -> None:
    used_by(vehicle, "depth", depth)
    # The client's stamps are a second apart, so that what comes no more is too old.
    np.testing.assert_array_equal(to_label_map(vehicle.ask(image())), LABELS)
    report = vehicle.wait_for_report(
        lambda report: "at most 500 are allowed" in report.values["evidence.depth.reason"],
        "the reason",
    )
    assert report.count("evidence.stale") > 0
    used_by(vehicle, "depth", depth)


def test_a_sensor_can_be_switched_off_at_run_time(vehicle: Client) -> None:
    used_by(vehicle, "depth", depth)
    assert vehicle.set_parameter("evidence.depth.enabled", False).successful

    def tell(stamp: int) -> None:
        vehicle.tell("evidence/depth", say.depth_image(stamp))

    np.testing.assert_array_equal(to_label_map(vehicle.ask(image(), before=tell)), LABELS)
    assert vehicle.set_parameter("evidence.depth.enabled", True).successful
    used_by(vehicle, "depth", depth)


def test_a_sensor_that_contradicts_the_image_en_masse_is_doubted(vehicle: Client) -> None:
    used_by(vehicle, "depth", depth)
    assert vehicle.set_parameter("evidence_gate", True).successful
    doubted = vehicle.fresh_report().count("evidence.doubted")

    def tell(stamp: int) -> None:
        vehicle.tell("evidence/depth", say.depth_image(stamp))

    def told() -> bool:
        labels = to_label_map(vehicle.ask(image(), before=tell))
        report = vehicle.fresh_report()
        return report.count("evidence.doubted") > doubted and bool((labels == LABELS).all())

    vehicle.wait(told, "the source to be doubted")
    said = vehicle.report.values["evidence.depth.reason"]
    assert "contradicts what the image shows for sure" in said
    assert vehicle.set_parameter("evidence_gate", False).successful
    used_by(vehicle, "depth", depth)


def test_odometry_is_heard_and_moves_evidence(vehicle: Client) -> None:
    def driving(stamp: int) -> list[tuple[str, Any]]:
        places = [("odometry", say.odometry(stamp + i * 100 * MS, 14.0 * i)) for i in range(2)]
        return [*borders(stamp), *places]

    def lane_end(labels: NDArray[np.uint8]) -> int:
        return int((labels != LABELS).any(axis=1).argmax())

    still = lane_end(used_by(vehicle, "lane_borders", borders))
    moved = lane_end(used_by(vehicle, "lane_borders", driving, age_ns=100 * MS))
    assert moved > still, "the lane's end has come nearer, which is lower in the image"


def no_fields() -> PointCloud2:
    message = say.cloud(10**9)
    message.fields = [PointField(name="range", offset=0, datatype=7, count=1)]
    return message


def not_finite() -> PathMessage:
    return say.path([(1.0, float("nan"), 0.0), (2.0, 0.0, 0.0)], 10**9, "base_link")


def cut_cloud() -> PointCloud2:
    message = say.cloud(10**9)
    message.data = array.array("B", bytes(message.data)[:-5])
    return message


def bad_messages() -> dict[str, tuple[str, Any, str]]:
    flat = np.full((24, 32), 5.0, np.float32)
    picture = from_array(IMAGE, "rgb8", Header())
    return {
        "a picture for depth": ("evidence/depth", picture, "32FC1 (metres) or 16UC1"),
        "millimetres for metres": (
            "evidence/depth",
            say.depth_image(0, flat * 1000),
            "divide by 1000",
        ),
        "a cloud without x": ("evidence/points", no_fields(), "the fields range, but no x"),
        "a cut cloud": ("evidence/points", cut_cloud(), "the publisher cut it"),
        "a camera without pixels": ("camera_info", CameraInfo(k=[1.0] * 9), "0x0"),
        "odometry that is lost": ("odometry", say.odometry(0, float("nan")), "x nan"),
    }


@pytest.mark.parametrize("name", bad_messages())
def test_a_bad_message_is_told_and_the_node_lives(name: str, vehicle: Client) -> None:
    topic, message, expected = bad_messages()[name]
    vehicle.send("camera_info", say.camera_info(10**9))
    assert expected in vehicle.provoke(topic, lambda: vehicle.send(topic, message))
    np.testing.assert_array_equal(to_label_map(vehicle.ask(image())), LABELS)


def test_a_path_that_is_not_finite_is_told(vehicle: Client) -> None:
    def send() -> None:
        vehicle.send("evidence/lane_right", say.border(10**9, -1.5))
        vehicle.send("evidence/lane_left", not_finite())

    # Whichever border comes last is the one that completes the pair.
    before = sum(vehicle.fault_count(f"evidence/lane_{side}") for side in ("left", "right"))

    def told() -> bool:
        send()
        sides = ("left", "right")
        return wait_for(
            lambda: sum(vehicle.fault_count(f"evidence/lane_{s}") for s in sides) > before,
            RESEND_S,
        )

    vehicle.wait(told, "the fault to be counted")
    np.testing.assert_array_equal(to_label_map(vehicle.ask(image())), LABELS)


def test_overlay_shows_what_is_known_and_what_it_changed(vehicle: Client) -> None:
    assert vehicle.set_parameter("overlay_evidence", True).successful
    inbox: list[Image] = []
    subscription = vehicle.listen(Image, "overlay", inbox.append)
    plain = vehicle.ask(image(), inbox)
    np.testing.assert_array_equal(image_view(plain), overlay(IMAGE, LABELS, TINY_CLASSES, 0.5))
    labels = used_by(vehicle, "depth", depth)
    vehicle.forget(subscription)
    assert vehicle.set_parameter("overlay_evidence", False).successful
    shown = image_view(inbox[-1])
    assert (shown != overlay(IMAGE, labels, TINY_CLASSES, 0.5)).any(axis=2).mean() > 0.3
    assert (shown == 255).all(axis=2).any(), "what was changed is outlined in white"
