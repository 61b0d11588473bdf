from __future__ import annotations

from pathlib import Path

import pytest
from tiny_bundle import write_tiny_bundle

from seg_perception.errors import RunnerError
from seg_perception.runtime import tensorrt_open
from seg_perception.runtime.bundle import check_bundle, load_bundle
from seg_perception.runtime.runner import Runner, open_runner


@pytest.mark.parametrize("kind", ["auto", "onnx"])
def test_a_runner_is_opened_and_says_why(tmp_path: Path, kind: str) -> None:
    bundle = load_bundle(write_tiny_bundle(tmp_path))
    runner: Runner = open_runner(bundle, kind, threads=1)
    assert runner.bundle is bundle
    assert runner.name.startswith("onnx-")
    assert runner.reason
    check_bundle(bundle, runner)
    runner.close()


def test_auto_says_why_it_is_not_tensorrt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_open, "open_tensorrt", refused)
    runner = open_runner(load_bundle(write_tiny_bundle(tmp_path)), "auto", threads=1)
    assert runner.reason.endswith("; no TensorRT: no driver")
    runner.close()


def test_tensorrt_that_was_asked_for_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_open, "open_tensorrt", refused)
    with pytest.raises(RunnerError, match="no driver"):
        open_runner(load_bundle(write_tiny_bundle(tmp_path)), "tensorrt")


def refused(*_: object, **__: object) -> None:
    raise RunnerError("no driver")


def test_an_unknown_kind_is_refused_with_those_there_are(tmp_path: Path) -> None:
    bundle = load_bundle(write_tiny_bundle(tmp_path))
    with pytest.raises(RunnerError, match="unknown runner 'tensorflow': use one of auto, tensorrt"):
        open_runner(bundle, "tensorflow")
