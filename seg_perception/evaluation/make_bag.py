"""Writing a dataset as a recorded drive (rosbag2), with truth and evidence beside the images."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.errors import WriterError

from seg_perception.datasets import Camera, Dataset, Sample
from seg_perception.errors import BagError, ConfigError
from seg_perception.evaluation import bag_messages
from seg_perception.evaluation.bag import (
    CAMERA_INFO_TOPIC,
    COMPRESSED_TOPIC,
    EVIDENCE_TOPIC,
    IMAGE_TOPIC,
    ODOMETRY_TOPIC,
    SOURCES,
    TF_STATIC_TOPIC,
    TRUTH_INFO_TOPIC,
    TRUTH_TOPIC,
    TYPESTORE,
)
from seg_perception.evaluation.sensor_faults import Fault, FaultySensors
from seg_perception.evaluation.sensors import KnownLabels, Reading, readings
from seg_perception.evidence.geometry import Pose
from seg_perception.evidence.transforms import STAY

BAG_VERSION: Literal[8] = 8  # the newest that Humble and Iron can still read
STORAGES = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
FOREVER = QosTime(2147483647, 4294967295)
LATCHED = Qos(
    QosHistory.KEEP_LAST,
    1,
    QosReliability.RELIABLE,
    QosDurability.TRANSIENT_LOCAL,
    deadline=FOREVER,
    lifespan=FOREVER,
    liveliness=QosLiveliness.AUTOMATIC,
    liveliness_lease_duration=FOREVER,
    avoid_ros_namespace_conventions=False,
)
LATCHED_TOPICS = (TF_STATIC_TOPIC, TRUTH_INFO_TOPIC)
"""Recorded as such, so that `ros2 bag play` offers them to who comes late."""
DRIVE_GAP_NS = 1_000_000_000  # between drives, and before the first: a stamp of 0 means "unset"
CAMERA_FRAME, LIDAR_FRAME, VEHICLE_FRAME, ODOMETRY_FRAME = "camera", "lidar", "base_link", "odom"
LIDAR = Pose(
    np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), np.array([-0.6, 0.2, 2.1])
)
"""Where the street's `Lidar` is, its x axis to the left: from its frame into the vehicle's."""
FRAMES = {"points": LIDAR_FRAME, "lane_left": VEHICLE_FRAME, "lane_right": VEHICLE_FRAME}
"""In which frame a reading is said; the others in the camera's."""


@dataclass(frozen=True)
class BagOptions:
    """What `make_bag` writes.

    Attributes:
        storage: "mcap" or "sqlite3".
        compressed: write JPEG on `image/compressed` in place of `image`.
        evidence: the sources to make from the truth, as far as the samples tell enough; None =
            all but labels.
        labels: what is known on `evidence/labels`.
        faults: what is wrong with the sources.
        seed: of the evidence and its faults.
        rate_hz: stamps at this rate; None = the samples' own.
        overwrite: replace a bag that is there.
    """

    storage: str = "mcap"
    compressed: bool = False
    evidence: tuple[str, ...] | None = None
    labels: KnownLabels = field(default_factory=KnownLabels)
    faults: tuple[Fault, ...] = ()
    seed: int = 0
    rate_hz: float | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Check the names.

        Raises:
            ConfigError: an unknown storage or evidence, or a rate that is none.
        """
        if self.storage not in STORAGES:
            raise ConfigError(f"unknown storage {self.storage!r}: use {' or '.join(STORAGES)}")
        unknown = [name for name in self.evidence or () if name not in SOURCES]
        if unknown:
            raise ConfigError(
                f"unknown evidence {', '.join(unknown)}: use {', '.join(SOURCES)} or none"
            )
        if self.rate_hz is not None and self.rate_hz <= 0:
            raise ConfigError(f"a rate of {self.rate_hz} Hz: give one above 0")


def make_bag(
    dataset: Dataset,
    out: Path,
    options: BagOptions,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, int]:
    """Write every sample of a dataset as the messages of one frame.

    `image` (or `image/compressed`), `camera_info`, `truth/labels` with the names of its classes in
    `truth/label_info`, the evidence asked for, `odometry` and, whenever the camera sits otherwise
    than before, `tf_static`, as far as the samples have what these need.

    Args:
        dataset: the drives.
        out: the folder to write; it must not exist unless `options.overwrite`.
        options: see there.
        progress: told the frames done and their number.

    Returns:
        Number of messages by topic.

    Raises:
        BagError: `out` exists, or cannot be written.
        ConfigError: the evidence asked for cannot be made.
    """
    _make_room(out, options.overwrite)
    storage = STORAGES[options.storage]
    writer = _TopicWriter(Writer(out, version=BAG_VERSION, storage_plugin=storage))
    try:
        with writer.bag:
            names = bag_messages.label_info(dataset.classes)
            mounted: Camera | None = None
            for i, (sample, stamp_ns, said) in enumerate(_sensed(dataset, options)):
                if i == 0:
                    writer.write(TRUTH_INFO_TOPIC, stamp_ns, names)
                if sample.camera is not None and sample.camera != mounted:
                    mounted = sample.camera
                    in_vehicle = bag_messages.header(stamp_ns, VEHICLE_FRAME)
                    tf = bag_messages.tf(in_vehicle, _places(mounted))
                    writer.write(TF_STATIC_TOPIC, stamp_ns, tf)
                for topic, message in _messages(sample, stamp_ns, said, options.compressed):
                    writer.write(topic, stamp_ns, message)
                progress(i + 1, len(dataset))
    except BaseException as error:
        shutil.rmtree(out, ignore_errors=True)
        if isinstance(error, (WriterError, OSError)):
            raise BagError(f"cannot write {out}: {error}; choose another --out") from error
        raise
    return dict(writer.counts)


class _TopicWriter:
    """Writes messages, adding each topic on its first."""

    def __init__(self, bag: Writer) -> None:
        self.bag = bag
        self.counts: Counter[str] = Counter()
        self._connections: dict[str, Any] = {}

    def write(self, topic: str, stamp_ns: int, message: Any) -> None:
        msgtype = message.__msgtype__
        if topic not in self._connections:
            offered = (LATCHED,) if topic in LATCHED_TOPICS else ()
            self._connections[topic] = self.bag.add_connection(
                topic, msgtype, typestore=TYPESTORE, offered_qos_profiles=offered
            )
        data = TYPESTORE.serialize_cdr(message, msgtype)
        self.bag.write(self._connections[topic], stamp_ns, data)
        self.counts[topic] += 1


def _make_room(out: Path, overwrite: bool) -> None:
    if not out.exists():
        return
    if not overwrite:
        raise BagError(f"{out} exists already; choose another --out, or give --overwrite")
    if not (out / "metadata.yaml").is_file():
        raise BagError(
            f"{out} exists and is no bag, so it is not overwritten; choose another --out, or "
            "delete it where a killed command left it"
        )
    shutil.rmtree(out)


def _sensed(
    dataset: Dataset, options: BagOptions
) -> Iterator[tuple[Sample, int, dict[str, Reading]]]:
    """Samples with their stamps and what the sensors, faulty or not, say of them."""
    sensors, drive = FaultySensors(options.faults), None
    sources = _sources(dataset) if options.evidence is None else options.evidence
    for i, (sample, stamp_ns) in enumerate(_stamped(dataset, options.rate_hz)):
        if sample.drive != drive:
            drive = sample.drive
            sensors.restart()
        rng = np.random.default_rng((options.seed, i))
        said = readings(sample, dataset, sources, options.labels, rng)
        yield sample, stamp_ns, sensors.spoil(said, stamp_ns, rng)


def _sources(dataset: Dataset) -> tuple[str, ...]:
    """What a dataset may tell of: of lanes, only where there are roads."""
    has_roads = "road" in {info.name for info in dataset.classes}
    lanes = ("lane_mask", "lane_borders") if has_roads else ()
    return (*lanes, "depth", "points")


def _stamped(dataset: Dataset, rate_hz: float | None) -> Iterator[tuple[Sample, int]]:
    """Samples with stamps that only rise: a drive that would begin too early is moved."""
    shift_ns, last_ns, drive = 0, 0, None
    for i in range(len(dataset)):
        sample = dataset[i]
        if sample.drive != drive:
            drive = sample.drive
            shift_ns = max(0, last_ns + DRIVE_GAP_NS - sample.stamp_ns)
        last_ns = sample.stamp_ns + shift_ns
        if rate_hz is not None:
            last_ns = DRIVE_GAP_NS + round(i * 1e9 / rate_hz)
        yield sample, last_ns


def _messages(
    sample: Sample, stamp_ns: int, said: Mapping[str, Reading], compressed: bool
) -> Iterator[tuple[str, Any]]:
    """Topic and message of everything known about one frame, the image last."""
    header = partial(bag_messages.header, stamp_ns)
    by_camera = header(CAMERA_FRAME)
    yield CAMERA_INFO_TOPIC, bag_messages.camera_info(by_camera, sample)
    yield TRUTH_TOPIC, bag_messages.image(by_camera, sample.labels, "mono8")
    if sample.pose is not None:
        in_world = header(ODOMETRY_FRAME)
        yield ODOMETRY_TOPIC, bag_messages.odometry(in_world, VEHICLE_FRAME, sample.pose)
    for name, reading in said.items():
        frame = FRAMES.get(name, CAMERA_FRAME)
        if sample.camera is not None and frame != CAMERA_FRAME:
            reading = _seen_from(frame, reading, sample.camera)
        yield EVIDENCE_TOPIC + name, _MESSAGES[name](header(frame), reading)
    if compressed:
        yield COMPRESSED_TOPIC, bag_messages.jpeg(by_camera, sample.image)
    else:
        yield IMAGE_TOPIC, bag_messages.image(by_camera, sample.image, "rgb8")


def _places(camera: Camera) -> dict[str, Pose]:
    """From the frame of each sensor into the vehicle's."""
    return {CAMERA_FRAME: camera.pose.inverse(), LIDAR_FRAME: LIDAR}


def _seen_from(frame: str, points: Reading, camera: Camera) -> Reading:
    """Points [N,3] of the camera's frame in another."""
    places = {VEHICLE_FRAME: STAY, **_places(camera)}
    return places[frame].inverse().after(places[CAMERA_FRAME]).apply(points)


_MESSAGES: Mapping[str, Callable[[Any, Reading], Any]] = {
    "lane_mask": partial(bag_messages.image, encoding="mono8"),
    "labels": partial(bag_messages.image, encoding="mono8"),
    "depth": partial(bag_messages.image, encoding="32FC1"),
    "lane_left": bag_messages.path,
    "lane_right": bag_messages.path,
    "points": bag_messages.points,
}
