"""The node's parameters: each declared once, here, with its description, range and default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from seg_perception.errors import ConfigError
from seg_perception.runtime.runner import RUNNER_KINDS


def _parameter(
    default: Any,
    description: str,
    *,
    name: str = "",
    between: tuple[float, float] | None = None,
    one_of: Sequence[str] = (),
    fixed: bool = False,
) -> Any:
    """A field of `Settings` that is a ROS parameter, by default of the same name.

    Args:
        default: also fixes the type.
        description: for `ros2 param describe`.
        name: of the parameter, where it differs from the field's.
        between: lowest and highest value.
        one_of: the values there are.
        fixed: it is read when the node is configured, so that later changes are refused.
    """
    about = {
        "name": name,
        "description": description,
        "between": between,
        "one_of": one_of,
        "fixed": fixed,
    }
    return field(default=default, metadata=about)


@dataclass(frozen=True)
class Settings:
    """The values of all parameters at one moment."""

    bundle: str = _parameter(
        "", "Folder of the model bundle; empty = the model that comes with the package.", fixed=True
    )
    runner: str = _parameter(
        "auto",
        f"Runtime of the model, one of {', '.join(RUNNER_KINDS)}.",
        one_of=RUNNER_KINDS,
        fixed=True,
    )
    threads: int = _parameter(
        0, "CPU threads of one inference; 0 = one per core.", between=(0, 256), fixed=True
    )
    self_test: bool = _parameter(
        True,
        "When configured, check that the model answers here as it did where it was made.",
        fixed=True,
    )
    autostart: bool = _parameter(
        True,
        "Configure and activate at start; false = wait for a lifecycle manager.",
        fixed=True,
    )
    evidence_max_age: float = _parameter(
        0.5, "Evidence further than this from the frame is not used, seconds.", between=(0.0, 60.0)
    )
    labels_trust: float = _parameter(
        1.0,
        "Weight of each pixel of evidence/labels; 0 = not used.",
        name="evidence.labels.trust",
        between=(0.0, 100.0),
    )
    lane_mask_trust: float = _parameter(
        1.0,
        "Weight of each pixel of evidence/lane_mask; 0 = not used.",
        name="evidence.lane_mask.trust",
        between=(0.0, 100.0),
    )
    lane_mask_classes: tuple[str, ...] = _parameter(
        ("road",),
        "Names of the classes that a pixel of evidence/lane_mask can belong to.",
        name="evidence.lane_mask.classes",
        fixed=True,
    )
    temporal_precision: float = _parameter(
        0.0,
        "How strongly a frame's code is tied to the one before; 0 = each frame on its own.",
        between=(0.0, 1e6),
    )
    max_rate: float = _parameter(
        0.0, "Answer at most this many frames per second; 0 = as many as possible.",
        between=(0.0, 1000.0),
    )  # fmt: skip
    overlay_alpha: float = _parameter(
        0.5, "Opacity of the classes' colours in ~/overlay.", between=(0.0, 1.0)
    )
    overlay_legend: bool = _parameter(False, "Write the names of the classes into ~/overlay.")
    image_timeout: float = _parameter(
        5.0,
        "Without an image for this long, diagnostics turn to ERROR, seconds.",
        between=(0.1, 3600.0),
    )
    diagnostics_period: float = _parameter(
        1.0, "Time between two diagnostics, seconds.", between=(0.1, 60.0), fixed=True
    )

    def changed(self, parameters: Sequence[Parameter], *, configured: bool) -> Settings:
        """These settings with other values for some parameters; unknown names are left out.

        Raises:
            ConfigError: a value is none of those there are, or is fixed by now.
        """
        known = {parameter_name(f): f for f in fields(self)}
        changes: dict[str, Any] = {}
        for parameter in parameters:
            if parameter.name not in known:
                continue
            setting = known[parameter.name]
            value = _checked(setting, parameter.value)
            if configured and value != getattr(self, setting.name):
                _check_changeable(setting)
            changes[setting.name] = value
        return replace(self, **changes)


def parameter_name(setting: Field[Any]) -> str:
    """Name of the parameter that a field of `Settings` stands for."""
    return str(setting.metadata["name"] or setting.name)


def declare(node: Node) -> Settings:
    """Declare all parameters on a node; their values are those given at its start.

    Raises:
        ConfigError: a given value is none of those there are.
        rclpy.exceptions.ParameterException: one is of another type or out of its range.
    """
    given = [
        node.declare_parameter(parameter_name(f), _plain(f.default), _descriptor(f))
        for f in fields(Settings)
    ]
    return Settings().changed(given, configured=False)


def _descriptor(setting: Field[Any]) -> ParameterDescriptor:
    about = setting.metadata
    descriptor = ParameterDescriptor(description=about["description"])
    if about["fixed"]:
        descriptor.additional_constraints = "Read when the node is configured."
    if isinstance(setting.default, float):
        lowest, highest = about["between"]
        # ROS takes "10" for no DOUBLE and refuses it, so the type is checked in `_number`.
        descriptor.dynamic_typing = True
        descriptor.floating_point_range = [FloatingPointRange(from_value=lowest, to_value=highest)]
    elif about["between"] is not None:
        lowest, highest = about["between"]
        descriptor.integer_range = [IntegerRange(from_value=lowest, to_value=highest, step=1)]
    return descriptor


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _checked(setting: Field[Any], value: Any) -> Any:
    """A parameter's value as the field has it; ROS itself checks all types but DOUBLE."""
    allowed = setting.metadata["one_of"]
    if allowed and value not in allowed:
        raise ConfigError(
            f"{parameter_name(setting)} is {value!r}: use one of {', '.join(allowed)}"
        )
    if isinstance(setting.default, float):
        return _number(setting, value)
    return tuple(value) if isinstance(setting.default, tuple) else value


def _number(setting: Field[Any], value: Any) -> float:
    lowest, highest = setting.metadata["between"]
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (is_number and lowest <= value <= highest):
        raise ConfigError(
            f"{parameter_name(setting)} is {value!r}: give a number from {lowest:g} to {highest:g}"
        )
    return float(value)


def _check_changeable(setting: Field[Any]) -> None:
    if setting.metadata["fixed"]:
        raise ConfigError(
            f"{parameter_name(setting)} is read when the node is configured: deactivate and clean "
            "up the node first (ros2 lifecycle set NODE deactivate, then cleanup), then set it"
        )
