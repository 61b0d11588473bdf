from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from seg_perception.classes import CAMVID_CLASSES, CAMVID_GROUPS
from seg_perception.datasets.driving_samples import (
    LidarFrame,
    RoadFrame,
    lane_frames,
    lidar_frames,
    read_calibration,
    road_frames,
)
from seg_perception.errors import DatasetError
from seg_perception.evidence.geometry import GroundPlane, project
from seg_perception.evidence.ground import GroundTracker
from seg_perception.evidence.lanes import (
    BETWEEN,
    LINE,
    evidence_from_lane_borders,
    evidence_from_lane_lines,
)
from seg_perception.evidence.points import evidence_from_points
from seg_perception.evidence.terrain import GROUND, OBSTACLE

KITTI_HEIGHT_M = 1.65


@pytest.fixture(scope="module")
def samples(shared_data: Path) -> Path:
    folder = shared_data / "driving_samples"
    if not folder.is_dir():
        pytest.skip("no driving samples")
    return folder


@pytest.fixture(scope="module")
def lidar(samples: Path) -> list[LidarFrame]:
    return lidar_frames(samples)


@pytest.fixture(scope="module")
def road(samples: Path) -> RoadFrame:
    return road_frames(samples)[0]


@pytest.mark.data
def test_lidar_points_land_where_the_calibration_puts_them(
    samples: Path, lidar: list[LidarFrame]
) -> None:
    for name, frame in zip(("000000", "000001"), lidar, strict=True):
        matrices = read_calibration(samples / "kitti" / "calib" / f"{name}.txt")
        homogeneous = np.column_stack([frame.points, np.ones(len(frame.points))])
        rectified = matrices["R0_rect"] @ matrices["Tr_velo_to_cam"] @ homogeneous.T
        u, v, w = matrices["P2"] @ np.vstack([rectified, np.ones(len(frame.points))])
        pixels, depth = project(frame.points, frame.pose, frame.camera)
        before = depth > 1
        error = np.hypot(pixels[before, 0] - (u / w)[before], pixels[before, 1] - (v / w)[before])
        assert error.max() < 1e-9
        np.testing.assert_allclose(depth[before], w[before], rtol=1e-12)


@pytest.mark.data
def test_a_scan_that_is_cut_off_or_missing_is_named(samples: Path, tmp_path: Path) -> None:
    for name in ("image_2/000000.jpg", "calib/000000.txt", "velodyne/000000.bin"):
        path = tmp_path / "kitti" / name
        path.parent.mkdir(parents=True)
        path.write_bytes((samples / "kitti" / name).read_bytes())
    assert len(lidar_frames(tmp_path)) == 1
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DatasetError, match=r"000000\.bin is no KITTI scan"):
        lidar_frames(tmp_path)
    path.unlink()
    with pytest.raises(DatasetError, match=r"000000\.bin is no KITTI scan"):
        lidar_frames(tmp_path)


@pytest.mark.data
def test_the_ground_is_found_at_the_height_of_kittis_camera(lidar: list[LidarFrame]) -> None:
    for frame in lidar:
        plane = GroundTracker(1.5, 0.0).update(frame.pose.apply(frame.points))
        assert plane is not None
        assert plane.offset_m == pytest.approx(KITTI_HEIGHT_M, abs=0.08)
        inliers = np.abs(plane.heights(frame.pose.apply(frame.points))) < 0.1
        assert inliers.mean() > 0.2


@pytest.mark.data
def test_lidar_tells_the_street_of_frame_1_from_what_stands_beside_it(
    lidar: list[LidarFrame],
) -> None:
    frame = lidar[1]  # a road straight ahead, sky above, trees on both sides
    plane = GroundTracker(KITTI_HEIGHT_M, 0.0).update(frame.pose.apply(frame.points))
    assert plane is not None
    index = evidence_from_points(
        frame.points, frame.camera, frame.pose, plane, CAMVID_CLASSES, CAMVID_GROUPS
    ).index
    lane = index[260:370, 450:800]
    assert (lane == GROUND).sum() > 0.99 * (lane > 0).sum() > 3000
    trees = index[140:185, 1000:1230]
    assert (trees == OBSTACLE).sum() > 0.99 * (trees > 0).sum() > 1000


def borders_on_the_road(frame: RoadFrame) -> list[NDArray[np.float64]]:
    """Left and right border [N, 3] of the ego lane's truth, its pixels cast onto the road."""
    to_road = frame.road_to_camera.inverse()
    plane = GroundPlane(frame.road_to_camera.rotation @ (0.0, -1.0, 0.0), -to_road.translation[1])
    rows = [row for row in range(200, 366, 3) if frame.ego_lane[row].sum() > 5]
    x, y = frame.camera.ray_slopes()
    borders = []
    for end in (0, -1):
        columns = [np.flatnonzero(frame.ego_lane[row])[end] for row in rows]
        rays = np.column_stack([x[columns], y[rows], np.ones(len(rows))]).astype(np.float64)
        depth = -plane.offset_m / (rays @ plane.normal)
        borders.append(to_road.apply(rays * depth[:, None]))
    return borders


@pytest.mark.data
def test_the_road_truths_lane_has_the_width_of_a_lane_at_all_distances(road: RoadFrame) -> None:
    left, right = borders_on_the_road(road)
    near = left[:, 2] < 30
    width_m = np.abs(right - left)[near, 0]
    assert np.abs(left[:, 1]).max() < 1e-5, "on the road's plane"
    assert 2.6 < width_m.min() < width_m.max() < 3.1


@pytest.mark.data
def test_the_lane_survives_the_way_to_metres_and_back(road: RoadFrame) -> None:
    left, right = borders_on_the_road(road)
    told = evidence_from_lane_borders(
        left, right, road.camera, road.road_to_camera, (3,), 11, max_range_m=100
    ).index[205:360]
    truth, valid = road.ego_lane[205:360], road.valid[205:360]
    assert truth[(told > 0) & valid].mean() > 0.99
    assert (told[truth] > 0).mean() > 0.97


@pytest.mark.data
def test_tusimples_lines_enclose_the_ego_lane(samples: Path) -> None:
    for frame in lane_frames(samples):
        index = evidence_from_lane_lines(frame.lines, (3,), 11).index
        binary = (frame.lines > 0).astype(np.uint8) * np.uint8(255)
        np.testing.assert_array_equal(evidence_from_lane_lines(binary, (3,), 11).index, index)
        assert (index[frame.lines > 0] == LINE).all()
        between = cv2.moments((index == BETWEEN).view(np.uint8), binaryImage=True)
        assert between["m00"] > 0.1 * index.size
        assert abs(between["m10"] / between["m00"] - 640) < 120


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no images in"):
        lidar_frames(tmp_path)


def test_a_broken_calibration_is_told(tmp_path: Path) -> None:
    (tmp_path / "calib.txt").write_text("P2: 1 2 three\n")
    with pytest.raises(DatasetError, match="is no KITTI calibration"):
        read_calibration(tmp_path / "calib.txt")
