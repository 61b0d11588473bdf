from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from tiny_drives import tiny_drive

from seg_perception.errors import BagError
from seg_perception.evaluation.bag import TYPESTORE, Bag, BagFrame
from seg_perception.evaluation.make_bag import BagOptions, make_bag

T = TYPESTORE.types
MS = 1_000_000
START_NS = 1_000_000_000


def image(stamp_ns: int, encoding: str = "rgb8") -> Any:
    seconds, rest = divmod(stamp_ns, 1_000_000_000)
    header = T["std_msgs/msg/Header"](T["builtin_interfaces/msg/Time"](seconds, rest), "camera")
    pixel_bytes = {"rgb8": 3, "mono8": 1, "16UC1": 2, "32FC1": 4}[encoding]
    data = np.zeros(4 * 6 * pixel_bytes, np.uint8)
    return T["sensor_msgs/msg/Image"](header, 4, 6, encoding, 0, 6 * pixel_bytes, data)


def jpeg(stamp_ns: int) -> Any:
    return T["sensor_msgs/msg/CompressedImage"](
        image(stamp_ns).header, "jpeg", np.zeros(9, np.uint8)
    )


def record(path: Path, *messages: tuple[str, int, Any]) -> Path:
    """Write a bag of (topic, time of recording, message)."""
    with Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as bag:
        connections: dict[str, Any] = {}
        for topic, time_ns, message in messages:
            msgtype = message.__msgtype__
            if topic not in connections:
                connections[topic] = bag.add_connection(topic, msgtype, typestore=TYPESTORE)
            bag.write(connections[topic], time_ns, TYPESTORE.serialize_cdr(message, msgtype))
    return path


def frames_of(path: Path, image_topic: str | None = None) -> list[BagFrame]:
    with Bag(path, image_topic) as bag:
        return list(bag.frames())


def test_topics_can_be_named(tmp_path: Path) -> None:
    path = record(
        tmp_path / "bag",
        ("/front/depth", START_NS, image(START_NS, "32FC1")),
        ("/front/image", START_NS, image(START_NS)),
    )
    assert frames_of(path)[0].before == ()
    with Bag(path, named={"depth": "/front/depth"}) as bag:
        (frame,) = bag.frames()
        assert roles_before(frame) == ["depth"]
        assert bag.topics.evidence == ("depth",)
    for named in ({"depth": "/rear/depth"}, {"radar": "/front/depth"}):
        with pytest.raises(BagError, match="/front/depth, /front/image"), Bag(path, named=named):
            pass


def test_a_topic_plays_no_role_that_its_messages_cannot(tmp_path: Path) -> None:
    said = T["std_msgs/msg/String"]("sunny")
    path = record(
        tmp_path / "bag",
        ("/image", START_NS, said),
        ("/camera_info", START_NS, said),
        ("/evidence/points", START_NS, image(START_NS, "32FC1")),
        ("/evidence/labels", START_NS, image(START_NS, "mono8")),
        ("/front", START_NS, image(START_NS)),
    )
    with Bag(path) as bag:
        assert bag.topics.roles == {"/front": "image", "/evidence/labels": "labels"}
    with Bag(path, named={"lane_mask": "/evidence/labels"}) as bag:
        assert bag.topics.roles == {"/front": "image", "/evidence/labels": "lane_mask"}
    for named, reason in (
        ({"points": "/evidence/labels"}, "Image on /evidence/labels: points is sensor_msgs/msg/Po"),
        ({"truth": "/front"}, "the camera's images on /front: truth is"),
    ):
        with pytest.raises(BagError, match=reason), Bag(path, named=named):
            pass


def roles_before(frame: BagFrame) -> list[str]:
    return [message.role for message in frame.before]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("single_file", [False, True])
def test_reads_what_make_bag_wrote(tmp_path: Path, storage: str, single_file: bool) -> None:
    make_bag(tiny_drive(3), tmp_path / "bag", BagOptions(storage=storage))
    path = next((tmp_path / "bag").glob("bag.*")) if single_file else tmp_path / "bag"
    with Bag(path) as bag:
        assert bag.n_frames == 3
        assert bag.topics.image == "/image"
        assert bag.topics.has_truth
        assert bag.topics.evidence == ("lane_mask",)
        frames = list(bag.frames())
    assert [frame.stamp_ns for frame in frames] == [START_NS + i * 100 * MS for i in range(3)]
    assert [roles_before(frame) for frame in frames] == [["camera_info", "lane_mask"]] * 3
    assert all(frame.truth and frame.truth.stamp_ns == frame.stamp_ns for frame in frames)


def test_what_a_detector_recorded_later_still_comes_before_its_image(tmp_path: Path) -> None:
    path = record(
        tmp_path / "bag",
        ("/image", 1000 * MS, image(1000 * MS)),
        ("/image", 1050 * MS, image(1050 * MS)),
        ("/evidence/lane_mask", 1060 * MS, image(1000 * MS, "mono8")),
        ("/truth/labels", 1070 * MS, image(1050 * MS, "mono8")),
        ("/image", 1100 * MS, image(1100 * MS)),
    )
    first, second, third = frames_of(path)
    assert roles_before(first) == ["lane_mask"]
    assert second.truth is not None
    assert first.truth is None
    assert third.truth is None


def test_an_unset_stamp_is_the_time_of_recording(tmp_path: Path) -> None:
    path = record(tmp_path / "bag", ("/image", 5, image(0)), ("/image", 9, image(0)))
    assert [frame.stamp_ns for frame in frames_of(path)] == [5, 9]


def test_finds_the_only_camera_by_its_type(tmp_path: Path) -> None:
    info = T["sensor_msgs/msg/CameraInfo"]
    region = T["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    zeros = [np.zeros(n) for n in (5, 9, 9, 12)]
    of_camera = info(image(7).header, 4, 6, "plumb_bob", *zeros, 0, 0, region)
    path = record(
        tmp_path / "bag",
        ("/cam/depth/camera_info", 7, of_camera),
        ("/cam/depth/image_rect_raw", 7, image(7, "16UC1")),
        ("/cam/color/image_raw", 7, image(7)),
        ("/cam/color/image_raw/compressed", 7, jpeg(7)),
        ("/cam/color/camera_info", 7, of_camera),
        ("/car/evidence/lane_mask", 7, image(7, "mono8")),
    )
    with Bag(path) as bag:
        assert bag.topics.roles == {
            "/cam/color/image_raw": "image",
            "/cam/color/camera_info": "camera_info",
            "/car/evidence/lane_mask": "lane_mask",
        }
        assert not bag.topics.has_truth


def test_two_cameras_must_be_told_apart(tmp_path: Path) -> None:
    path = record(tmp_path / "bag", ("/left", 1, image(1)), ("/right", 1, jpeg(1)))
    with pytest.raises(BagError, match=r"/left, /right.*--image-topic"):
        frames_of(path)
    (frame,) = frames_of(path, "/right")
    assert frame.image.topic == "/right"
    with pytest.raises(BagError, match="no images on /up; it holds /left"):
        frames_of(path, "/up")


def test_without_images_it_says_what_there_is(tmp_path: Path) -> None:
    path = record(tmp_path / "bag", ("/depth", 1, image(1, "32FC1")))
    with pytest.raises(BagError, match=r"no colour images: it holds /depth \(sensor_msgs"):
        frames_of(path)


def test_an_empty_bag_has_no_images(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="holds nothing"):
        frames_of(record(tmp_path / "bag"))


def test_an_empty_folder_is_no_bag(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="is empty; check the path"):
        frames_of(tmp_path)


def test_what_is_no_bag(tmp_path: Path) -> None:
    with pytest.raises(BagError, match=r"no bag at .*missing.*make-bag"):
        frames_of(tmp_path / "missing")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(BagError, match=r"no metadata.yaml but notes.txt.*reindex"):
        frames_of(tmp_path)
    with pytest.raises(BagError, match="cannot be read"):
        frames_of(tmp_path / "notes.txt")
    (tmp_path / "old.bag").write_bytes(b"#ROSBAG V2.0")
    with pytest.raises(BagError, match="ROS 1 bag; convert"):
        frames_of(tmp_path / "old.bag")


@pytest.mark.parametrize(
    ("topic", "msgtype", "data"),
    [
        ("/image", "sensor_msgs/msg/Image", b"\0\1\0\0"),
        ("/evidence/points", "sensor_msgs/msg/PointCloud2", b""),
        ("/tf", "tf2_msgs/msg/TFMessage", b"\0\1\0\0\7\0\0\0"),
        ("/truth/label_info", "std_msgs/msg/String", b"\0\1\0\0\7\0\0\0"),
    ],
)
def test_a_damaged_message_is_told(tmp_path: Path, topic: str, msgtype: str, data: bytes) -> None:
    path = record(tmp_path / "good", ("/front", 1, image(1)))
    with Writer(tmp_path / "bag", version=8, storage_plugin=StoragePlugin.MCAP) as bag:
        with Bag(path) as good:
            (frame,) = good.frames()
        front = bag.add_connection("/front", frame.image.msgtype, typestore=TYPESTORE)
        bag.write(front, 1, frame.image.data)
        bag.write(bag.add_connection(topic, msgtype, typestore=TYPESTORE), 2, data)
    with pytest.raises(BagError, match="cannot be read"):
        frames_of(tmp_path / "bag")


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9])
def test_a_truncated_bag_is_refused(tmp_path: Path, storage: str, share: float) -> None:
    make_bag(tiny_drive(4), tmp_path / "bag", BagOptions(storage=storage))
    file = next((tmp_path / "bag").glob("bag.*"))
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(BagError, match=r"cannot be read.*cut off"):
        frames_of(tmp_path / "bag")
