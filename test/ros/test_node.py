"""The real node in its own process, over real DDS, with a real if tiny model."""

from __future__ import annotations

import array
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_client import NODE, RESEND_S, Client, NodeProcess, answers_to, to_time, wait_for
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from tiny_bundle import TINY_CLASSES, color_image

from seg_perception.overlay import overlay
from seg_perception.perceiver import Frame, Perceiver
from seg_perception.ros.diagnostics import ERROR, FAULTS, OK, STAGES, WARN
from seg_perception.ros.messages import (
    LABEL_INFO_TYPE,
    decode_compressed,
    from_array,
    image_view,
    label_info,
    stamp_ns,
    to_jpeg,
    to_label_map,
)
from seg_perception.runtime.bundle import load_bundle
from seg_perception.runtime.runner import open_runner

pytestmark = pytest.mark.ros

H, W = 24, 32
SKY, ROAD, SIDEWALK, CAR = range(4)
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, len(TINY_CLASSES), (H, W)).astype(np.uint8)
IMAGE = color_image(LABELS, TINY_CLASSES)


@pytest.fixture(scope="module")
def node(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    parameters = {"bundle": bundle, "diagnostics_period": 0.1, "image_timeout": 60.0}
    parameters["evidence_gate"] = False  # evidence here contradicts whole pictures
    with NodeProcess(tmp_path_factory.mktemp("node"), parameters) as process:
        yield process
        assert process.stop() == 0


@pytest.fixture(scope="module")
def camera(node: NodeProcess, client: Client) -> Client:
    """The client, once the node is active."""
    client.wait_for_report(lambda report: report.state == "active", "the node to be active")
    return client


@pytest.fixture(scope="module")
def perceiver(bundle: Path) -> Perceiver:
    """What the node must agree with, pixel for pixel."""
    return Perceiver(open_runner(load_bundle(bundle), "onnx", threads=1))


def label_message(labels: NDArray[np.uint8], stamp: int, encoding: str = "mono8") -> Image:
    return from_array(labels, encoding, Header(stamp=to_time(stamp)))


def test_mask_has_the_labels_of_the_image(camera: Client) -> None:
    np.testing.assert_array_equal(camera.labels(IMAGE), LABELS)


@pytest.mark.parametrize("size", [(48, 64), (25, 33), (7, 100), (1, 1)])
def test_mask_lies_on_the_image_whatever_its_size(
    size: tuple[int, int], camera: Client, perceiver: Perceiver
) -> None:
    image = RNG.integers(0, 256, (*size, 3), np.uint8)
    expected = perceiver.perceive(Frame(image, 0)).labels
    assert expected.shape == size
    np.testing.assert_array_equal(camera.labels(image), expected)


def test_twice_the_size_gives_each_label_four_times(camera: Client) -> None:
    double = IMAGE.repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(camera.labels(double), LABELS.repeat(2, axis=0).repeat(2, axis=1))


@pytest.mark.parametrize("output", ["mask", "confidence", "entropy"])
def test_every_map_has_the_size_and_header_of_the_image(
    output: str, camera: Client, perceiver: Perceiver
) -> None:
    inbox: list[Image] = []
    subscription = camera.listen(Image, output, inbox.append)
    image = RNG.integers(0, 256, (H, W, 3), np.uint8)
    message = from_array(image, "rgb8", Header(frame_id="front/optical"))
    answer = camera.ask(message, inbox)
    camera.forget(subscription)
    assert answer.header == message.header
    assert (answer.height, answer.width, answer.encoding, answer.step) == (H, W, "mono8", W)
    perception = perceiver.perceive(Frame(image, 0))
    expected = {"mask": perception.labels}.get(output, getattr(perception, output, None))
    np.testing.assert_array_equal(to_label_map(answer), expected)


def test_padded_bgr_gives_the_same_mask(camera: Client) -> None:
    padded = np.zeros((H, W + 3, 3), np.uint8)
    padded[:, :W] = IMAGE[..., ::-1]
    message = from_array(padded, "bgr8", Header(frame_id="front"))
    message.width = W
    np.testing.assert_array_equal(to_label_map(camera.ask(message)), LABELS)


def compressed(data: bytes, name: str) -> CompressedImage:
    message = CompressedImage(format=name, header=Header(frame_id="front"))
    message.data = array.array("B", data)
    return message


def test_png_gives_the_same_mask(camera: Client) -> None:
    data = bytes(cv2.imencode(".png", IMAGE[..., ::-1])[1])
    answer = camera.ask(compressed(data, "bgr8; png compressed bgr8"))
    np.testing.assert_array_equal(to_label_map(answer), LABELS)


def test_jpeg_is_answered_as_what_it_decodes_to(camera: Client, perceiver: Perceiver) -> None:
    message = to_jpeg(cv2.resize(IMAGE, (64, 48)), Header(frame_id="front"))
    expected = perceiver.perceive(Frame(decode_compressed(message), 0)).labels
    np.testing.assert_array_equal(to_label_map(camera.ask(message)), expected)


def test_one_image_on_both_topics_is_answered_once(camera: Client) -> None:
    plain = from_array(IMAGE, "rgb8", Header(frame_id="front"))
    stamp = stamp_ns(camera.ask(plain).header)
    camera.send("image/compressed", to_jpeg(IMAGE, plain.header))
    camera.labels(IMAGE)
    assert len(answers_to(stamp, camera.masks)) == 1


def test_what_is_unreadable_on_one_topic_is_answered_on_the_other(camera: Client) -> None:
    unreadable = from_array(IMAGE, "rgb8", Header(frame_id="front"))
    unreadable.encoding = "rgb7"

    def send_unreadable(stamp: int) -> None:
        unreadable.header.stamp = to_time(stamp)
        camera.provoke("image", lambda: camera.send("image", unreadable))

    answer = camera.ask(to_jpeg(IMAGE, Header(frame_id="front")), before=send_unreadable)
    assert (answer.height, answer.width) == (H, W)


def test_class_names_are_known_to_who_comes_late(camera: Client) -> None:
    inbox: list[object] = []
    late = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    subscription = camera.listen(LABEL_INFO_TYPE, "label_info", inbox.append, late)
    camera.wait(lambda: inbox, "label_info")
    camera.forget(subscription)
    if hasattr(inbox[0], "data"):
        expected = label_info(TINY_CLASSES, Header())
        assert json.loads(inbox[0].data) == json.loads(expected.data)
    else:
        assert [c.class_name for c in inbox[0].class_map] == [c.name for c in TINY_CLASSES]


def ask_with_evidence(
    camera: Client, topic: str, known: NDArray[np.uint8], *, age_ns: int = 0
) -> NDArray[np.uint8]:
    """Send evidence, then the image; return the answer, which is another than without."""

    def tell(stamp: int) -> None:
        camera.tell(topic, label_message(known, stamp - age_ns))

    message = from_array(IMAGE, "rgb8", Header(frame_id="front"))
    labels = to_label_map(camera.ask(message, before=tell))
    assert (labels != LABELS).any(), f"evidence was not used: {camera.report}"
    return labels


@pytest.mark.parametrize("scale", [1, 2])
def test_known_labels_correct_the_map(scale: int, camera: Client) -> None:
    known = np.full((H * scale, W * scale), 255, np.uint8)
    known[: 10 * scale] = CAR
    labels = ask_with_evidence(camera, "evidence/labels", known)
    assert (labels[:10] == CAR).all()
    assert (LABELS[:10] != CAR).any(), "the image alone says something else"
    np.testing.assert_array_equal(labels[10:], LABELS[10:])
    report = camera.wait_for_report(
        lambda report: "evidence.labels.age_ms" in report.values, "evidence in diagnostics"
    )
    assert float(report.values["evidence.labels.agreement_percent"]) == 100.0


def test_lane_mask_corrects_the_map_to_road(camera: Client) -> None:
    lanes = np.zeros((H, W), np.uint8)
    lanes[5:15, 8:20] = 1
    lanes[0] = 255
    labels = ask_with_evidence(camera, "evidence/lane_mask", lanes)
    assert (labels[5:15, 8:20] == ROAD).all()
    np.testing.assert_array_equal(labels[0], LABELS[0])


def test_old_evidence_is_left_out_and_told(camera: Client) -> None:
    known = np.full((H, W), CAR, np.uint8)

    def send_old() -> None:
        camera.send("evidence/labels", label_message(known, 0))
        np.testing.assert_array_equal(camera.labels(IMAGE), LABELS)

    said = camera.provoke("evidence/labels", send_old)
    assert "at most 500 are allowed" in said


def test_untrusted_evidence_is_left_out_in_silence(camera: Client) -> None:
    assert camera.set_parameter("evidence.labels.trust", 0.0).successful
    before = camera.fresh_report().count("faults.evidence/labels")
    known = np.full((H, W), CAR, np.uint8)
    message = from_array(IMAGE, "rgb8", Header(frame_id="front"))
    answer = camera.ask(
        message, before=lambda stamp: camera.tell("evidence/labels", label_message(known, stamp))
    )
    np.testing.assert_array_equal(to_label_map(answer), LABELS)
    assert camera.set_parameter("evidence.labels.trust", 1.0).successful
    assert camera.fresh_report().count("faults.evidence/labels") == before


def bad_evidence() -> dict[str, tuple[str, Image, str]]:
    unknown = np.full((H, W), 255, np.uint8)
    unknown[0, 0] = 77
    binary = np.zeros((H, W), np.uint8)
    binary[3:] = 255
    wrong_size = label_message(unknown, 0)
    wrong_size.height = 5
    return {
        "unknown class": ("evidence/labels", label_message(unknown, 0), "class 77"),
        "colour": ("evidence/labels", from_array(IMAGE, "rgb8", Header()), "mono8"),
        "wrong size": ("evidence/labels", wrong_size, "data has 768 bytes"),
        "255 for lane": ("evidence/lane_mask", label_message(binary, 0), "publish 1 on lanes"),
    }


def bad_images() -> dict[str, tuple[str, Image | CompressedImage, str]]:
    def image(**changes: object) -> Image:
        message = from_array(IMAGE, "rgb8", Header(frame_id="front"))
        for name, value in changes.items():
            setattr(message, name, value)
        return message

    jpeg = bytes(to_jpeg(IMAGE, Header()).data)
    return {
        "wrong step": ("image", image(step=17), "step is 17"),
        "cut data": ("image", image(data=array.array("B", bytes(100))), "data has 100 bytes"),
        "unknown encoding": ("image", image(encoding="rgb7"), "unknown encoding 'rgb7'"),
        "depth": ("image", from_array(LABELS, "16UC1", Header()), "step is 32"),
        "no pixels": ("image", Image(encoding="rgb8"), "0x0 pixels"),
        "truncated JPEG": ("image/compressed", compressed(jpeg[:-60], "jpeg"), "truncated"),
        "rubbish": ("image/compressed", compressed(b"GIF89a", "gif"), "neither JPEG nor PNG"),
        "empty": ("image/compressed", CompressedImage(format="jpeg"), "0 bytes"),
    }


@pytest.mark.parametrize("name", [*bad_images(), *bad_evidence()])
def test_bad_message_is_told_and_the_next_good_image_answered(name: str, camera: Client) -> None:
    topic, message, expected = {**bad_images(), **bad_evidence()}[name]
    said = camera.provoke(topic, lambda: camera.send(topic, message))
    assert expected in said
    np.testing.assert_array_equal(camera.labels(IMAGE), LABELS)


def test_each_cause_is_logged_once(node: NodeProcess, camera: Client) -> None:
    _, message, _ = bad_images()["wrong step"]
    for _ in range(3):
        camera.provoke("image", lambda: camera.send("image", message))
    assert node.log.read_text().count("]: image: ") == 1


def test_diagnostics_warn_with_the_words_of_the_fault(camera: Client) -> None:
    warnings: list[str] = []

    def listen(message: DiagnosticArray) -> None:
        warnings.extend(status.message for status in message.status if status.level == WARN)

    subscription = camera.node.create_subscription(DiagnosticArray, "/diagnostics", listen, 10)
    topic, message, expected = bad_images()["wrong step"]
    camera.wait(
        lambda: (
            camera.provoke(topic, lambda: camera.send(topic, message))
            and any(expected in said for said in warnings)
        ),
        "a warning on /diagnostics",
    )
    camera.forget(subscription)
    camera.labels(IMAGE)
    camera.wait_for_report(lambda report: report.level == OK, "the warning to be over")


def test_clock_may_jump_back(camera: Client) -> None:
    past = from_array(IMAGE, "rgb8", Header(frame_id="front", stamp=to_time(5)))

    def jump_back() -> None:
        camera.labels(IMAGE)
        camera.send("image", past)
        if wait_for(lambda: answers_to(5, camera.masks), RESEND_S):
            np.testing.assert_array_equal(to_label_map(camera.masks[-1]), LABELS)

    assert "older than the one before" in camera.provoke("clock_jump", jump_back)


def test_second_camera_is_told(camera: Client) -> None:
    def mix() -> None:
        for name in ("front", "rear"):
            camera.ask(from_array(IMAGE, "rgb8", Header(frame_id=name)))

    said = camera.provoke("second_camera", mix)
    assert "'front'" in said
    assert "'rear'" in said


def test_mask_of_one_class_is_told(camera: Client) -> None:
    road = color_image(np.full((H, W), ROAD, np.uint8), TINY_CLASSES)
    assert "every pixel is road" in camera.provoke("uniform_mask", lambda: camera.labels(road))


def test_overlay_is_computed_only_while_subscribed(camera: Client) -> None:
    camera.labels(IMAGE)
    assert "overlay" not in camera.fresh_report().stages()
    inbox: list[Image] = []
    subscription = camera.listen(Image, "overlay", inbox.append)
    answer = camera.ask(from_array(IMAGE, "rgb8", Header(frame_id="front")), inbox)
    np.testing.assert_array_equal(image_view(answer), overlay(IMAGE, LABELS, TINY_CLASSES, 0.5))
    camera.wait_for_report(lambda report: "overlay" in report.stages(), "the time of the overlay")
    assert camera.set_parameter("overlay_alpha", 1).successful
    answer = camera.ask(from_array(IMAGE, "rgb8", Header(frame_id="front")), inbox)
    np.testing.assert_array_equal(image_view(answer), IMAGE)
    camera.forget(subscription)


def test_overlay_comes_as_jpeg_too(camera: Client) -> None:
    inbox: list[CompressedImage] = []
    subscription = camera.listen(CompressedImage, "overlay/compressed", inbox.append)
    answer = camera.ask(from_array(IMAGE, "rgb8", Header(frame_id="front")), inbox)
    camera.forget(subscription)
    assert decode_compressed(answer).shape == IMAGE.shape


def test_subscriber_that_cannot_be_served_is_told(camera: Client) -> None:
    reliable = QoSProfile(depth=1)

    def subscribe() -> None:
        subscription = camera.listen(Image, "mask", lambda message: None, reliable)
        wait_for(lambda: camera.fault_count("subscriber_qos") > 0, 2.0)
        camera.forget(subscription)

    said = camera.provoke("subscriber_qos", subscribe)
    assert f"/{NODE}/mask" in said
    assert "RELIABILITY" in said


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("bundle", "/elsewhere", "bundle is read when the node is configured"),
        ("runner", "onnx", "runner is read when"),
        ("evidence.lane_mask.classes", ["sidewalk"], "is read when"),
        ("overlay_alpha", 1.5, "overlay_alpha"),
        ("max_rate", -1.0, "max_rate"),
        ("max_rate", 1001, "max_rate is 1001: give a number from 0 to 1000"),
        ("evidence.depth.max_age", "long", "evidence.depth.max_age is 'long': give a number"),
        ("evidence.lane_mask.kind", "circles", "use one of region, lines"),
        ("mount.camera", [0.0, 0.0, 1.5], r"give 6 numbers, as in [0.0, 0.0, 1.5"),
        ("mount.camera", 1.5, "give 6 numbers, as in [0.0, 0.0, 1.5"),
    ],
)
def test_parameter_that_cannot_change_is_refused_with_the_reason(
    name: str, value: object, reason: str, camera: Client
) -> None:
    result = camera.set_parameter(name, value)
    assert not result.successful
    assert reason in result.reason
    np.testing.assert_array_equal(camera.labels(IMAGE), LABELS)


def test_rate_can_be_limited_at_run_time(camera: Client) -> None:
    assert camera.set_parameter("max_rate", 2.0).successful
    dropped = camera.fresh_report().count("frames.dropped")
    message = from_array(IMAGE, "rgb8", Header(frame_id="front"))

    def flood() -> bool:
        message.header.stamp = to_time(camera.stamp())
        camera.send("image", message)
        return camera.report.count("frames.dropped") >= dropped + 3

    camera.wait(flood, "frames to be dropped")
    assert camera.set_parameter("max_rate", 0.0).successful
    np.testing.assert_array_equal(camera.labels(IMAGE), LABELS)


def test_frame_counts_add_up(camera: Client) -> None:
    camera.labels(IMAGE)

    def adds_up(report: object) -> bool:
        names = ("received", "answered", "dropped", "failed")
        received, *ended = (camera.report.count(f"frames.{name}") for name in names)
        return received == sum(ended) > 0

    camera.wait_for_report(adds_up, "every frame to be accounted for")


def test_every_fault_is_documented(camera: Client) -> None:
    topic, message, _ = bad_images()["wrong step"]
    camera.provoke(topic, lambda: camera.send(topic, message))
    report = camera.fresh_report()
    causes = {
        key.removeprefix("faults.").removesuffix(".last")
        for key in report.values
        if key.startswith("faults.")
    }
    assert {topic} <= causes <= FAULTS.keys()
    assert report.stages().keys() <= STAGES.keys()


def test_silence_is_explained(camera: Client) -> None:
    """The answer to "the mask topic never appears and nothing says why"."""
    camera.labels(IMAGE)
    assert camera.set_parameter("image_timeout", 0.2).successful
    for topic, kind in (("image", Image), ("image/compressed", CompressedImage)):
        camera.silence(topic, kind)
    elsewhere = camera.node.create_publisher(Image, "/camera/image_raw", 1)
    report = camera.wait_for_report(
        lambda report: "-r image:=/camera/image_raw" in report.message, "advice to remap"
    )
    assert report.level == ERROR
    assert "no image received on /image or /image/compressed" in report.message
    camera.node.destroy_publisher(elsewhere)
    stranger = Client("stranger")
    stranger.publisher("image", CompressedImage)
    camera.wait_for_report(
        lambda report: (
            "stranger publishes /image as sensor_msgs/msg/CompressedImage" in report.message
        ),
        "the wrong type to be named",
    )
    stranger.close()
    camera.publisher("image", Image)
    camera.wait_for_report(
        lambda report: "ros2 topic hz /image" in report.message, "the silent publisher to be named"
    )
    np.testing.assert_array_equal(camera.labels(IMAGE), LABELS)
    assert camera.set_parameter("image_timeout", 60.0).successful
