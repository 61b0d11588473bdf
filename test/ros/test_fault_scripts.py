"""Random drives with broken sensors, message by message through the node's own intake.

Topics come, go, lag, stop and jump back in time; messages hold NaN, the wrong size, encoding, frame
or nothing at all. Every frame is answered, with nothing stale and nothing that is no number; what
cannot be used is told with the fix; nothing is forgotten on the way.
"""

from __future__ import annotations

import array
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sensor_messages as say
from hypothesis import given, settings
from hypothesis import strategies as st
from ros_client import wait_for
from sensor_msgs.msg import CameraInfo, PointCloud2
from std_msgs.msg import Header
from tiny_bundle import TINY_CLASSES, color_image
from tiny_scene import HEIGHT_M, PITCH_RAD, POSE, street_depth

from seg_perception.evidence.gate import SourceGate
from seg_perception.perceiver import Frame, Perceiver, Perception
from seg_perception.ros.frames import Frames
from seg_perception.ros.intake import Intake
from seg_perception.ros.parameters import MountSettings, Settings
from seg_perception.ros.senses import (
    CAMERA_INFO,
    DEPTH,
    LABELS,
    LANE_LEFT,
    LANE_MASK,
    LANE_RIGHT,
    ODOMETRY,
    POINTS,
    TRANSFORMS,
    Senses,
)
from seg_perception.runtime.bundle import load_bundle
from seg_perception.runtime.runner import Runner, open_runner

MS = 10**6
H, W = 24, 32
PATIENCE_S = 5.0
MOUNTED = Settings(mount=MountSettings(camera=(0.0, 0.0, HEIGHT_M, 0.0, PITCH_RAD, 0.0)))
MAX_AGE_MS = 1e3 * MOUNTED.evidence.depth.max_age
NOT_FORESEEN = re.compile(r"^\w*(Error|Exception|Warning): ")
"""How the intake tells of what no part of it refused."""

FRAMES = ("", "base_link", "lidar", "elsewhere")
NUMBERS = {"nan": np.nan, "inf": np.inf, "negative": -1.0, "zero": 0.0, "huge": 1e30}
FAULTS = ("", *NUMBERS, "cut", "step", "encoding", "no pixels")

Rng = np.random.Generator


def spoilt(values: np.ndarray, fault: str, rng: Rng) -> np.ndarray:
    """Metres of which some are no sensible numbers."""
    if fault in NUMBERS:
        values = values.copy()
        values[rng.random(values.shape) < rng.random()] = NUMBERS[fault]
    return values


def spoilt_image(message: Any, fault: str) -> Any:
    """An image or a cloud that its driver got wrong."""
    if fault == "cut":
        message.data = array.array("B", bytes(message.data)[:-3])
    elif fault == "step" and isinstance(message, PointCloud2):
        message.point_step, message.row_step = 5, 7
    elif fault == "step":
        message.step = 7
    elif fault == "encoding" and isinstance(message, PointCloud2):
        message.fields = message.fields[:2]
    elif fault == "encoding":
        message.encoding = "rgb8"
    elif fault == "no pixels":
        message.width, message.data = 0, array.array("B")
    return message


def camera_info(stamp: int, fault: str, rng: Rng) -> Any:
    message = say.camera_info(stamp)
    if fault in NUMBERS:
        message.k = [NUMBERS[fault]] * 9
    return CameraInfo(header=message.header) if fault == "no pixels" else message


def odometry(stamp: int, fault: str, rng: Rng) -> Any:
    return say.odometry(stamp, NUMBERS.get(fault, 5e-9 * (stamp % 10**10)))


def transform(stamp: int, fault: str, rng: Rng) -> Any:
    child = say.FRONT if fault in ("", "cut") else "lidar"
    message = say.transform("base_link", child, POSE.inverse(), stamp if rng.random() < 0.5 else 0)
    if fault in NUMBERS:
        message.transform.rotation.w = NUMBERS[fault]
    elif fault == "no pixels":
        message.header.frame_id = "lidar"
    return message


def labels(stamp: int, fault: str, rng: Rng) -> Any:
    highest = 9 if fault in NUMBERS else len(TINY_CLASSES)
    known = rng.integers(0, highest, (H, W)).astype(np.uint8)
    known[rng.random(known.shape) < rng.random()] = 255
    return spoilt_image(say.label_image(known, stamp), fault)


def lane_mask(stamp: int, fault: str, rng: Rng) -> Any:
    size = rng.integers(1, 60, 2)
    mask = (rng.random(size) < rng.random()).astype(np.uint8)
    return spoilt_image(say.label_image(mask, stamp), fault)


def border(side_m: float) -> Callable[[int, str, Rng], Any]:
    def made(stamp: int, fault: str, rng: Rng) -> Any:
        ahead = spoilt(np.linspace(-3, 30, 12), fault, rng)
        places = [] if fault == "no pixels" else [(x, side_m, 0.0) for x in ahead.tolist()]
        return say.path(places, stamp, str(rng.choice(FRAMES)))

    return made


def depth(stamp: int, fault: str, rng: Rng) -> Any:
    return spoilt_image(say.depth_image(stamp, spoilt(street_depth(), fault, rng)), fault)


def points(stamp: int, fault: str, rng: Rng) -> Any:
    cloud = rng.uniform((2, -8, -0.2), (50, 8, 3), (800, 3)).astype(np.float32)
    header = say.header(stamp, str(rng.choice(FRAMES)))
    return spoilt_image(say.points_message(spoilt(cloud, fault, rng), header), fault)


SENSORS: dict[str, Callable[[int, str, Rng], Any]] = {
    CAMERA_INFO: camera_info,
    ODOMETRY: odometry,
    TRANSFORMS: transform,
    LABELS: labels,
    LANE_MASK: lane_mask,
    LANE_LEFT: border(1.5),
    LANE_RIGHT: border(-1.5),
    DEPTH: depth,
    POINTS: points,
}


class Vehicle:
    """The node between its topics: intake and perceiver, with a witness to all they say."""

    def __init__(self, runner: Runner, *, gated: bool) -> None:
        self.faults: list[tuple[str, str]] = []
        self.answers: list[Perception] = []
        self.errors: list[Exception] = []
        self.n_posted, self.settled = 0, list[str]()
        self._answered = threading.Event()
        senses = Senses(runner.bundle.manifest, Frames(), MOUNTED)
        self._intake = Intake(senses, self)
        self._perceiver = Perceiver(runner, temporal_precision=1.0)
        self._perceiver.gate = SourceGate() if gated else None
        self._perceiver.supply = self._intake
        self._perceiver.start(self._on_perception, self._on_error)

    def say(self, topic: str, message: Any) -> None:
        self.n_posted += 1
        self._intake.post(topic, message)

    def see(self, stamp: int) -> None:
        """Show an image, and wait for the answer."""
        image = color_image(np.full((H, W), stamp // MS % 4, np.uint8), TINY_CLASSES)
        self._answered.clear()
        self._perceiver.submit(Frame(image, stamp))
        assert self._answered.wait(PATIENCE_S)

    def close(self) -> None:
        self._perceiver.stop()
        self._intake.close()

    def on_fault(self, cause: str, message: str) -> None:
        self.faults.append((cause, message))

    def on_sensed(self, source: str, took_ms: float) -> None:
        assert took_ms >= 0

    def on_skipped(self, source: str) -> None:
        assert source in MOUNTED.evidence.by_source()

    def on_settled(self, topic: str, header: Header) -> None:
        self.settled.append(topic)

    def _on_perception(self, perception: Perception) -> None:
        self.answers.append(perception)
        self._done()

    def _on_error(self, error: Exception) -> None:
        self.errors.append(error)
        self._done()

    def _done(self) -> None:
        self._intake.frame_done()
        self._answered.set()


@pytest.fixture(scope="module")
def runner(bundle: Path) -> Iterator[Runner]:
    opened = open_runner(load_bundle(bundle), "onnx", threads=1)
    yield opened
    opened.close()


messages = st.tuples(
    st.sampled_from(sorted(SENSORS)),
    st.sampled_from(FAULTS),
    st.integers(-900, 600),  # milliseconds after the frame: it lags, or is ahead
    st.integers(0, 99),
)
steps = st.tuples(st.integers(-400, 900), st.booleans(), st.lists(messages, max_size=5))


@given(
    script=st.lists(steps, min_size=1, max_size=6), calibrated=st.booleans(), gated=st.booleans()
)
@settings(max_examples=200)
def test_no_script_of_faults_stops_or_misleads_the_node(
    runner: Runner,
    script: list[tuple[int, bool, list[tuple[str, str, int, int]]]],
    calibrated: bool,
    gated: bool,
) -> None:
    vehicle = Vehicle(runner, gated=gated)
    if calibrated:
        vehicle.say(CAMERA_INFO, say.camera_info(MS))
    now_ms = 10_000
    for passed_ms, early, said in script:
        now_ms += passed_ms
        if not early:  # the sensors come after their image
            vehicle.see(now_ms * MS)
        for topic, fault, offset_ms, seed in said:
            stamp = (now_ms + offset_ms) * MS
            vehicle.say(topic, SENSORS[topic](stamp, fault, np.random.default_rng(seed)))
        vehicle.see(now_ms * MS)
    assert wait_for(lambda: len(vehicle.settled) == vehicle.n_posted, PATIENCE_S)
    vehicle.close()
    assert vehicle.errors == []
    assert [told for told in vehicle.faults if NOT_FORESEEN.match(told[1])] == []
    assert all(": " in told or "," in told for _, told in vehicle.faults), "and what to do"
    for answer in vehicle.answers:
        assert answer.labels.max() < len(TINY_CLASSES)
        assert answer.code is not None
        assert np.isfinite(answer.code).all()
        for report in answer.evidence:
            assert not (report.used and report.age_ms > MAX_AGE_MS)
            assert not (report.used and np.isnan(report.age_ms))
