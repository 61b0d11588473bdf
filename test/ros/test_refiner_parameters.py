"""Steps of looped refiners as parameters of a real node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import rclpy
from rclpy.exceptions import InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter
from tiny_bundle import LoopedRunner

from seg_perception.perceiver import Perceiver
from seg_perception.ros.refiner_parameters import RefinerParameters
from seg_perception.runtime.bundle import load_bundle
from seg_perception.runtime.runner import open_runner

pytestmark = pytest.mark.ros
NAME = "refiners.denoiser.iterations"


@pytest.fixture
def perceiver(bundle: Path) -> Perceiver:
    return Perceiver(LoopedRunner(open_runner(load_bundle(bundle), "onnx"), {"denoiser": 4}))


@pytest.fixture
def context() -> Iterator[rclpy.Context]:
    context = rclpy.Context()
    context.init()
    yield context
    context.shutdown()


def node_with(context: rclpy.Context, *given: Parameter) -> Node:
    return Node("refiners", context=context, parameter_overrides=list(given))


def test_steps_can_be_changed_while_the_model_is_loaded(
    context: rclpy.Context, perceiver: Perceiver
) -> None:
    node = node_with(context)
    parameters = RefinerParameters(node, perceiver)
    assert node.get_parameter(NAME).value == 4
    (result,) = node.set_parameters([Parameter(NAME, value=2)])
    assert result.successful
    assert perceiver.refiner_iterations == {"denoiser": 2}
    (result,) = node.set_parameters([Parameter(NAME, value=101)])
    assert not result.successful
    assert perceiver.refiner_iterations == {"denoiser": 2}
    parameters.destroy()
    assert not node.has_parameter(NAME)
    node.destroy_node()


def test_steps_given_at_the_start_apply(context: rclpy.Context, perceiver: Perceiver) -> None:
    node = node_with(context, Parameter(NAME, value=7))
    RefinerParameters(node, perceiver)
    assert perceiver.refiner_iterations == {"denoiser": 7}
    node.destroy_node()


def test_a_number_of_steps_that_makes_no_sense_is_refused(
    context: rclpy.Context, perceiver: Perceiver
) -> None:
    node = node_with(context, Parameter(NAME, value=-1))
    with pytest.raises(InvalidParameterValueException):
        RefinerParameters(node, perceiver)
    node.destroy_node()


def test_a_model_without_loops_has_no_such_parameters(context: rclpy.Context, bundle: Path) -> None:
    node = node_with(context)
    plain = Perceiver(open_runner(load_bundle(bundle), "onnx"))
    RefinerParameters(node, plain).destroy()
    assert not node.get_parameters_by_prefix("refiners")
    node.destroy_node()
