"""Where frames lie to each other, pieced together from transforms: the tree that TF tells.

Foote, "tf: The transform library", TePRA 2013: each frame has one parent, in which it may move,
and the way between two frames leads over the parent they share.
"""

from __future__ import annotations

import bisect
import threading
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import EvidenceError
from seg_perception.evidence.geometry import Pose

HISTORY_NS = 10_000_000_000
"""How long the places of a moving frame are remembered, as in tf2."""
REACH_NS = 500_000_000
"""How far from a moment the nearest place of a moving frame still holds for it."""
STAY = Pose(np.eye(3), np.zeros(3))

_UNIT_WITHIN = 1e-2


@dataclass(frozen=True, eq=False)
class Transform:
    """Where a frame lies in its parent at one moment.

    Attributes:
        stamp_ns: of that moment, nanoseconds.
        rotation: float64 [4], unit quaternion w, x, y, z.
        translation: float64 [3], metres.

    Raises:
        EvidenceError: the quaternion is not of unit length, or something is not finite.
    """

    stamp_ns: int
    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]

    def __post_init__(self) -> None:
        norm = float(np.linalg.norm(self.rotation))
        if not (abs(norm - 1) < _UNIT_WITHIN and np.isfinite(self.translation).all()):
            raise EvidenceError(
                f"a transform with the quaternion {self.rotation.tolist()} (w, x, y, z) and the "
                f"translation {self.translation.tolist()}: check its publisher"
            )

    @property
    def pose(self) -> Pose:
        """From the frame into its parent."""
        return Pose(rotation_of(self.rotation / np.linalg.norm(self.rotation)), self.translation)

    def towards(self, later: Transform, stamp_ns: int) -> Transform:
        """Where the frame is at a moment between two: turned evenly (slerp), moved straight.

        Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985.
        """
        part = (stamp_ns - self.stamp_ns) / max(1, later.stamp_ns - self.stamp_ns)
        cos = float(self.rotation @ later.rotation)
        goal = later.rotation if cos >= 0 else -later.rotation  # the shorter way round
        angle = np.arccos(min(1.0, abs(cos)))
        # Sines of almost nothing divide badly; there both ways are the same.
        weights = (1 - part, part) if angle < 1e-4 else np.sin([(1 - part) * angle, part * angle])
        turned = weights[0] * self.rotation + weights[1] * goal
        moved = (1 - part) * self.translation + part * later.translation
        return Transform(stamp_ns, turned / np.linalg.norm(turned), moved)


class TransformTree:
    """Remembers transforms and finds the way between frames; for any thread.

    Frames are known by their names, a leading slash aside.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parents: dict[str, str] = {}
        self._fixed: dict[str, Transform] = {}
        self._moving: dict[str, list[Transform]] = {}

    def add(self, parent: str, child: str, transform: Transform, *, fixed: bool) -> None:
        """Take in where `child` lies in `parent`.

        Args:
            parent: name of a frame.
            child: of another; a new parent makes all forgotten that was known of it.
            transform: of the child's frame into the parent's.
            fixed: it holds at any time, in place of what was known; else at its stamp.

        Raises:
            EvidenceError: a frame without a name, or one that is its own parent.
        """
        parent, child = parent.lstrip("/"), child.lstrip("/")
        if not (parent and child and parent != child):
            raise EvidenceError(f"a transform of frame {child!r} in {parent!r}: name two frames")
        with self._lock:
            if self._parents.get(child) != parent:
                self._moving.pop(child, None)
                self._parents[child] = parent
            if fixed:
                self._fixed[child] = transform
            else:
                self._fixed.pop(child, None)
                _remember(self._moving.setdefault(child, []), transform)

    def look_up(self, source: str, target: str, stamp_ns: int) -> Pose | None:
        """The motion from one frame into another at a moment (nanoseconds).

        Returns:
            None if no way between the two is known.

        Raises:
            EvidenceError: there is a way, but what is known of it is of another time.
        """
        with self._lock:
            up, down = self._ancestry(source.lstrip("/")), self._ancestry(target.lstrip("/"))
            shared = next((frame for frame in up if frame in down), None)
            if shared is None:
                return None
            to_shared = self._climb(up[: up.index(shared)], stamp_ns)
            from_shared = self._climb(down[: down.index(shared)], stamp_ns).inverse()
        return from_shared.after(to_shared)

    def _ancestry(self, frame: str) -> list[str]:
        """The frame, its parent, and so on; a cycle ends it."""
        line = [frame]
        while (parent := self._parents.get(line[-1])) is not None and parent not in line:
            line.append(parent)
        return line

    def _climb(self, frames: list[str], stamp_ns: int) -> Pose:
        """From the first of these frames into the parent of the last."""
        pose = STAY
        for frame in frames:
            pose = self._at(frame, stamp_ns).pose.after(pose)
        return pose

    def _at(self, frame: str, stamp_ns: int) -> Transform:
        """Where a frame is in its parent at a moment."""
        if frame in self._fixed:
            return self._fixed[frame]
        known = self._moving[frame]
        i = bisect.bisect_left(known, stamp_ns, key=attrgetter("stamp_ns"))
        if 0 < i < len(known):
            return known[i - 1].towards(known[i], stamp_ns)
        nearest = known[min(i, len(known) - 1)]
        away_s = abs(nearest.stamp_ns - stamp_ns) / 1e9
        if away_s > REACH_NS / 1e9:
            raise EvidenceError(
                f"TF tells where {frame} is in {self._parents[frame]} only {away_s:.1f} s from the "
                "message's stamp: is its publisher alive, and do the clocks agree?"
            )
        return nearest


def rotation_of(quaternion: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotation float64 [3, 3] of a unit quaternion [4]: w, x, y, z."""
    w, v = quaternion[0], quaternion[1:]
    x, y, z = v
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn: NDArray[np.float64] = (w * w - v @ v) * np.eye(3) + 2 * np.outer(v, v) + 2 * w * cross
    return turn


def quaternion_of(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """The unit quaternion [4], w, x, y, z with w >= 0, of a rotation [3, 3].

    Bar-Itzhack, "New method for extracting the quaternion from a rotation matrix", JGCD 2000.
    """
    turning = np.array([rotation[2, 1], rotation[0, 2], rotation[1, 0]])
    turning -= np.array([rotation[1, 2], rotation[2, 0], rotation[0, 1]])
    trace = np.trace(rotation)
    matrix = np.empty((4, 4))
    matrix[0, 0], matrix[0, 1:], matrix[1:, 0] = trace, turning, turning
    matrix[1:, 1:] = rotation + rotation.T - trace * np.eye(3)
    largest: NDArray[np.float64] = np.linalg.eigh(matrix)[1][:, -1]
    return largest if largest[0] >= 0 else -largest


def _remember(known: list[Transform], transform: Transform) -> None:
    """Add to a history in the order of stamps; forget what is too old, or of a clock set back."""
    if known and transform.stamp_ns < known[-1].stamp_ns - HISTORY_NS:
        known.clear()
    bisect.insort(known, transform, key=attrgetter("stamp_ns"))
    while known[0].stamp_ns < known[-1].stamp_ns - HISTORY_NS:
        known.pop(0)
