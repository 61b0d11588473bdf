"""Parameters that depend on the model: how many steps each of its looped refiners takes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from rcl_interfaces.msg import IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from seg_perception.perceiver import Perceiver

MOST_ITERATIONS = 100


class RefinerParameters:
    """``refiners.NAME.iterations`` for every looped refiner, as long as its model is loaded.

    Args:
        node: that they are declared on; values given at its start apply.
        perceiver: that they change.

    Raises:
        rclpy.exceptions.ParameterException: a given value is of another type or out of its range.
    """

    def __init__(self, node: Node, perceiver: Perceiver) -> None:
        self._node, self._perceiver = node, perceiver
        steps = perceiver.runner.bundle.manifest.looped_refiners
        self._refiners = {_parameter(name): name for name in steps}
        given = {}
        with ExitStack() as made:
            for name, default in steps.items():
                given[name] = self._declare(name, default)
                made.callback(node.undeclare_parameter, _parameter(name))
            self._made = made.pop_all()
        perceiver.refiner_iterations = given
        node.add_on_set_parameters_callback(self._on_parameters)

    def destroy(self) -> None:
        """Take the parameters off the node."""
        self._node.remove_on_set_parameters_callback(self._on_parameters)
        self._made.close()

    def _declare(self, name: str, default: int) -> int:
        descriptor = ParameterDescriptor(
            description=f"Steps of the refiner {name}; fewer are faster, 0 = leave it out.",
            integer_range=[IntegerRange(from_value=0, to_value=MOST_ITERATIONS, step=1)],
        )
        return int(self._node.declare_parameter(_parameter(name), default, descriptor).value)

    def _on_parameters(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        changes = {
            self._refiners[parameter.name]: int(parameter.value)
            for parameter in parameters
            if parameter.name in self._refiners
        }
        if changes:
            self._perceiver.refiner_iterations = {**self._perceiver.refiner_iterations, **changes}
        return SetParametersResult(successful=True)


def _parameter(name: str) -> str:
    return f"refiners.{name}.iterations"
