"""Reading a recorded drive (rosbag2, mcap or sqlite3), as frames with what belongs to each of them.

Messages stay serialised here: the player hands them to DDS as they are, and only `ros.messages`
knows how their content is laid out.
"""

from __future__ import annotations

import heapq
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

from seg_perception.classes import ClassInfo, classes_from_json
from seg_perception.errors import BagError, ConfigError

IMAGE_TYPE = "sensor_msgs/msg/Image"
COMPRESSED_TYPE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO_TYPE = "sensor_msgs/msg/CameraInfo"
PATH_TYPE = "nav_msgs/msg/Path"
ODOMETRY_TYPE = "nav_msgs/msg/Odometry"
TRANSFORM_TYPE = "geometry_msgs/msg/TransformStamped"
STRING_TYPE = "std_msgs/msg/String"
TF_TYPE = "tf2_msgs/msg/TFMessage"
POINTS_TYPE = "sensor_msgs/msg/PointCloud2"
IMAGE_TYPES = (IMAGE_TYPE, COMPRESSED_TYPE)

TRANSFORMS = "transforms"
"""Role of the topics of TF."""

# The topics of make-bag, which are the node's own in the root namespace.
IMAGE_TOPIC = "/image"
COMPRESSED_TOPIC = "/image/compressed"
CAMERA_INFO_TOPIC = "/camera_info"
ODOMETRY_TOPIC = "/odometry"
TF_TOPIC = "/tf"
TF_STATIC_TOPIC = "/tf_static"
TRUTH_TOPIC = "/truth/labels"
TRUTH_INFO_TOPIC = "/truth/label_info"
EVIDENCE_TOPIC = "/evidence/"
TOPICS_OF = {
    "lane_mask": ("lane_mask",),
    "lane_borders": ("lane_left", "lane_right"),
    "depth": ("depth",),
    "points": ("points",),
    "labels": ("labels",),
}
"""Behind /evidence/: the topics of each source."""
SOURCES = tuple(TOPICS_OF)
EVIDENCE_NAMES = tuple(topic for topics in TOPICS_OF.values() for topic in topics)
_TYPE_OF = {
    "camera_info": CAMERA_INFO_TYPE,
    "odometry": ODOMETRY_TYPE,
    TRANSFORMS: TF_TYPE,
    "truth": IMAGE_TYPE,
    "lane_mask": IMAGE_TYPE,
    "lane_left": PATH_TYPE,
    "lane_right": PATH_TYPE,
    "depth": IMAGE_TYPE,
    "points": POINTS_TYPE,
    "labels": IMAGE_TYPE,
}
"""The type of the messages that can play a role, the image's apart."""
NAMEABLE = ("camera_info", "odometry", "truth", *EVIDENCE_NAMES)
"""Roles that any topic can be given."""

COLOR_ENCODINGS = ("rgb", "bgr", "mono8", "mono16", "8UC3", "bayer", "yuv", "uyvy", "yuyv", "nv")
REORDER_WINDOW_NS = 500_000_000  # how much later than its frame a message may have been recorded
_USUAL_ENDS = (
    ("truth", TRUTH_TOPIC),
    ("odometry", ODOMETRY_TOPIC),
    (TRANSFORMS, TF_TOPIC),
    (TRANSFORMS, TF_STATIC_TOPIC),
)
"""How the names of other topics end, by their role."""
HOW_TO_MAKE = "`seg-perception make-bag --help` shows how to make one"

TYPESTORE = get_typestore(Stores.LATEST)


@dataclass(frozen=True)
class BagMessage:
    """One recorded message, still serialised (CDR).

    Attributes:
        role: "image", "camera_info", "odometry", "transforms", "truth", or the name of an evidence
            input ("lane_mask").
        topic: where it was recorded.
        msgtype: such as "sensor_msgs/msg/Image".
        stamp_ns: its header's stamp, or the time of recording where that is unset.
        data: the message.
    """

    role: str
    topic: str
    msgtype: str
    stamp_ns: int
    data: bytes


@dataclass(frozen=True)
class BagFrame:
    """An image, its truth where the bag has it, and what was published since the previous image.

    Attributes:
        before: camera info, odometry, transforms and evidence in the order of their stamps,
            evidence of the image's own stamp included.
    """

    image: BagMessage
    truth: BagMessage | None
    before: tuple[BagMessage, ...]

    @property
    def stamp_ns(self) -> int:
        """The image's stamp in nanoseconds."""
        return self.image.stamp_ns


@dataclass(frozen=True)
class BagTopics:
    """Which topic of a bag plays which role.

    Attributes:
        roles: role by topic, see `BagMessage.role`.
        types: message type by topic; what TF bundles is told transform by transform.
    """

    roles: Mapping[str, str]
    types: Mapping[str, str]

    @property
    def image(self) -> str:
        """The topic of the images."""
        return next(topic for topic, role in self.roles.items() if role == "image")

    @property
    def has_truth(self) -> bool:
        """Whether true labels were recorded."""
        return "truth" in self.roles.values()

    @property
    def evidence(self) -> tuple[str, ...]:
        """Names of the evidence inputs that were recorded."""
        return tuple(role for role in self.roles.values() if role in EVIDENCE_NAMES)


@dataclass
class Bag:
    """A recorded drive, opened by `with`; topics are found by name, the image else by its type.

    Args:
        path: the folder that holds metadata.yaml, or a single .mcap or .db3 file.
        image_topic: which images to take; None = `/image`, or the only colour images there are.
        named: topic by role, for those that were not recorded under their usual names.

    Attributes:
        topics: what was recorded.
        truth_classes: those of the truth, where `/truth/label_info` names them.
        n_frames: how many images there are.

    Raises:
        BagError: on entering or reading: it is not a bag, cannot be read, holds no images, or none
            of the topics named.
    """

    path: Path
    image_topic: str | None = None
    named: Mapping[str, str] = field(default_factory=dict)
    topics: BagTopics = field(init=False)
    truth_classes: tuple[ClassInfo, ...] | None = field(init=False)
    n_frames: int = field(init=False)
    _reader: Reader = field(init=False, repr=False)

    def __enter__(self) -> Bag:
        self._reader = _open(Path(self.path))
        try:
            image = _find_image(self._reader, self.image_topic, self.path)
            roles = _roles(self._reader, image, self.named, self.path)
            types = {
                c.topic: TRANSFORM_TYPE if roles[c.topic] == TRANSFORMS else c.msgtype
                for c in self._reader.connections
                if c.topic in roles
            }
            self.topics = BagTopics(roles, types)
            self.truth_classes = _truth_classes(self._reader, self.path)
            self.n_frames = self._reader.topics[image].msgcount
        except BaseException:
            self._reader.close()
            raise
        return self

    def __exit__(self, *reason: object) -> None:
        self._reader.close()

    def frames(self) -> Iterator[BagFrame]:
        """The images in the order of their stamps.

        Raises:
            BagError: the file breaks off or is damaged.
        """
        truth: BagMessage | None = None
        before: list[BagMessage] = []
        for message in _by_stamp(self._messages()):
            if message.role == "truth":
                truth = message
            elif message.role == "image":
                same_stamp = truth is not None and truth.stamp_ns == message.stamp_ns
                yield BagFrame(message, truth if same_stamp else None, tuple(before))
                before = []
            else:
                before.append(message)

    def _messages(self) -> Iterator[tuple[int, BagMessage]]:
        """Time of recording in nanoseconds, and message."""
        roles = self.topics.roles
        wanted = [c for c in self._reader.connections if c.topic in roles]
        for connection, time_ns, recorded in _guarded(self._reader, wanted, self.path):
            topic = connection.topic
            for data in _unbundled(recorded, connection, self.path):
                stamp_ns = _header_stamp_ns(data, self.path) or time_ns
                yield (
                    time_ns,
                    BagMessage(roles[topic], topic, self.topics.types[topic], stamp_ns, data),
                )


def node_topic(role: str) -> str:
    """The node's topic that takes the messages of a role, see `BagMessage.role`."""
    return f"evidence/{role}" if role in EVIDENCE_NAMES else role


def _open(path: Path) -> Reader:
    if not path.exists():
        raise BagError(f"no bag at {path}; check the path, {HOW_TO_MAKE}")
    if path.suffix == ".bag":
        raise BagError(f"{path} is a ROS 1 bag; convert it first: rosbags-convert --src {path}")
    if path.is_dir() and not (path / "metadata.yaml").exists():
        found = ", ".join(sorted(p.name for p in path.iterdir())[:5])
        if not found:
            raise BagError(f"{path} is empty; check the path, {HOW_TO_MAKE}")
        raise BagError(
            f"{path} is no rosbag2 folder: it holds no metadata.yaml but {found}; a recording that "
            f"was cut off is repaired by `ros2 bag reindex {path}`; {HOW_TO_MAKE}"
        )
    try:
        reader = Reader(path)
        reader.open()
    except Exception as error:  # the storage back ends raise whatever a broken file makes them
        raise _unreadable(path, error) from error
    return reader


def _guarded(
    reader: Reader, connections: list[Connection], path: Path
) -> Iterator[tuple[Connection, int, bytes]]:
    """Messages of the given connections, with any failure of the storage told as a BagError."""
    messages = reader.messages(connections)
    while True:
        try:
            message = next(messages, None)
        except Exception as error:  # see _open
            raise _unreadable(path, error) from error
        if message is None:
            return
        yield message


def _unreadable(path: Path, error: Exception) -> BagError:
    return BagError(
        f"{path} cannot be read as rosbag2 ({type(error).__name__}: {error}); it is damaged or was "
        f"cut off: copy it again, or repair it by `ros2 bag reindex {path}` or `mcap recover`"
    )


def _deserialized(data: bytes, msgtype: str, path: Path) -> Any:
    """A message's content.

    Raises:
        BagError: it is damaged.
    """
    try:
        return TYPESTORE.deserialize_cdr(data, msgtype)
    except Exception as error:  # rosbags raises whatever broken bytes make it
        raise _unreadable(path, error) from error


def _find_image(reader: Reader, wanted: str | None, path: Path) -> str:
    """The topic of the images.

    Raises:
        BagError: there is none, or several and none of the usual name.
    """
    counts = {topic: info.msgcount for topic, info in reader.topics.items()}
    candidates = [topic for topic in counts if counts[topic] and _is_color(reader, topic, path)]
    if wanted is not None and wanted in candidates:
        return wanted
    found = ", ".join(f"{t} ({i.msgtype}, {i.msgcount})" for t, i in reader.topics.items())
    found = found or "nothing"
    if wanted is not None:
        raise BagError(f"{path} has no images on {wanted}; it holds {found}")
    for usual in (IMAGE_TOPIC, COMPRESSED_TOPIC):
        if usual in candidates:
            return usual
    candidates = [t for t in candidates if t not in [f"{raw}/compressed" for raw in candidates]]
    if not candidates:
        raise BagError(f"{path} has no colour images: it holds {found}; record the camera's topic")
    if len(candidates) > 1:
        raise BagError(
            f"{path} has images on {', '.join(candidates)}; choose one with --image-topic"
        )
    return candidates[0]


def _is_color(reader: Reader, topic: str, path: Path) -> bool:
    """Whether a topic holds images of a camera, rather than depth, labels or no images at all."""
    info = reader.topics[topic]
    if info.msgtype not in IMAGE_TYPES or _role_of(topic) is not None:
        return False
    if info.msgtype == COMPRESSED_TYPE:
        return "depth" not in topic.lower()
    _, _, data = next(_guarded(reader, info.connections, path))
    return str(_deserialized(data, IMAGE_TYPE, path).encoding).startswith(COLOR_ENCODINGS)


def _roles(reader: Reader, image: str, named: Mapping[str, str], path: Path) -> dict[str, str]:
    """Role by topic; what belongs to a second camera plays none.

    Raises:
        BagError: a topic that was named is not there, holds other messages than its role needs,
            or there is no such role.
    """
    types = {topic: info.msgtype for topic, info in reader.topics.items()}
    for role, topic in named.items():
        if role not in NAMEABLE or topic not in types:
            raise BagError(
                f"{path} has no {role} on {topic}: name one of {', '.join(NAMEABLE)}, on one of "
                f"{', '.join(types)}"
            )
        if topic == image or types[topic] != _TYPE_OF[role]:
            held = "the camera's images" if topic == image else types[topic]
            raise BagError(f"{path} holds {held} on {topic}: {role} is {_TYPE_OF[role]}")
    roles = {image: "image", **{topic: role for role, topic in named.items()}}
    camera_info = image.removesuffix("/compressed").rpartition("/")[0] + CAMERA_INFO_TOPIC
    for topic in [topic for topic in types if topic not in roles]:
        usual = "camera_info" if topic == camera_info else _role_of(topic)
        is_taken = usual != TRANSFORMS and usual in roles.values()  # TF has two topics
        if usual is not None and not is_taken and types[topic] == _TYPE_OF[usual]:
            roles[topic] = usual
    return roles


def _truth_classes(reader: Reader, path: Path) -> tuple[ClassInfo, ...] | None:
    """The classes of the truth, if their names were recorded.

    Raises:
        BagError: what was recorded names none.
    """
    told = [
        c
        for c in reader.connections
        if c.topic.endswith(TRUTH_INFO_TOPIC) and c.msgtype == STRING_TYPE
    ]
    for _, _, data in _guarded(reader, told, path) if told else ():
        try:
            return classes_from_json(_deserialized(data, STRING_TYPE, path).data)
        except ConfigError as error:
            raise BagError(f"{path}: {error}") from error
    return None


def _role_of(topic: str) -> str | None:
    """The role that a topic's name gives it, whatever namespace it was recorded in."""
    for role, usual in _USUAL_ENDS:
        if topic.endswith(usual):
            return role
    return next((name for name in EVIDENCE_NAMES if topic.endswith(EVIDENCE_TOPIC + name)), None)


def _unbundled(data: bytes, connection: Connection, path: Path) -> Iterator[bytes]:
    """A serialised message; of TF, its transforms, without a stamp where they always hold.

    Raises:
        BagError: the message is damaged.
    """
    if connection.msgtype != TF_TYPE:
        yield bytes(data)
        return
    for transform in _deserialized(data, TF_TYPE, path).transforms:
        if connection.topic.endswith(TF_STATIC_TOPIC):
            transform.header.stamp.sec = transform.header.stamp.nanosec = 0
        yield bytes(TYPESTORE.serialize_cdr(transform, TRANSFORM_TYPE))


def _header_stamp_ns(data: bytes, path: Path) -> int:
    """The stamp of a message that begins with a std_msgs/Header, in nanoseconds; 0 = unset.

    Raises:
        BagError: the message is damaged.
    """
    try:
        order = "<" if data[1] & 1 else ">"  # CDR encapsulation: the second byte's low bit
        seconds, nanoseconds = struct.unpack_from(f"{order}iI", data, 4)
    except (IndexError, struct.error) as error:
        raise _unreadable(path, error) from error
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def _by_stamp(messages: Iterator[tuple[int, BagMessage]]) -> Iterator[BagMessage]:
    """Sort by stamp, an image after all else of its stamp.

    A detector's answer carries the stamp of its image but is recorded a little later.
    """
    heap: list[tuple[int, bool, int, int, BagMessage]] = []
    for count, (time_ns, message) in enumerate(messages):
        is_image = message.role == "image"
        heapq.heappush(heap, (message.stamp_ns, is_image, count, time_ns, message))
        while heap[0][3] + REORDER_WINDOW_NS < time_ns:
            yield heapq.heappop(heap)[-1]
    while heap:
        yield heapq.heappop(heap)[-1]
