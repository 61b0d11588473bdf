from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_bundle import write_tiny_bundle
from tiny_replay import TRANSPORT

from seg_perception.classes import CAMVID_CLASSES
from seg_perception.errors import DatasetError
from seg_perception.evaluation.compare import Comparer
from seg_perception.evaluation.real_samples import real_exhibits
from seg_perception.evaluation.replay import ReplayResult
from seg_perception.evaluation.report import render_report
from seg_perception.runtime.bundle import load_bundle
from seg_perception.runtime.runner import Runner, open_runner


@pytest.fixture
def street_runner(tmp_path: Path) -> Iterator[Runner]:
    """Small, with CamVid's classes."""
    folder = write_tiny_bundle(tmp_path / "model", height=48, width=160, classes=CAMVID_CLASSES)
    runner = open_runner(load_bundle(folder), threads=1)
    yield runner
    runner.close()


@pytest.mark.data
def test_every_real_sample_becomes_pictures(shared_data: Path, street_runner: Runner) -> None:
    root = shared_data / "driving_samples"
    if not root.is_dir():
        pytest.skip("no driving samples")
    manifest = street_runner.bundle.manifest
    exhibits = tuple(real_exhibits(root, manifest, Comparer(street_runner)))
    assert {exhibit.title.partition(",")[0] for exhibit in exhibits} == {"KITTI", "TuSimple"}
    for exhibit in exhibits:
        assert exhibit.known.shape == exhibit.frame.image.shape[:2]
        assert exhibit.known.any()
        changed = exhibit.maps["corrected"] != exhibit.maps["refined"]
        assert changed[exhibit.known].any()
    html = render_report(ReplayResult(CAMVID_CLASSES, (), {}, (), exhibits, TRANSPORT), "A", {})
    assert html.count("data:image/jpeg") == 3 * len(exhibits)
    assert "KITTI, lidar, frame 1" in html


def test_missing_samples_are_told(tmp_path: Path, street_runner: Runner) -> None:
    manifest = street_runner.bundle.manifest
    with pytest.raises(DatasetError, match="no images in"):
        next(real_exhibits(tmp_path, manifest, Comparer(street_runner)))
