from __future__ import annotations

import pytest

from seg_perception.timing import StageHistory, Stopwatch, percentiles


def test_percentiles_of_a_known_distribution() -> None:
    found = percentiles([float(i) for i in range(101)])
    assert (found.p50_ms, found.p90_ms, found.p99_ms) == (50.0, 90.0, 99.0)


def test_the_laps_add_up_to_no_more_than_the_whole() -> None:
    whole = Stopwatch()
    watch = Stopwatch({"wait": 3.0})
    watch.lap("first")
    watch.lap("second")
    whole.lap("whole")
    assert list(watch.timings) == ["wait", "first", "second"]
    assert watch.timings["wait"] == 3.0
    assert 0 <= watch.timings["first"] + watch.timings["second"] <= whole.timings["whole"]


def test_the_history_forgets_the_oldest() -> None:
    history = StageHistory(length=10)
    for duration_ms in range(1000):
        history.add({"infer": float(duration_ms)})
    assert history.percentiles()["infer"].p50_ms == pytest.approx(994.5)


def test_a_stage_that_came_late_has_its_own_percentiles() -> None:
    history = StageHistory()
    history.add({"infer": 1.0})
    history.add({"infer": 3.0, "evidence": 7.0})
    assert history.percentiles()["infer"].p50_ms == 2.0
    assert history.percentiles()["evidence"].p99_ms == 7.0
