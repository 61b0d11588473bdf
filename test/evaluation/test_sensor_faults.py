from __future__ import annotations

import numpy as np
import pytest

from seg_perception.errors import ConfigError
from seg_perception.evaluation.sensor_faults import Fault, FaultySensors, parse_fault

MS = 1_000_000
POINTS = np.array([[0.0, 0.0, 10.0], [1.0, 2.0, 20.0]], np.float32)
DEPTH = np.full((4, 10), 20.0, np.float32)
MASK = np.tile(np.array([0, 1], np.uint8), (20, 50))


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def spoilt(fault: Fault, name: str, reading: np.ndarray) -> np.ndarray:
    return FaultySensors([fault]).spoil({name: reading}, 0, rng())[name]


def test_without_faults_all_is_as_it_was() -> None:
    readings = {"depth": DEPTH, "points": POINTS, "lane_mask": MASK}
    found = FaultySensors([]).spoil(readings, 0, rng())
    assert all(found[name] is reading for name, reading in readings.items())


def test_only_the_faulty_source_is_spoilt() -> None:
    found = FaultySensors([Fault("depth", bias=1.0)]).spoil(
        {"depth": DEPTH, "points": POINTS}, 0, rng()
    )
    assert (found["depth"] == 21).all()
    assert found["depth"].dtype == np.float32
    assert found["points"] is POINTS


def test_depth_noise_grows_with_depth() -> None:
    wide = np.repeat(np.array([[10.0], [100.0]], np.float32), 20_000, axis=1)
    near, far = spoilt(Fault("depth", noise=0.05), "depth", wide).std(axis=1)
    assert near == pytest.approx(0.5, rel=0.05)
    assert far == pytest.approx(5.0, rel=0.05)


def test_points_are_noisy_in_metres_and_further_away() -> None:
    many = np.zeros((20_000, 3), np.float32)
    found = spoilt(Fault("points", noise=0.2, bias=1.0), "points", many)
    np.testing.assert_allclose(found.std(axis=0), 0.2, rtol=0.05)
    np.testing.assert_allclose(found.mean(axis=0), [0, 0, 1], atol=0.01)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault("points", yaw=90.0), [10.0, 0.0, 0.0]),
        (Fault("points", pitch=90.0), [0.0, 10.0, 0.0]),
        (Fault("points", yaw=-90.0), [-10.0, 0.0, 0.0]),
    ],
)
def test_a_wrong_calibration_turns_to_the_right_and_down(fault: Fault, expected: list) -> None:
    np.testing.assert_allclose(spoilt(fault, "points", POINTS)[0], expected, atol=1e-5)


def test_a_shift_leaves_the_unknown_behind() -> None:
    ramp = np.tile(np.arange(1, 11, dtype=np.float32), (4, 1))
    right = spoilt(Fault("depth", shift=0.2), "depth", ramp)
    assert np.isnan(right[:, :2]).all()
    assert (right[:, 2:] == ramp[:, :8]).all()
    left = spoilt(Fault("labels", shift=-0.2), "labels", ramp.astype(np.uint8))
    assert (left[:, 8:] == 255).all()
    assert (left[:, :8] == ramp[:, 2:]).all()


def test_a_noisy_mask_says_what_masks_say() -> None:
    found = spoilt(Fault("lane_mask", noise=0.4), "lane_mask", MASK)
    assert set(np.unique(found)) == {0, 1}
    assert 0.1 < (found != MASK).mean() < 0.3, "half of what is drawn anew stays"


def test_both_borders_have_one_fault() -> None:
    sensors = FaultySensors([Fault("lane_borders", drop=1.0)])
    assert sensors.spoil({"lane_left": POINTS, "lane_right": POINTS}, 0, rng()) == {}


def test_drop_out_is_a_probability() -> None:
    sensors, source = FaultySensors([Fault("depth", drop=0.3)]), rng()
    kept = sum(bool(sensors.spoil({"depth": DEPTH}, i, source)) for i in range(1000))
    assert 650 < kept < 750


def test_delay_shows_what_was_long_ago() -> None:
    sensors = FaultySensors([Fault("depth", delay=0.2)])
    seen = []
    for i in range(5):
        found = sensors.spoil({"depth": np.full((1, 1), i, np.float32)}, i * 100 * MS, rng())
        seen.append(float(found["depth"][0, 0]) if found else None)
    assert seen == [None, None, 0, 1, 2]
    sensors.restart()
    assert sensors.spoil({"depth": DEPTH}, 10**9, rng()) == {}


def test_faults_are_read_as_they_are_written() -> None:
    assert parse_fault("depth:noise=0.05,drop=0.3") == Fault("depth", noise=0.05, drop=0.3)
    assert parse_fault("points:yaw=-2") == Fault("points", yaw=-2.0)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("radar:drop=1", "use one of lane_mask, labels"),
        ("depth", "not NAME=NUMBER"),
        ("depth:noise=much", "not NAME=NUMBER"),
        ("depth:yaw=2", "depth has no yaw: use noise, bias, shift, drop, delay"),
        ("points:drop=2", "drop from 0 to 1"),
    ],
)
def test_what_is_no_fault_is_refused_with_the_fix(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        parse_fault(text)


def test_faults_of_one_source_belong_together() -> None:
    with pytest.raises(ConfigError, match="join them"):
        FaultySensors([Fault("depth", drop=0.1), Fault("depth", noise=0.1)])
