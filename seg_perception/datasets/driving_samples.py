"""Real recordings with sensors beside the camera: KITTI with lidar, KITTI road, TuSimple lanes.

`TREE` is how they lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import DatasetError
from seg_perception.evidence.geometry import Pinhole, Pose

TREE = """\
    kitti/image_2/*.jpg       kitti/velodyne/*.bin              kitti/calib/*.txt
    kitti_road/image_2/*.jpg  kitti_road/gt_image_2/*_lane_*.png  kitti_road/calib/*.txt
    tusimple/image/*.jpg      tusimple/lane_instance/*.png"""


@dataclass(frozen=True, eq=False)
class LidarFrame:
    """One frame of KITTI's object benchmark (Geiger et al., 2012).

    Attributes:
        image: uint8 [H, W, 3] RGB, rectified.
        camera: intrinsics.
        pose: from the lidar's frame into the camera's optical frame.
        points: float32 [N, 3] metres in the lidar's frame.
    """

    image: NDArray[np.uint8]
    camera: Pinhole
    pose: Pose
    points: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class RoadFrame:
    """One frame of KITTI's road benchmark (Fritsch et al., 2013).

    Attributes:
        image: uint8 [H, W, 3] RGB, rectified.
        camera: intrinsics.
        road_to_camera: from the road's frame (x right, y down, z forward, on the road) into the
            camera's optical frame.
        ego_lane: bool [H, W], the pixels of the lane one drives in.
        valid: bool [H, W], the pixels of which that is known.
    """

    image: NDArray[np.uint8]
    camera: Pinhole
    road_to_camera: Pose
    ego_lane: NDArray[np.bool_]
    valid: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class LaneFrame:
    """One frame of TuSimple's lane benchmark.

    Attributes:
        image: uint8 [H, W, 3] RGB.
        lines: uint8 [H, W]; 0 = background, else the line's id.
    """

    image: NDArray[np.uint8]
    lines: NDArray[np.uint8]


def lidar_frames(root: Path) -> list[LidarFrame]:
    """Every frame below `root`/kitti, by name.

    Raises:
        DatasetError: there is none, or a file of one is missing or unreadable.
    """
    frames = []
    for path in _images(root / "kitti" / "image_2"):
        image = _read(path)
        camera, pose, _ = _calibration(root / "kitti" / "calib" / f"{path.stem}.txt", image)
        points = _read_points(root / "kitti" / "velodyne" / f"{path.stem}.bin")
        frames.append(LidarFrame(image, camera, pose, points))
    return frames


def road_frames(root: Path) -> list[RoadFrame]:
    """Every frame below `root`/kitti_road, by name.

    Raises:
        DatasetError: there is none, or a file of one is missing or unreadable.
    """
    folder, frames = root / "kitti_road", []
    for path in _images(folder / "image_2"):
        image = _read(path)
        camera, _, to_camera = _calibration(folder / "calib" / f"{path.stem}.txt", image)
        truth = _read(folder / "gt_image_2" / f"{path.stem.replace('_', '_lane_', 1)}.png")
        red, _, blue = np.moveaxis(truth > 0, -1, 0)
        frames.append(RoadFrame(image, camera, to_camera, red & blue, red))
    return frames


def lane_frames(root: Path) -> list[LaneFrame]:
    """Every frame below `root`/tusimple, by name.

    Raises:
        DatasetError: there is none, or a file of one is missing or unreadable.
    """
    lines = root / "tusimple" / "lane_instance"
    return [
        LaneFrame(_read(path), np.ascontiguousarray(_read(lines / f"{path.stem}.png")[..., 0]))
        for path in _images(root / "tusimple" / "image")
    ]


def read_calibration(path: Path) -> dict[str, NDArray[np.float64]]:
    """KITTI's calibration: 3x4 and 3x3 matrices by name.

    Raises:
        DatasetError: the file is missing, or is no calibration.
    """
    try:
        lines = [line.split(":") for line in path.read_text().splitlines() if ":" in line]
        return {name: np.array(values.split(), np.float64).reshape(3, -1) for name, values in lines}
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} is no KITTI calibration: {error}") from error


def _calibration(path: Path, image: NDArray[np.uint8]) -> tuple[Pinhole, Pose, Pose]:
    """Intrinsics, lidar to camera 2, and road to camera 2 (lidar's again where it is unknown).

    P2 = K [I | t]: t is where camera 0, to which everything is calibrated, lies in camera 2.
    """
    matrices = read_calibration(path)
    try:
        projection, rectify = matrices["P2"], matrices["R0_rect"]
        lidar, road = matrices["Tr_velo_to_cam"], matrices.get("Tr_cam_to_road")
    except KeyError as error:
        raise DatasetError(f"{path} lacks {error}: take the file of the camera's frame") from error
    k = projection[:, :3]
    baseline = Pose(np.eye(3), np.asarray(np.linalg.solve(k, projection[:, 3]), np.float64))
    height, width = image.shape[:2]
    camera = Pinhole(width, height, k[0, 0], k[1, 1], k[0, 2], k[1, 2])
    to_camera = baseline.after(Pose(rectify @ lidar[:, :3], rectify @ lidar[:, 3]))
    if road is None:
        return camera, to_camera, to_camera
    return camera, to_camera, baseline.after(Pose(road[:, :3], road[:, 3]).inverse())


def _read_points(path: Path) -> NDArray[np.float32]:
    """float32 [N, 3]: x, y, z of KITTI's x, y, z, reflectance.

    Raises:
        DatasetError: the file is missing or cut off.
    """
    try:
        points = np.fromfile(path, np.float32).reshape(-1, 4)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} is no KITTI scan: {error}") from error
    return np.ascontiguousarray(points[:, :3])


def _images(folder: Path) -> list[Path]:
    found = sorted([*folder.glob("*.jpg"), *folder.glob("*.png")])
    if not found:
        raise DatasetError(f"no images in {folder}; expected:\n{TREE}")
    return found


def _read(path: Path) -> NDArray[np.uint8]:
    image = cv2.imread(str(path))
    if image is None:
        raise DatasetError(f"{path} is missing or no image")
    return np.ascontiguousarray(image[..., ::-1])
