from __future__ import annotations

from pathlib import Path

import pytest
from tiny_bundle import write_tiny_bundle

from seg_perception.errors import RunnerError
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


def test_an_unknown_kind_is_refused_with_those_there_are(tmp_path: Path) -> None:
    bundle = load_bundle(write_tiny_bundle(tmp_path))
    with pytest.raises(RunnerError, match="unknown runner 'tensorflow': use one of auto, onnx"):
        open_runner(bundle, "tensorflow")
