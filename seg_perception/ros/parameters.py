"""The node's parameters: each declared once, here, with its description, range and default."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from difflib import get_close_matches
from operator import attrgetter
from typing import Any

import rclpy
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.context import Context
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter

from seg_perception.errors import ConfigError
from seg_perception.runtime.runner import RUNNER_KINDS

DECLARED_LATER = ("qos_overrides.", "refiners.")
"""What parameters begin with that exist only once the model and its topics do."""


def _parameter(
    default: Any,
    description: str,
    *,
    between: tuple[float, float] | None = None,
    one_of: Sequence[str] = (),
    fixed: bool = False,
) -> Any:
    """A field that is a ROS parameter of the same name, behind that of its group and a dot.

    Args:
        default: also fixes the type, and of a list of numbers the length.
        description: for `ros2 param describe`.
        between: lowest and highest value.
        one_of: the values there are.
        fixed: it is read when the node is configured, so that later changes are refused.
    """
    about = {
        "description": description,
        "between": between,
        "one_of": one_of,
        "fixed": fixed,
    }
    return field(default=default, metadata=about)


@dataclass(frozen=True)
class SourceSettings:
    """What can be set of every source of evidence."""

    enabled: bool = _parameter(True, "Use this source; false = its messages are not looked at.")
    trust: float = _parameter(1.0, "Weight of each pixel; 0 = not used.", between=(0.0, 100.0))
    max_age: float = _parameter(
        0.5, "Evidence further than this from the frame is not used, seconds.", between=(0.0, 60.0)
    )
    max_rate: float = _parameter(
        0.0,
        "Look at no more than this many messages per second, by their stamps; 0 = all of them.",
        between=(0.0, 1000.0),
    )


@dataclass(frozen=True)
class LaneSettings(SourceSettings):
    """Of a lane detector."""

    classes: tuple[str, ...] = _parameter(
        ("road",), "Names of the classes that a lane can lie on.", fixed=True
    )


@dataclass(frozen=True)
class LaneMaskSettings(LaneSettings):
    """Of a lane detector that paints images."""

    kind: str = _parameter(
        "region",
        "What the mask paints: the region of the lanes, or thin lines between them.",
        one_of=("region", "lines"),
    )


@dataclass(frozen=True)
class EvidenceSettings:
    """Of every source, by its name."""

    labels: SourceSettings = field(default_factory=SourceSettings)
    lane_mask: LaneMaskSettings = field(default_factory=LaneMaskSettings)
    lane_borders: LaneSettings = field(default_factory=LaneSettings)
    depth: SourceSettings = field(default_factory=SourceSettings)
    points: SourceSettings = field(default_factory=SourceSettings)

    def by_source(self) -> dict[str, SourceSettings]:
        """The settings by the name of the source."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


@dataclass(frozen=True)
class MountSettings:
    """Where sensors sit, where TF does not tell it.

    x, y, z in metres, then roll, pitch, yaw in radians (REP 103), in the vehicle's frame: x
    forward, y left, z up, the origin on the ground.
    """

    camera: tuple[float, ...] = _parameter(
        (0.0, 0.0, 1.5, 0.0, 0.0, 0.0),
        "Camera: x, y, z in metres, roll, pitch (positive looks down), yaw in radians.",
        between=(-100.0, 100.0),
    )
    points: tuple[float, ...] = _parameter(
        (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        "Frame of evidence/points, likewise; all 0 = the points are in the vehicle's frame.",
        between=(-100.0, 100.0),
    )


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
    evidence: EvidenceSettings = field(default_factory=EvidenceSettings)
    evidence_gate: bool = _parameter(
        True, "Leave out sources that contradict what the image shows for sure over whole regions."
    )
    mount: MountSettings = field(default_factory=MountSettings)
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
    overlay_evidence: bool = _parameter(
        False, "Hatch what evidence knows in ~/overlay, and outline what was corrected."
    )
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
        known = all_parameters()
        settings = self
        for parameter in parameters:
            if parameter.name not in known:
                continue
            value = _checked(parameter.name, known[parameter.name], parameter.value)
            if configured and value != self.value(parameter.name):
                _check_changeable(parameter.name, known[parameter.name])
            settings = _replaced(settings, parameter.name.split("."), value)
        return settings

    def value(self, name: str) -> Any:
        """The value of the parameter of this name."""
        return attrgetter(name)(self)


def all_parameters() -> dict[str, Field[Any]]:
    """The field of every parameter by its name."""
    return dict(_parameters_of(Settings(), ""))


def _parameters_of(settings: Any, prefix: str) -> Iterator[tuple[str, Field[Any]]]:
    for one in fields(settings):
        if one.metadata:
            yield prefix + one.name, one
        else:
            yield from _parameters_of(getattr(settings, one.name), f"{prefix}{one.name}.")


def declare(node: Node) -> Settings:
    """Declare all parameters on a node; their values are those given at its start.

    Raises:
        ConfigError: a given value is none of those there are.
        rclpy.exceptions.ParameterException: one is of another type or out of its range.
    """
    given = [
        node.declare_parameter(name, _plain(one.default), _descriptor(one))
        for name, one in all_parameters().items()
    ]
    return Settings().changed(given, configured=False)


def misspelt(node: Node) -> Iterator[str]:
    """What was given at a node's start and is no parameter of it, which ROS passes over in silence.

    Args:
        node: that has declared its parameters.
    """
    for name in node._parameter_overrides:  # rclpy tells them nowhere else
        if not node.has_parameter(name) and not name.startswith(DECLARED_LATER):
            near = get_close_matches(name, all_parameters(), 1)
            yield f"there is no parameter {name}" + (f": is {near[0]} meant?" if near else "")


def settings_of(parameters: Mapping[str, str]) -> Settings:
    """What a node understands that is started with these, as they would stand behind `-p NAME:=`.

    Raises:
        ConfigError: there is no such parameter; a value cannot be read, is of another type, or none
            of those there are.
    """
    given = [f"{name}:={value}" for name, value in parameters.items()]
    context = Context()
    try:
        rclpy.init(args=["--ros-args", *(x for one in given for x in ("-p", one))], context=context)
        node = rclpy.create_node("settings", context=context, start_parameter_services=False)
        try:
            settings = declare(node)
            if complaint := next(misspelt(node), None):
                raise ConfigError(complaint)
            return settings
        finally:
            node.destroy_node()
    except (RuntimeError, ParameterException) as error:  # RCLError, which rclpy does not export
        raise ConfigError(f"the parameters {', '.join(given)} cannot be used: {error}") from error
    finally:
        context.try_shutdown()


def _replaced(settings: Any, path: Sequence[str], value: Any) -> Any:
    """The settings with one value, which lies behind the groups of the path, replaced."""
    name, *rest = path
    inner = _replaced(getattr(settings, name), rest, value) if rest else value
    return replace(settings, **{name: inner})


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
    elif isinstance(setting.default, tuple):
        # Likewise for "[0, 0, 1.5]".
        descriptor.dynamic_typing = isinstance(setting.default[0], float)
    elif about["between"] is not None:
        lowest, highest = about["between"]
        descriptor.integer_range = [IntegerRange(from_value=lowest, to_value=highest, step=1)]
    return descriptor


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _checked(name: str, setting: Field[Any], value: Any) -> Any:
    """A parameter's value as the field has it; ROS itself checks all types but DOUBLE."""
    allowed = setting.metadata["one_of"]
    if allowed and value not in allowed:
        raise ConfigError(f"{name} is {value!r}: use one of {', '.join(allowed)}")
    if isinstance(setting.default, float):
        return _number(name, setting, value)
    if not isinstance(setting.default, tuple):
        return value
    if isinstance(setting.default[0], float):
        return _numbers(name, setting, value)
    return tuple(value)


def _number(name: str, setting: Field[Any], value: Any) -> float:
    lowest, highest = setting.metadata["between"]
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (is_number and lowest <= value <= highest):
        raise ConfigError(f"{name} is {value!r}: give a number from {lowest:g} to {highest:g}")
    return float(value)


def _numbers(name: str, setting: Field[Any], value: Any) -> tuple[float, ...]:
    usual: tuple[float, ...] = setting.default  # type: ignore[assignment]
    is_list = isinstance(value, Iterable) and not isinstance(value, str)
    values = list(value) if is_list else [value]
    if len(values) != len(usual):
        raise ConfigError(f"{name} is {value!r}: give {len(usual)} numbers, as in {list(usual)}")
    return tuple(_number(name, setting, value) for value in values)


def _check_changeable(name: str, setting: Field[Any]) -> None:
    if setting.metadata["fixed"]:
        raise ConfigError(
            f"{name} is read when the node is configured: deactivate and clean "
            "up the node first (ros2 lifecycle set NODE deactivate, then cleanup), then set it"
        )
