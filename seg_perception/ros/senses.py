"""What the vehicle knows: sensor messages in, evidence near a frame out; no topics, no threads.

The node and the replay's scoring both use it, so that they know the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry, Path
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from seg_perception.classes import VOID, class_ids
from seg_perception.errors import ConfigError, EvidenceError
from seg_perception.evidence.buffer import EvidenceBuffer
from seg_perception.evidence.depth import evidence_from_depth, sample_points
from seg_perception.evidence.fuse import rescale
from seg_perception.evidence.geometry import GroundPlane, Pinhole, Pose
from seg_perception.evidence.ground import GroundTracker
from seg_perception.evidence.lanes import (
    evidence_from_lane_borders,
    evidence_from_lane_lines,
    evidence_from_lane_mask,
)
from seg_perception.evidence.points import evidence_from_points
from seg_perception.evidence.record import Evidence, evidence_from_labels
from seg_perception.evidence.terrain import obstacle_ids
from seg_perception.evidence.warp import OdometryBuffer, warp
from seg_perception.ros.frames import Frames
from seg_perception.ros.messages import stamp_ns, to_label_map
from seg_perception.ros.parameters import LaneSettings, Settings
from seg_perception.ros.spatial_messages import (
    is_distorted,
    to_depth,
    to_pinhole,
    to_planar_pose,
    to_points,
    to_polyline,
    to_transform,
)
from seg_perception.runtime.manifest import Manifest

CAMERA_INFO, ODOMETRY, TRANSFORMS = "camera_info", "odometry", "transforms"
LABELS, LANE_MASK = "evidence/labels", "evidence/lane_mask"
LANE_LEFT, LANE_RIGHT = "evidence/lane_left", "evidence/lane_right"
DEPTH, POINTS = "evidence/depth", "evidence/points"

MESSAGE_TYPES: Mapping[str, type] = {
    CAMERA_INFO: CameraInfo,
    ODOMETRY: Odometry,
    TRANSFORMS: TransformStamped,
    LABELS: Image,
    LANE_MASK: Image,
    LANE_LEFT: Path,
    LANE_RIGHT: Path,
    DEPTH: Image,
    POINTS: PointCloud2,
}
"""Every topic that tells what is known, and its type."""

SOURCE_OF = {
    LABELS: "labels",
    LANE_MASK: "lane_mask",
    LANE_LEFT: "lane_borders",
    LANE_RIGHT: "lane_borders",
    DEPTH: "depth",
    POINTS: "points",
}
"""The source of evidence that a topic belongs to."""

AT_ONCE = frozenset({CAMERA_INFO, ODOMETRY, TRANSFORMS})
"""Topics whose messages are small, and each of which counts."""

NEEDS_CAMERA = frozenset({LANE_LEFT, LANE_RIGHT, DEPTH, POINTS})
"""Topics whose messages say nothing before there was a camera_info."""

NO_CAMERA = (
    "no calibrated camera_info came, without which this cannot be projected into the image: remap "
    "camera_info to that of the image's camera, and calibrate the camera if K is all zeros"
)

PAIR_NS = 50_000_000
"""The two borders of a lane belong together if their stamps lie no further apart."""
PLANE_POINTS = 16_000
"""Points of a cloud among which the ground is looked for."""


class Senses:
    """Remembers camera, odometry and the evidence of every source.

    `take` must not be called by two threads at once, but for the topics `AT_ONCE`; `nearest` may be
    called from any thread meanwhile.

    Args:
        manifest: of the model.
        frames: where the sensors sit.
        settings: of the node.
    """

    def __init__(self, manifest: Manifest, frames: Frames, settings: Settings) -> None:
        self._manifest, self._frames = manifest, frames
        self._camera: Pinhole | None = None
        self._camera_frame, self._distorted = "", False
        self._buffer = EvidenceBuffer()
        self._odometry = OdometryBuffer()
        self._borders: dict[str, Path] = {}
        self._trackers: dict[str, GroundTracker] = {}
        self._taken_ns: dict[str, int] = {}
        ground = manifest.class_groups.get("ground", ())
        self._ground_ids = class_ids(manifest.classes, ground)
        self.apply(settings)

    @property
    def has_camera(self) -> bool:
        """Whether the camera's intrinsics are known."""
        return self._camera is not None

    @property
    def camera_text(self) -> str:
        """What is known of the camera, in words."""
        camera = self._camera
        if camera is None:
            return "no calibrated camera_info yet"
        said = f"{camera.width}x{camera.height}, fx {camera.fx:.1f}, fy {camera.fy:.1f}"
        return f"{said}, distorted: images must come rectified" if self._distorted else said

    def apply(self, settings: Settings) -> None:
        """Take over what may change at run time."""
        self._settings = settings
        self._sources = settings.evidence.by_source()
        if settings.mount != self._frames.mount:
            self._frames.mount = settings.mount
            self._trackers = {}

    def mute_sources(self) -> dict[str, str]:
        """Why a source can say nothing to this model, by the name of the source."""
        reasons = {}
        for source, settings in self._sources.items():
            if isinstance(settings, LaneSettings):
                try:
                    self._lane_ids(source)
                except ConfigError as error:
                    reasons[source] = str(error)
        return reasons

    def is_wanted(self, topic: str, stamp: int) -> bool:
        """Whether a message with this stamp (nanoseconds) is to be looked at."""
        source = SOURCE_OF.get(topic)
        if source is None:
            return True
        settings, last = self._sources[source], self._taken_ns.get(topic)
        if last is not None and settings.max_rate and 0 <= stamp - last < 1e9 / settings.max_rate:
            return False
        return settings.enabled

    def take(self, topic: str, message: Any) -> None:
        """Take in a message, if it is wanted.

        Args:
            topic: one of `MESSAGE_TYPES`.
            message: of that type.

        Raises:
            SegPerceptionError: it cannot be read or used; what was known stays as it was.
        """
        stamp = stamp_ns(message.header)
        if not self.is_wanted(topic, stamp):
            return
        self._taken_ns[topic] = stamp
        evidence = _HANDLERS[topic](self, message)
        if evidence is not None:
            # Of the camera's size, moving it to another moment would cost ten times as much.
            fitting = rescale(evidence, self._manifest.height, self._manifest.width)
            self._buffer.add(fitting)

    def add(self, evidence: Evidence) -> None:
        """Remember evidence that is there already."""
        self._buffer.add(evidence)

    def nearest(self, stamp: int) -> tuple[Evidence, ...]:
        """What each enabled source knew nearest to a moment (nanoseconds).

        Evidence of another moment is moved to where the camera is at this one, as far as odometry
        tells.
        """
        return tuple(
            self._moved(evidence, stamp)
            for evidence in self._buffer.nearest(stamp)
            if evidence.source not in self._sources or self._sources[evidence.source].enabled
        )

    def usable(self, stamp: int) -> tuple[Evidence, ...]:
        """What of that is near enough and trusted, with the weight that trust gives it."""
        return tuple(
            replace(evidence, weight=evidence.weight * np.float32(settings.trust))
            for evidence in self.nearest(stamp)
            if (settings := self._sources[evidence.source]).trust
            and abs(evidence.stamp_ns - stamp) <= 1e9 * settings.max_age
        )

    def clear(self) -> None:
        """Forget what was known, as after a jump of the clock."""
        self._buffer.clear()
        self._odometry.clear()
        self._borders = {}
        self._taken_ns = {}
        for tracker in list(self._trackers.values()):
            tracker.reset()

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._camera = to_pinhole(message) if any(message.p) or any(message.k) else None
        self._camera_frame, self._distorted = message.header.frame_id, is_distorted(message)

    def _on_odometry(self, message: Odometry) -> None:
        self._odometry.add(to_planar_pose(message))

    def _on_transform(self, message: TransformStamped) -> None:
        transform = to_transform(message)
        parent, child = message.header.frame_id, message.child_frame_id
        self._frames.told.add(parent, child, transform, fixed=not transform.stamp_ns)

    def _on_labels(self, message: Image) -> Evidence:
        labels, n_classes = to_label_map(message), self._manifest.n_classes
        return evidence_from_labels(labels, n_classes, **_about("labels", message))

    def _on_lane_mask(self, message: Image) -> Evidence:
        mask, settings = to_label_map(message), self._settings.evidence.lane_mask
        road = self._lane_ids("lane_mask"), self._manifest.n_classes
        if settings.kind == "lines":
            return evidence_from_lane_lines(mask, *road, **_about("lane_mask", message))
        evidence = evidence_from_lane_mask(mask, *road, **_about("lane_mask", message))
        if not evidence.index.any() and (mask == VOID).any():
            raise EvidenceError(
                f"every pixel is 0 or {VOID}, which both mean unknown: publish 1 on lanes"
            )
        return evidence

    def _on_border(self, topic: str, message: Path) -> Evidence | None:
        """Evidence once both borders of one moment are there."""
        borders = self._borders = {**self._borders, topic: message}
        stamps = [stamp_ns(border.header) for border in borders.values()]
        if len(borders) < 2 or max(stamps) - min(stamps) > PAIR_NS:
            return None
        left, right = borders[LANE_LEFT], borders[LANE_RIGHT]
        pose = self._into_camera(message)
        return evidence_from_lane_borders(
            to_polyline(left),
            to_polyline(right),
            self._fitting_camera(),
            pose,
            self._lane_ids("lane_borders"),
            self._manifest.n_classes,
            obstacle_ids=obstacle_ids(self._manifest.classes, self._manifest.class_groups),
            **_about("lane_borders", message),
        )

    def _on_depth(self, message: Image) -> Evidence:
        depth, camera = to_depth(message), self._fitting_camera()
        plane = self._ground("depth", sample_points(depth, camera))
        return evidence_from_depth(
            depth,
            camera,
            plane,
            self._manifest.classes,
            self._manifest.class_groups,
            **_about("depth", message),
        )

    def _on_points(self, message: PointCloud2) -> Evidence:
        points, camera = to_points(message), self._fitting_camera()
        pose = self._into_camera(message, is_cloud=True)
        some = points[:: max(1, len(points) // PLANE_POINTS)]
        return evidence_from_points(
            points,
            camera,
            pose,
            self._ground("points", pose.apply(some)),
            self._manifest.classes,
            self._manifest.class_groups,
            **_about("points", message),
        )

    def _into_camera(self, message: Path | PointCloud2, *, is_cloud: bool = False) -> Pose:
        """From the frame of a message into the camera's, at the message's moment."""
        frame, stamp = message.header.frame_id, stamp_ns(message.header)
        return self._frames.into_camera(frame, self._camera_frame, stamp, is_cloud=is_cloud)

    def _lane_ids(self, source: str) -> tuple[int, ...]:
        settings = self._sources[source]
        assert isinstance(settings, LaneSettings)
        try:
            return class_ids(self._manifest.classes, settings.classes)
        except ConfigError as error:
            raise ConfigError(f"evidence.{source}.classes: {error}") from error

    def _fitting_camera(self) -> Pinhole:
        """The camera, as if its images had the size of the model."""
        if self._camera is None:
            raise EvidenceError(NO_CAMERA)
        return self._camera.scaled(self._manifest.width, self._manifest.height)

    def _ground(self, source: str, points: Any) -> GroundPlane:
        """The ground as this source sees it, from points float32 [N,3] of the optical frame."""
        if source not in self._trackers:
            _, _, height_m, _, pitch_rad, _ = self._settings.mount.camera
            self._trackers[source] = GroundTracker(height_m, pitch_rad)
        plane = self._trackers[source].update(points)
        if plane is None:
            raise EvidenceError(
                f"no ground is seen among {len(points)} points: set mount.camera to the camera's "
                f"height and pitch (now {self._settings.mount.camera[2]:g} m, "
                f"{self._settings.mount.camera[4]:g} rad), and check the frame of {source}"
            )
        return plane

    def _moved(self, evidence: Evidence, stamp: int) -> Evidence:
        then, now = self._odometry.at(evidence.stamp_ns), self._odometry.at(stamp)
        if evidence.stamp_ns == stamp or self._camera is None or then is None or now is None:
            return evidence
        mounted = self._frames.vehicle_to_camera()
        _, _, height_m, _, pitch_rad, _ = self._settings.mount.camera
        return warp(
            evidence,
            then.world_to_camera(mounted),
            now.world_to_camera(mounted),
            self._camera,
            GroundPlane.of_mounted_camera(height_m, pitch_rad),
            self._ground_ids,
        )


def make_senses(manifest: Manifest, frames: Frames, settings: Settings) -> Senses | None:
    """Senses for a model; None if it takes no evidence. Arguments as there."""
    return Senses(manifest, frames, settings) if manifest.takes_evidence else None


_HANDLERS: Mapping[str, Callable[[Senses, Any], Evidence | None]] = {
    CAMERA_INFO: Senses._on_camera_info,
    ODOMETRY: Senses._on_odometry,
    TRANSFORMS: Senses._on_transform,
    LABELS: Senses._on_labels,
    LANE_MASK: Senses._on_lane_mask,
    LANE_LEFT: lambda senses, message: senses._on_border(LANE_LEFT, message),
    LANE_RIGHT: lambda senses, message: senses._on_border(LANE_RIGHT, message),
    DEPTH: Senses._on_depth,
    POINTS: Senses._on_points,
}


def _about(source: str, message: Any) -> dict[str, Any]:
    return {"stamp_ns": stamp_ns(message.header), "source": source}
