"""Writing a dataset as a recorded drive (rosbag2), with truth and evidence beside the images."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.errors import WriterError

from seg_perception.classes import VOID, class_ids
from seg_perception.datasets import Camera, Dataset, Sample
from seg_perception.datasets.partial_truth import partial_truth
from seg_perception.errors import BagError, ConfigError
from seg_perception.evaluation.bag import (
    CAMERA_INFO_TOPIC,
    CAMERA_INFO_TYPE,
    COMPRESSED_TOPIC,
    COMPRESSED_TYPE,
    EVIDENCE_TOPIC,
    IMAGE_TOPIC,
    IMAGE_TYPE,
    PATH_TYPE,
    TRUTH_TOPIC,
    TYPESTORE,
)
from seg_perception.evidence.record import Evidence

BAG_VERSION: Literal[8] = 8  # the newest that Humble and Iron can still read
STORAGES = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
EVIDENCE_CHOICES = ("lane_mask", "labels")
DRIVE_GAP_NS = 1_000_000_000  # between drives, and before the first: a stamp of 0 means "unset"
JPEG_QUALITY = 95
ON_LANE = 1  # 255 is "unknown"
CAMERA_FRAME, VEHICLE_FRAME = "camera", "base_link"

T = TYPESTORE.types


@dataclass(frozen=True)
class BagOptions:
    """What `make_bag` writes.

    Attributes:
        storage: "mcap" or "sqlite3".
        compressed: write JPEG on `image/compressed` in place of `image`.
        evidence: which of "lane_mask" and "labels" to make from the truth.
        labels_kind: the kind of partial truth on `evidence/labels`, see `partial_truth`; one class
            per pixel, so neither "complete" nor "sets:F".
        labels_class: the class that `labels_kind` asks for.
        seed: of the evidence.
        rate_hz: stamps at this rate; None = the samples' own.
        overwrite: replace a bag that is there.
    """

    storage: str = "mcap"
    compressed: bool = False
    evidence: tuple[str, ...] = ("lane_mask",)
    labels_kind: str = "points:0.01"
    labels_class: str | None = None
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
        unknown = [name for name in self.evidence if name not in EVIDENCE_CHOICES]
        if unknown:
            raise ConfigError(
                f"unknown evidence {', '.join(unknown)}: use {', '.join(EVIDENCE_CHOICES)} or none"
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

    `image` (or `image/compressed`), `camera_info`, `truth/labels` and the evidence asked for;
    `evidence/depth`, `evidence/lane_left` and `evidence/lane_right` where the samples have them.

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
            for i, (sample, stamp_ns) in enumerate(_stamped(dataset, options.rate_hz)):
                rng = np.random.default_rng((options.seed, i))
                for topic, message in _messages(sample, stamp_ns, dataset, options, rng):
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
            self._connections[topic] = self.bag.add_connection(topic, msgtype, typestore=TYPESTORE)
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
            f"{out} exists and is no bag, so it is not overwritten; choose another --out"
        )
    shutil.rmtree(out)


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
    sample: Sample, stamp_ns: int, dataset: Dataset, options: BagOptions, rng: np.random.Generator
) -> Iterator[tuple[str, Any]]:
    """Topic and message of everything known about one frame, the image last."""
    in_camera, in_vehicle = _header(stamp_ns, CAMERA_FRAME), _header(stamp_ns, VEHICLE_FRAME)
    yield CAMERA_INFO_TOPIC, _camera_info(in_camera, sample)
    yield TRUTH_TOPIC, _image(in_camera, sample.labels, "mono8")
    if "lane_mask" in options.evidence:
        lane = _lane_mask(sample, dataset, rng)
        yield EVIDENCE_TOPIC + "lane_mask", _image(in_camera, lane, "mono8")
    if "labels" in options.evidence:
        labels = _known_labels(sample.labels, dataset, options, rng)
        yield EVIDENCE_TOPIC + "labels", _image(in_camera, labels, "mono8")
    if sample.depth is not None:
        yield EVIDENCE_TOPIC + "depth", _image(in_camera, sample.depth, "32FC1")
    for side in ("lane_left", "lane_right"):
        border = getattr(sample, side)
        if border is not None:
            yield EVIDENCE_TOPIC + side, _path(in_vehicle, border)
    if options.compressed:
        yield COMPRESSED_TOPIC, _jpeg(in_camera, sample.image)
    else:
        yield IMAGE_TOPIC, _image(in_camera, sample.image, "rgb8")


def _lane_mask(sample: Sample, dataset: Dataset, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The road pixels of the ego lane, uint8 [H,W]: between its known borders, else a wedge."""
    if sample.camera is None or sample.lane_left is None or sample.lane_right is None:
        return (_partial_truth(sample.labels, "ego_lane", None, dataset, rng).index > 0) * np.uint8(
            ON_LANE
        )
    outline = np.concatenate([sample.lane_left, sample.lane_right[::-1]])
    pixels, depth = sample.camera.project(outline)
    mask = np.zeros(sample.labels.shape, np.uint8)
    cv2.fillPoly(mask, [np.rint(pixels[depth > 0]).astype(np.int32)], ON_LANE)
    (road,) = class_ids(dataset.classes, ("road",))
    mask[sample.labels != road] = 0
    return mask


def _known_labels(
    labels: NDArray[np.uint8], dataset: Dataset, options: BagOptions, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Partial truth as class ids, uint8 [H,W], 255 = unknown."""
    evidence = _partial_truth(labels, options.labels_kind, options.labels_class, dataset, rng)
    sizes = evidence.sets.sum(axis=1)
    if (sizes[evidence.index[evidence.index > 0]] > 1).any():
        raise ConfigError(
            f"evidence of kind {options.labels_kind!r} leaves several classes possible, which an "
            "image of labels cannot say: use positive, partial:F, ego_lane or points:F"
        )
    only = np.where(sizes == 1, evidence.sets.argmax(axis=1), VOID).astype(np.uint8)
    return np.asarray(only[evidence.index], np.uint8)


def _partial_truth(
    labels: NDArray[np.uint8],
    kind: str,
    class_name: str | None,
    dataset: Dataset,
    rng: np.random.Generator,
) -> Evidence:
    class_id = None if class_name is None else class_ids(dataset.classes, (class_name,))[0]
    return partial_truth(
        labels, kind, class_id, classes=dataset.classes, groups=dataset.groups, rng=rng
    )


def _header(stamp_ns: int, frame_id: str) -> Any:
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    stamp = T["builtin_interfaces/msg/Time"](seconds, nanoseconds)
    return T["std_msgs/msg/Header"](stamp, frame_id)


def _image(header: Any, array: NDArray[np.generic], encoding: str) -> Any:
    height, width = array.shape[:2]
    data = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    step = data.nbytes // height
    return T[IMAGE_TYPE](header, height, width, encoding, 0, step, data.view(np.uint8).ravel())


def _jpeg(header: Any, image: NDArray[np.uint8]) -> Any:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return T[COMPRESSED_TYPE](header, "rgb8; jpeg compressed bgr8", data.ravel())


def _camera_info(header: Any, sample: Sample) -> Any:
    """Intrinsics; all zeros where they are unknown, as REP 104 has it."""
    height, width = sample.labels.shape
    k, r, p = np.zeros(9), np.zeros(9), np.zeros(12)
    camera: Camera | None = sample.camera
    if camera is not None:
        matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
        k, r = matrix.ravel(), np.eye(3).ravel()
        p = np.hstack([matrix, np.zeros((3, 1))]).ravel()
    whole_image = T["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    return T[CAMERA_INFO_TYPE](
        header, height, width, "plumb_bob", np.zeros(5), k, r, p, 0, 0, whole_image
    )


def _path(header: Any, points: NDArray[np.float32]) -> Any:
    point, pose = T["geometry_msgs/msg/Point"], T["geometry_msgs/msg/Pose"]
    upright = T["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0)
    stamped = T["geometry_msgs/msg/PoseStamped"]
    poses = [stamped(header, pose(point(*map(float, xyz)), upright)) for xyz in points]
    return T[PATH_TYPE](header, poses)
