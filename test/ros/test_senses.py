"""Sensor messages in, evidence near a frame out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sensor_messages as say
from sensor_msgs.msg import CameraInfo
from tiny_bundle import TINY_CLASSES
from tiny_scene import HEIGHT_M, PITCH_RAD, POSE

from seg_perception.errors import ConfigError, EvidenceError, MessageError
from seg_perception.evidence.geometry import Pose
from seg_perception.evidence.record import Evidence
from seg_perception.evidence.transforms import rotation_of
from seg_perception.ros.frames import Frames
from seg_perception.ros.parameters import MountSettings, Settings
from seg_perception.ros.senses import (
    AT_ONCE,
    CAMERA_INFO,
    DEPTH,
    LABELS,
    LANE_LEFT,
    LANE_MASK,
    LANE_RIGHT,
    MESSAGE_TYPES,
    NEEDS_CAMERA,
    ODOMETRY,
    POINTS,
    SOURCE_OF,
    TRANSFORMS,
    Senses,
)
from seg_perception.ros.spatial_messages import to_points
from seg_perception.runtime.bundle import load_bundle

S, MS = 10**9, 10**6
H, W = 24, 32
SKY, ROAD, SIDEWALK, CAR = range(4)
MOUNTED = Settings(
    mount=MountSettings(
        camera=(0.0, 0.0, HEIGHT_M, 0.0, PITCH_RAD, 0.0), points=(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    )
)


@pytest.fixture
def senses(bundle: Path) -> Senses:
    return Senses(load_bundle(bundle).manifest, Frames(), MOUNTED)


@pytest.fixture
def seeing(senses: Senses) -> Senses:
    """The same, with a camera."""
    senses.take(CAMERA_INFO, say.camera_info(0))
    return senses


def set_source(senses: Senses, source: str, **values: Any) -> None:
    """Give a source these parameters, and the usual ones else."""
    evidence = MOUNTED.evidence
    changed = replace(getattr(evidence, source), **values)
    senses.apply(replace(MOUNTED, evidence=replace(evidence, **{source: changed})))


def only(senses: Senses, stamp: int = S) -> Evidence:
    (evidence,) = senses.nearest(stamp)
    return evidence


def possible(evidence: Evidence, row: int, column: int) -> set[str]:
    """The classes that remain possible at a pixel."""
    known = evidence.sets[evidence.index[row, column]]
    return {TINY_CLASSES[i].name for i in np.flatnonzero(known)}


def test_labels_and_lane_masks_need_no_camera(senses: Senses) -> None:
    mask = np.zeros((H, W), np.uint8)
    mask[20:] = 1
    senses.take(LANE_MASK, say.label_image(mask, S))
    senses.take(LABELS, say.label_image(np.full((H, W), CAR, np.uint8), S))
    found = {evidence.source: evidence for evidence in senses.nearest(S)}
    assert possible(found["lane_mask"], 22, 3) == {"road"}
    assert possible(found["labels"], 0, 0) == {"car"}


def test_thin_lines_and_what_lies_between_them_are_road(senses: Senses) -> None:
    set_source(senses, "lane_mask", kind="lines")
    lines = np.zeros((96, 128), np.uint8)
    for row in range(40, 96):
        lines[row, [63 - row // 2, 65 + row // 2]] = 255
    senses.take(LANE_MASK, say.label_image(lines, S))
    evidence = only(senses)
    assert evidence.index.shape == (H, W)  # of the model's pixels the middle of 4 x 4
    assert possible(evidence, 22, 16) == {"road"}
    assert evidence.weight[evidence.index[22, 16]] < evidence.weight[evidence.index[22, 4]]
    assert evidence.index[22, 0] == 0


@pytest.mark.parametrize("message", [say.depth_image(S), say.cloud(S), say.cloud(S, "base_link")])
def test_depth_and_lidar_tell_ground_from_obstacles(message: Any, seeing: Senses) -> None:
    seeing.take(DEPTH if hasattr(message, "encoding") else POINTS, message)
    evidence = only(seeing)
    assert evidence.index.shape == (H, W)
    assert possible(evidence, 22, 16) == {"road", "sidewalk"}
    assert possible(evidence, 12, 16) == {"car"}


def test_tf_says_where_a_lidar_sits(seeing: Senses) -> None:
    turned = Pose(rotation_of(np.array([0.5, 0.5, -0.5, 0.5])), np.array([0.3, -0.2, 1.9]))
    points = to_points(say.cloud(S, "base_link"))
    seen = turned.inverse().apply(points.astype(np.float64))
    cloud = say.points_message(seen, say.header(S, "lidar"))
    seeing.take(TRANSFORMS, say.transform("base_link", say.FRONT, POSE.inverse()))
    seeing.take(TRANSFORMS, say.transform("base_link", "lidar", turned))
    seeing.take(POINTS, cloud)
    found = only(seeing)
    assert possible(found, 22, 16) == {"road", "sidewalk"}
    assert possible(found, 12, 16) == {"car"}


def test_tf_of_another_time_is_not_believed(seeing: Senses) -> None:
    seeing.take(TRANSFORMS, say.transform("odom", say.FRONT, POSE.inverse(), stamp=9 * S))
    seeing.take(LANE_LEFT, say.border(S, 1.5, "odom"))
    with pytest.raises(EvidenceError, match="do the clocks agree"):
        seeing.take(LANE_RIGHT, say.border(S, -1.5, "odom"))
    assert seeing.nearest(S) == ()


def test_both_borders_make_a_lane(seeing: Senses) -> None:
    seeing.take(LANE_LEFT, say.border(S, 1.5))
    assert seeing.nearest(S) == ()
    seeing.take(LANE_RIGHT, say.border(S + 20 * MS, -1.5))
    evidence = only(seeing)
    assert evidence.source == "lane_borders"
    assert possible(evidence, 17, 16) == {"road", "car"}, "something may stand on the lane"
    assert evidence.index[17, 1] == evidence.index[17, 30] == evidence.index[5, 16] == 0


def test_borders_of_different_moments_make_none(seeing: Senses) -> None:
    seeing.take(LANE_LEFT, say.border(S, 1.5))
    seeing.take(LANE_RIGHT, say.border(S + 60 * MS, -1.5))
    assert seeing.nearest(S) == ()


@pytest.mark.parametrize("topic", sorted(NEEDS_CAMERA))
def test_without_a_camera_the_fix_is_told(topic: str, senses: Senses) -> None:
    messages = {DEPTH: say.depth_image(S), POINTS: say.cloud(S)}
    senses.take(CAMERA_INFO, CameraInfo(width=640, height=480))  # uncalibrated: all zeros
    if topic in (LANE_LEFT, LANE_RIGHT):
        senses.take(LANE_RIGHT if topic == LANE_LEFT else LANE_LEFT, say.border(S, 1.5))
    with pytest.raises(EvidenceError, match="remap camera_info"):
        senses.take(topic, messages.get(topic, say.border(S, 1.5)))


def test_no_ground_is_told_with_the_mount(seeing: Senses) -> None:
    with pytest.raises(EvidenceError, match=r"set mount\.camera .* \(now 1\.5 m, 0\.05 rad\)"):
        seeing.take(DEPTH, say.depth_image(S, np.full((120, 160), 3.0, np.float32)))


def test_a_new_mount_is_believed_at_once(seeing: Senses) -> None:
    wrong = replace(MOUNTED, mount=MountSettings(camera=(0.0, 0.0, 8.0, 0.0, 0.0, 0.0)))
    seeing.apply(wrong)
    with pytest.raises(EvidenceError, match="no ground is seen"):
        seeing.take(DEPTH, say.depth_image(S))
    seeing.apply(MOUNTED)
    seeing.take(DEPTH, say.depth_image(2 * S))
    assert only(seeing, 2 * S).source == "depth"


def test_what_cannot_be_read_leaves_what_was_known(seeing: Senses) -> None:
    seeing.take(DEPTH, say.depth_image(S))
    broken = say.depth_image(2 * S)
    broken.step = 7
    with pytest.raises(MessageError, match="step is 7"):
        seeing.take(DEPTH, broken)
    assert only(seeing, 2 * S).stamp_ns == S


def test_classes_that_the_model_lacks_are_told_by_the_parameter(bundle: Path) -> None:
    settings = MOUNTED
    lane = replace(settings.evidence.lane_mask, classes=("lawn",))
    settings = replace(settings, evidence=replace(settings.evidence, lane_mask=lane))
    senses = Senses(load_bundle(bundle).manifest, Frames(), settings)
    assert "evidence.lane_mask.classes: unknown class 'lawn'" in senses.mute_sources()["lane_mask"]
    with pytest.raises(ConfigError, match="lawn"):
        senses.take(LANE_MASK, say.label_image(np.ones((H, W), np.uint8), S))


def known(value: int, stamp: int) -> Any:
    return say.label_image(np.full((H, W), value, np.uint8), stamp)


def test_the_nearest_is_known_whether_older_or_newer(senses: Senses) -> None:
    for stamp in (S, 2 * S, 3 * S):
        senses.take(LABELS, known(CAR, stamp))
    assert only(senses, 2 * S - 400 * MS).stamp_ns == 2 * S
    assert only(senses, 2 * S + 400 * MS).stamp_ns == 2 * S


def test_usable_is_what_is_near_and_trusted(senses: Senses) -> None:
    senses.take(LABELS, known(CAR, S))
    assert senses.usable(S + 500 * MS)
    assert not senses.usable(S + 501 * MS)
    set_source(senses, "labels", max_age=0.1, trust=3.0)
    assert not senses.usable(S + 101 * MS)
    assert senses.usable(S)[0].weight.max() == 3
    set_source(senses, "labels", trust=0.0)
    assert not senses.usable(S)


def test_a_source_can_be_switched_off_and_on(senses: Senses) -> None:
    senses.take(LABELS, known(CAR, S))
    set_source(senses, "labels", enabled=False)
    assert senses.nearest(S) == ()
    senses.take(LABELS, known(ROAD, 2 * S))
    set_source(senses, "labels", enabled=True)
    assert only(senses, 2 * S).stamp_ns == S, "what came meanwhile was not looked at"


def test_a_source_can_be_slowed_down(senses: Senses) -> None:
    set_source(senses, "labels", max_rate=5.0)
    for i in range(10):
        senses.take(LABELS, known(CAR, S + i * 100 * MS))
    found = {only(senses, S + i * 100 * MS).stamp_ns for i in range(10)}
    assert found == {S + i * 200 * MS for i in range(5)}


def test_clearing_forgets_all_but_the_camera(seeing: Senses) -> None:
    seeing.take(DEPTH, say.depth_image(S))
    seeing.clear()
    assert seeing.nearest(S) == ()
    seeing.take(DEPTH, say.depth_image(S))
    assert only(seeing).source == "depth"


def test_evidence_of_another_moment_moves_with_the_vehicle(seeing: Senses) -> None:
    for side, topic in ((1.5, LANE_LEFT), (-1.5, LANE_RIGHT)):
        seeing.take(topic, say.border(S, side))
    still = only(seeing, S + 100 * MS).index
    for i in range(3):
        seeing.take(ODOMETRY, say.odometry(S + i * 100 * MS, 12.0 * i))
    then, moved = only(seeing, S), only(seeing, S + 100 * MS)
    np.testing.assert_array_equal(then.index, still)
    assert moved.stamp_ns == S, "its age stays what it is"
    # The lane's end, 20 m ahead, is only 8 m ahead 12 m further on: lower in the image.
    assert moved.index.any(axis=1).argmax() > then.index.any(axis=1).argmax()
    assert moved.index[20].any()


def test_every_evidence_topic_belongs_to_a_source_with_settings() -> None:
    assert set(SOURCE_OF) == set(MESSAGE_TYPES) - AT_ONCE
    assert set(SOURCE_OF.values()) == set(Settings().evidence.by_source())


def test_a_camera_info_that_cannot_be_read_changes_nothing(seeing: Senses) -> None:
    before, broken = seeing.camera_text, say.camera_info(0)
    broken.d, broken.width = [0.1, 0.0, 0.0, 0.0, 0.0], 0
    with pytest.raises(EvidenceError):
        seeing.take(CAMERA_INFO, broken)
    assert seeing.camera_text == before
