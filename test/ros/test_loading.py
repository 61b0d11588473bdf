from __future__ import annotations

import threading
from pathlib import Path

import pytest
from tiny_bundle import write_tiny_bundle

from seg_perception.errors import RunnerError
from seg_perception.ros.loading import Loading
from seg_perception.runtime.bundle import load_bundle
from seg_perception.runtime.engine_cache import Progress
from seg_perception.runtime.runner import Runner, open_runner


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return open_runner(load_bundle(write_tiny_bundle(tmp_path)), threads=1)


def test_a_model_that_needs_no_engine_is_waited_for(runner: Runner) -> None:
    loading = Loading(lambda _: runner)
    assert loading.wait()
    assert loading.facts() == {}
    assert loading.text() == "loading the model"
    assert loading.handed_to(lambda one: one) is runner


def test_the_wait_ends_when_a_build_begins(runner: Runner) -> None:
    go_on = threading.Event()

    def build(progress: Progress) -> Runner:
        assert progress("reading the model", 0, 0)
        assert go_on.wait(20)
        return runner

    loading = Loading(build)
    assert not loading.wait()
    assert loading.facts()["build.percent"] == "0"
    go_on.set()
    assert loading.handed_to(lambda one: one.name) == runner.name


def test_what_opening_raises_reaches_who_takes_it() -> None:
    def fail(progress: Progress) -> Runner:
        raise RunnerError("no driver")

    loading = Loading(fail)
    assert loading.wait()
    with pytest.raises(RunnerError, match="no driver"):
        loading.handed_to(lambda one: one)
    loading.abandon()


def test_a_runner_that_nothing_can_be_made_of_is_closed(runner: Runner) -> None:
    with pytest.raises(ZeroDivisionError):
        Loading(lambda _: runner).handed_to(lambda _: 1 / 0)
    with pytest.raises(RunnerError, match="closed"):
        runner.run(runner.bundle.golden()[0].inputs)
