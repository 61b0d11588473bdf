from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_drives import CAMERA, ROAD, TinyDrive, of_drives, tiny_drive, tiny_sample, with_lanes

from seg_perception.datasets.street import Lidar
from seg_perception.errors import BagError, ConfigError, DatasetError
from seg_perception.evaluation.bag import TYPESTORE, Bag
from seg_perception.evaluation.make_bag import LIDAR, BagOptions, make_bag
from seg_perception.evaluation.sensor_faults import Fault
from seg_perception.evaluation.sensors import KnownLabels
from seg_perception.evidence.transforms import rotation_of

S = 1_000_000_000


def messages(path: Path) -> dict[str, list[Any]]:
    """Every message of a bag by the role of its topic."""
    found: dict[str, list[Any]] = {}
    with Bag(path) as bag:
        for frame in bag.frames():
            for message in (*frame.before, frame.truth, frame.image):
                assert message is not None
                content = TYPESTORE.deserialize_cdr(message.data, message.msgtype)
                found.setdefault(message.role, []).append(content)
    return found


def pixels(message: Any, dtype: str = "u1") -> np.ndarray:
    array = message.data.view(dtype)
    assert message.step * message.height == message.data.nbytes
    return array.reshape(message.height, message.width, -1).squeeze()


def stamps(path: Path) -> list[int]:
    with Bag(path) as bag:
        return [frame.stamp_ns for frame in bag.frames()]


def test_image_and_truth_are_those_of_the_samples(tmp_path: Path) -> None:
    drive = tiny_drive(2)
    counts = make_bag(drive, tmp_path / "bag", BagOptions())
    assert counts == dict.fromkeys(
        ("/camera_info", "/truth/labels", "/evidence/lane_mask", "/image"), 2
    ) | {"/truth/label_info": 1}
    with Bag(tmp_path / "bag") as bag:
        assert bag.truth_classes == drive.classes
    found = messages(tmp_path / "bag")
    for sample, image, truth in zip(drive.samples, found["image"], found["truth"], strict=True):
        assert (pixels(image) == sample.image).all()
        assert (pixels(truth) == sample.labels).all()
        assert (image.encoding, truth.encoding) == ("rgb8", "mono8")
        assert image.header.frame_id == "camera"


def test_compressed_images_are_jpeg(tmp_path: Path) -> None:
    sample = tiny_sample(0)
    smooth = cv2.GaussianBlur(sample.image, (0, 0), 4)
    drive = TinyDrive((replace(sample, image=smooth),))
    counts = make_bag(drive, tmp_path / "bag", BagOptions(compressed=True))
    assert "/image/compressed" in counts
    assert "/image" not in counts
    (message,) = messages(tmp_path / "bag")["image"]
    decoded = cv2.imdecode(message.data, cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(decoded.astype(int) - smooth).mean() < 4


def test_stamps_only_rise_across_drives(tmp_path: Path) -> None:
    drive = of_drives([("a", 0), ("a", S), ("b", 0), ("b", S // 2), ("c", 90 * S)])
    make_bag(drive, tmp_path / "bag", BagOptions())
    # A stamp of 0 would mean "unset"; drive c begins late enough to keep its own.
    assert stamps(tmp_path / "bag") == [S, 2 * S, 3 * S, 3 * S + S // 2, 90 * S]


def test_stamps_at_a_rate(tmp_path: Path) -> None:
    make_bag(tiny_drive(3), tmp_path / "bag", BagOptions(rate_hz=20))
    assert np.diff(stamps(tmp_path / "bag")).tolist() == [S // 20, S // 20]


def test_lane_mask_is_road_and_says_nothing_else(tmp_path: Path) -> None:
    drive = tiny_drive(3)
    make_bag(drive, tmp_path / "bag", BagOptions())
    for sample, message in zip(drive.samples, messages(tmp_path / "bag")["lane_mask"], strict=True):
        mask = pixels(message)
        assert set(np.unique(mask)) == {0, 1}
        assert (sample.labels[mask == 1] == ROAD).all()


def test_the_lidars_frame_is_where_the_streets_lidar_sits() -> None:
    lidar = Lidar()
    assert LIDAR.translation.tolist() == [lidar.ahead_m, lidar.left_m, lidar.height_m]


def test_known_lanes_give_mask_paths_depth_points_and_intrinsics(tmp_path: Path) -> None:
    sample = with_lanes(tiny_sample(0))
    make_bag(TinyDrive((sample,)), tmp_path / "bag", BagOptions())
    found = messages(tmp_path / "bag")
    mask = pixels(found["lane_mask"][0])
    rows, columns = np.nonzero(mask)
    # At 3 m, the first known metres, 1.5 m below and 1.5 m beside the camera are 10 pixels.
    assert rows.max() <= 22
    assert columns.min() >= 15 - 10
    assert columns.max() <= 16 + 10
    assert mask[20, 15] == 1
    assert mask[14, 2] == 0
    assert (pixels(found["depth"][0], "<f4") == 7.5).all()
    assert found["depth"][0].encoding == "32FC1"
    left, right = found["lane_left"][0], found["lane_right"][0]
    for border, side in ((left, 1.5), (right, -1.5)):
        places = [pose.pose.position for pose in border.poses]
        np.testing.assert_allclose([p.x for p in places], np.linspace(3, 30, 10), atol=1e-5)
        np.testing.assert_allclose([p.y for p in places], side, atol=1e-6)
        np.testing.assert_allclose([p.z for p in places], 0, atol=1e-6)
        assert border.header.frame_id == "base_link"
    (cloud,) = found["points"]
    points = cloud.data.view("<f4").reshape(-1, 4)
    assert cloud.header.frame_id == "lidar"
    np.testing.assert_allclose(points[:, 1], -8.1, atol=1e-5, err_msg="the lidar looks left")
    assert points[:, 2].max() < 7.5 * 11.5 / 20 - 0.6 + 1e-5, "it sits 0.6 m above the camera"
    assert cloud.row_step == cloud.data.nbytes == cloud.width * cloud.point_step
    assert [field.name for field in cloud.fields] == ["x", "y", "z", "intensity"]
    info = found["camera_info"][0]
    assert (info.k.reshape(3, 3) == [[20, 0, 15.5], [0, 20, 11.5], [0, 0, 1]]).all()
    assert (info.height, info.width) == (CAMERA.height, CAMERA.width)


def test_tf_tells_where_the_sensors_sit_as_often_as_that_changes(tmp_path: Path) -> None:
    level = with_lanes(tiny_sample(0))
    pitched = replace(CAMERA, height_m=1.2, pitch_rad=0.1)
    cameras = (CAMERA, CAMERA, pitched)
    samples = (replace(level, stamp_ns=i * S, camera=one) for i, one in enumerate(cameras))
    counts = make_bag(TinyDrive(tuple(samples)), tmp_path / "bag", BagOptions(evidence=()))
    assert counts["/tf_static"] == 2
    told = messages(tmp_path / "bag")["transforms"]
    frames = [(one.header.frame_id, one.child_frame_id) for one in told]
    assert frames == 2 * [("base_link", "camera"), ("base_link", "lidar")]
    for message, camera in zip(told[::2], (CAMERA, pitched), strict=True):
        assert message.header.stamp.sec == message.header.stamp.nanosec == 0, "it always holds"
        place, q = message.transform.translation, message.transform.rotation
        np.testing.assert_allclose((place.x, place.y, place.z), (0, 0, camera.height_m), atol=1e-9)
        turn = rotation_of(np.array([q.w, q.x, q.y, q.z]))
        np.testing.assert_allclose(turn, camera.pose.rotation.T, atol=1e-9)


def test_odometry_is_the_pose_of_the_vehicle(tmp_path: Path) -> None:
    drive = TinyDrive((replace(tiny_sample(0), pose=(1.0, 2.0, np.pi / 2)),))
    make_bag(drive, tmp_path / "bag", BagOptions())
    (message,) = messages(tmp_path / "bag")["odometry"]
    pose = message.pose.pose
    assert (pose.position.x, pose.position.y) == (1.0, 2.0)
    np.testing.assert_allclose([pose.orientation.z, pose.orientation.w], 0.5**0.5)
    assert (message.header.frame_id, message.child_frame_id) == ("odom", "base_link")


def test_faulty_sensors_are_recorded_faulty(tmp_path: Path) -> None:
    drive = TinyDrive(tuple(with_lanes(tiny_sample(i)) for i in range(4)))
    faults = (Fault("depth", bias=1.0), Fault("points", drop=1.0), Fault("lane_mask", delay=0.15))
    counts = make_bag(drive, tmp_path / "bag", BagOptions(faults=faults))
    assert "/evidence/points" not in counts
    assert counts["/evidence/lane_mask"] == 2
    assert {float(pixels(depth, "<f4")[0, 0]) for depth in messages(tmp_path / "bag")["depth"]} == {
        8.5
    }


def test_an_unknown_camera_is_uncalibrated(tmp_path: Path) -> None:
    make_bag(tiny_drive(1), tmp_path / "bag", BagOptions())
    (info,) = messages(tmp_path / "bag")["camera_info"]
    assert not info.k.any()
    assert (info.height, info.width) == (24, 32)


def test_known_labels_are_true_and_seeded(tmp_path: Path) -> None:
    drive = tiny_drive(2)
    found = {}
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        options = BagOptions(evidence=("labels",), labels=KnownLabels("points:0.2"), seed=seed)
        make_bag(drive, tmp_path / name, options)
        found[name] = [pixels(message) for message in messages(tmp_path / name)["labels"]]
    for sample, known in zip(drive.samples, found["one"], strict=True):
        told = known != 255
        assert (known[told] == sample.labels[told]).all()
        assert told.sum() == round(0.2 * (sample.labels != 255).sum())
    assert all((a == b).all() for a, b in zip(found["one"], found["same"], strict=True))
    assert any((a != b).any() for a, b in zip(found["one"], found["other"], strict=True))


def test_without_evidence(tmp_path: Path) -> None:
    counts = make_bag(tiny_drive(1), tmp_path / "bag", BagOptions(evidence=()))
    assert not any(topic.startswith("/evidence") for topic in counts)


def test_sets_cannot_be_said_by_labels_and_nothing_is_left_behind(tmp_path: Path) -> None:
    options = BagOptions(evidence=("labels",), labels=KnownLabels("sets:0.5"))
    with pytest.raises(ConfigError, match="several classes possible"):
        make_bag(tiny_drive(1), tmp_path / "bag", options)
    assert not (tmp_path / "bag").exists()


def test_labels_of_one_class_ask_which(tmp_path: Path) -> None:
    options = BagOptions(evidence=("labels",), labels=KnownLabels("partial:0.5"))
    with pytest.raises(ConfigError, match=r"'partial:0\.5' .* name it by --evidence-class"):
        make_bag(tiny_drive(1), tmp_path / "bag", options)


def test_a_bag_is_only_replaced_when_told_to(tmp_path: Path) -> None:
    make_bag(tiny_drive(1), tmp_path / "bag", BagOptions())
    with pytest.raises(BagError, match=r"exists already; .*--overwrite"):
        make_bag(tiny_drive(2), tmp_path / "bag", BagOptions())
    make_bag(tiny_drive(2), tmp_path / "bag", BagOptions(overwrite=True))
    assert len(stamps(tmp_path / "bag")) == 2


def test_what_is_no_bag_is_never_overwritten(tmp_path: Path) -> None:
    precious = tmp_path / "thesis.tex"
    precious.write_text("ten years")
    with pytest.raises(BagError, match="is no bag"):
        make_bag(tiny_drive(1), tmp_path, BagOptions(overwrite=True))
    assert precious.read_text() == "ten years"


def test_a_broken_sample_leaves_no_half_bag(tmp_path: Path) -> None:
    class Broken(TinyDrive):
        def __getitem__(self, index: int) -> Any:
            if index == 1:
                raise DatasetError("cannot be decoded")
            return super().__getitem__(index)

    with pytest.raises(DatasetError):
        make_bag(Broken(tiny_drive(3).samples), tmp_path / "bag", BagOptions())
    assert not (tmp_path / "bag").exists()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"storage": "tar"}, "mcap or sqlite3"),
        ({"evidence": ("lidar",)}, "lane_mask, .*points, labels or none"),
        ({"rate_hz": 0.0}, "above 0"),
    ],
)
def test_refuses_unknown_options(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        BagOptions(**options)


def test_progress_tells_every_frame(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    make_bag(tiny_drive(3), tmp_path / "bag", BagOptions(), lambda i, n: told.append((i, n)))
    assert told == [(1, 3), (2, 3), (3, 3)]
