"""A configuration of the node: whole, or nothing of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from rclpy.context import Context
from rclpy.exceptions import InvalidParameterValueException
from rclpy.lifecycle import LifecycleNode
from rclpy.parameter import Parameter
from tiny_bundle import LoopedRunner

from seg_perception.ros.parameters import Settings
from seg_perception.ros.session import Session
from seg_perception.runtime.bundle import load_bundle
from seg_perception.runtime.runner import open_runner

pytestmark = pytest.mark.ros
STEPS = "refiners.denoiser.iterations"


@pytest.fixture
def context() -> Iterator[Context]:
    context = Context()
    context.init()
    yield context
    context.shutdown()


@pytest.fixture
def runner(bundle: Path) -> Iterator[LoopedRunner]:
    runner = LoopedRunner(
        open_runner(load_bundle(bundle), "onnx"), {"denoiser": 4, "mean_field": 5}
    )
    yield runner
    runner.close()


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("refiners.mean_field.iterations", -1, InvalidParameterValueException),
        (
            "qos_overrides./segmentation/overlay.publisher.reliability",
            "nonsense",
            RuntimeError,
        ),
    ],
)
def test_a_session_that_cannot_be_made_leaves_nothing_behind(
    name: str, value: object, error: type[Exception], context: Context, runner: LoopedRunner
) -> None:
    given = Parameter(name, value=value)
    node = LifecycleNode("segmentation", context=context, parameter_overrides=[given])
    before = len(list(node.publishers))
    with pytest.raises(error, match=str(value)):
        Session(node, Settings(), runner)
    assert not node.has_parameter(STEPS)
    assert len(list(node.publishers)) == before
    with pytest.raises(error, match=str(value)):  # not because something is there already
        Session(node, Settings(), runner)
    node.destroy_node()


def test_a_session_can_be_made_again(context: Context, runner: LoopedRunner) -> None:
    node = LifecycleNode("segmentation", context=context)
    before = len(list(node.publishers))
    for _ in range(2):
        session = Session(node, Settings(), runner)
        assert node.get_parameter(STEPS).value == 4
        session.close()
        assert not node.has_parameter(STEPS)
        assert len(list(node.publishers)) == before
    node.destroy_node()
