"""`GuidedCrf` and `MeanField` as TensorRT plugins (IPluginV3 in Python, TensorRT 10.0 to 11.x).

A plugin is one operator of the bundle with all its iterations; what it launches stands in the
bundle's `kernels.json`, so these classes know only names and types. What TensorRT 10.3 to 11.4 were
found to do, and how it is met here:

- `PluginField` keeps a raw pointer: the arrays stay on the object that gave the fields.
- TensorRT 10.3 dies of a plugin whose Python half was collected: all stay in `_KEPT`, some bytes
  each.
- An exception in a callback arrives as "-1" with the message on stderr: `last_failure` tells it to
  whoever called TensorRT.
- An engine may be loaded in another process: the namespace, which the engine remembers, is named
  for the kernels, so that a plugin never meets those of another bundle.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
import tensorrt as trt
from numpy.typing import NDArray

from seg_perception.errors import RunnerError
from seg_perception.runtime.cuda import Driver
from seg_perception.runtime.kernel_programs import Number, Plan, plan
from seg_perception.runtime.plugins.kernels import Kernels
from seg_perception.runtime.plugins.launcher import Launcher

VERSION = "1"
_FIELD_TYPES = {int: ("INT32", np.int32), float: ("FLOAT32", np.float32)}
_KEPT: list[object] = []
_FAILURES: list[str] = []

Callback = TypeVar("Callback", bound=Callable[..., Any])


def last_failure() -> str:
    """Why a plugin failed since this was asked last; empty if none did."""
    message = "; ".join(_FAILURES)
    _FAILURES.clear()
    return message


def _remembered(callback: Callback) -> Callback:
    """TensorRT swallows what a callback raises; keep it for `last_failure`."""

    @functools.wraps(callback)
    def wrapped(*arguments: Any) -> Any:
        try:
            return callback(*arguments)
        except Exception as error:
            _FAILURES.append(f"{callback.__qualname__}: {error}")
            raise

    return wrapped  # type: ignore[return-value]


class KernelPlugin(
    trt.IPluginV3, trt.IPluginV3OneCore, trt.IPluginV3OneBuild, trt.IPluginV3OneRuntime
):
    """An operator that launches a program of kernels; subclasses name it.

    The first input's shape and type are those of the one output; all tensors are dense float32
    [1, ...], as the operators of the ONNX domain `seg_perception` are defined (docs/kernels.md).

    Args:
        kernels: of the bundle.
        driver: launches them.
        attributes: the operator's, by the names of `attribute_types`.
    """

    operator: ClassVar[str]
    attribute_types: ClassVar[Mapping[str, type]]

    def __init__(self, kernels: Kernels, driver: Driver, attributes: Mapping[str, Number]) -> None:
        trt.IPluginV3.__init__(self)
        trt.IPluginV3OneCore.__init__(self)
        trt.IPluginV3OneBuild.__init__(self)
        trt.IPluginV3OneRuntime.__init__(self)
        self.plugin_name = self.operator
        self.plugin_version = VERSION
        self.plugin_namespace = namespace(kernels)
        self.num_outputs = 1
        self._kernels = kernels
        self._driver = driver
        self._attributes = dict(attributes)
        self._arrays: list[NDArray[Any]] = []
        self._launcher: Launcher | None = None
        _KEPT.append(self)

    def get_capability_interface(self, type: Any) -> Any:
        """This object has all three capabilities."""
        return self

    def clone(self) -> Any:
        """Another plugin of the same attributes."""
        return type(self)(self._kernels, self._driver, self._attributes)

    @_remembered
    def get_output_data_types(self, input_types: Sequence[Any]) -> list[Any]:
        """float32, as the inputs are."""
        return [input_types[0]]

    def get_output_shapes(
        self, inputs: Sequence[Any], shape_inputs: Sequence[Any], expr_builder: Any
    ) -> list[Any]:
        """That of the first input."""
        return [inputs[0]]

    def supports_format_combination(self, pos: int, in_out: Sequence[Any], num_inputs: int) -> bool:
        """Dense float32 only; the kernels are compiled for nothing else."""
        found = in_out[pos].desc
        return bool(found.type == trt.float32 and found.format == trt.TensorFormat.LINEAR)

    @_remembered
    def configure_plugin(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Refuse shapes that the operator or the kernels do not take."""
        self._plan([entry.max for entry in inputs])

    @_remembered
    def get_workspace_size(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        """Bytes of all scratch arrays."""
        return self._plan([entry.max for entry in inputs]).workspace_bytes

    def get_fields_to_serialize(self) -> Any:
        """The attributes, as the creator takes them."""
        self._arrays = [
            np.array([self._attributes[name]], _FIELD_TYPES[kind][1])
            for name, kind in self.attribute_types.items()
        ]
        return trt.PluginFieldCollection(
            [
                trt.PluginField(name, array, _field_type(kind))
                for (name, kind), array in zip(
                    self.attribute_types.items(), self._arrays, strict=True
                )
            ]
        )

    def set_tactic(self, tactic: int) -> None:
        """There is one way to do it."""

    @_remembered
    def on_shape_change(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Load the kernels and work out every launch, so that `enqueue` need not."""
        shapes = self._shapes([entry.dims for entry in inputs])
        self._launcher = Launcher(
            self._kernels, self.operator, shapes, self._attributes, self._driver
        )

    def attach_to_context(self, context: Any) -> Any:
        """A plugin for one execution context, which one thread uses at a time."""
        return self.clone()

    @_remembered
    def enqueue(
        self,
        input_desc: Sequence[Any],
        output_desc: Sequence[Any],
        inputs: Sequence[int],
        outputs: Sequence[int],
        workspace: int,
        stream: int,
    ) -> None:
        """Launch everything on the stream, and return."""
        if self._launcher is None:
            raise RunnerError(f"{self.operator}: enqueue came before on_shape_change")
        self._launcher.launch(inputs, outputs, workspace, stream)

    def _plan(self, dims: Sequence[Sequence[int]]) -> Plan:
        program = self._kernels.file.programs[self.operator]
        return plan(program, self._shapes(dims), self._attributes)

    def _shapes(self, dims: Sequence[Sequence[int]]) -> dict[str, tuple[int, ...]]:
        """Shapes by name, with the batch of 1 taken off scores and images."""
        program = self._kernels.file.programs[self.operator]
        shapes = {}
        for tensor, found in zip(program.inputs, dims, strict=True):
            shape = tuple(found)
            batched = len(shape) == len(tensor.shape) + 1 and shape[0] == 1
            shapes[tensor.name] = shape[1:] if batched else shape
        classes = shapes[program.inputs[0].name][0]
        if classes != self._kernels.file.classes:
            raise RunnerError(
                f"{self.operator} is given {classes} classes, but the bundle's kernels are "
                f"compiled for {self._kernels.file.classes}: export the bundle again"
            )
        return shapes


class GuidedCrf(KernelPlugin):
    """Inputs scores [1, C, h, w], guide [1, 3, h, w], weights [C, C]; see docs/kernels.md."""

    operator = "GuidedCrf"
    attribute_types: ClassVar[Mapping[str, type]] = {"radius": int, "eps": float, "iterations": int}


class MeanField(KernelPlugin):
    """Inputs scores [1, C, H, W], image [1, 3, H, W] and three [C, C]; see docs/kernels.md."""

    operator = "MeanField"
    attribute_types: ClassVar[Mapping[str, type]] = {
        "sxy_spatial": float,
        "sxy": float,
        "srgb": float,
        "iterations": int,
    }


PLUGINS: tuple[type[KernelPlugin], ...] = (GuidedCrf, MeanField)


class Creator(trt.IPluginCreatorV3One):
    """Makes plugins of one class, for the ONNX parser and for engines that are loaded.

    Args:
        plugin: their class.
        kernels: of the bundle.
        driver: launches them.
    """

    def __init__(self, plugin: type[KernelPlugin], kernels: Kernels, driver: Driver) -> None:
        trt.IPluginCreatorV3One.__init__(self)
        self.name = plugin.operator
        self.plugin_version = VERSION
        self.plugin_namespace = namespace(kernels)
        self._fields = [
            trt.PluginField(name, np.array([]), _field_type(kind))
            for name, kind in plugin.attribute_types.items()
        ]
        self.field_names = trt.PluginFieldCollection(self._fields)
        self._plugin = plugin
        self._kernels = kernels
        self._driver = driver

    @_remembered
    def create_plugin(self, name: str, fields: Any, phase: Any) -> KernelPlugin:
        """A plugin of the attributes in these fields."""
        given = {field.name: np.asarray(field.data).ravel() for field in fields}
        missing = [key for key in self._plugin.attribute_types if not len(given.get(key, ()))]
        if missing:
            raise RunnerError(
                f"{self.name}: attributes {missing} are missing: export the bundle again"
            )
        attributes = {
            key: kind(given[key][0]) for key, kind in self._plugin.attribute_types.items()
        }
        return self._plugin(self._kernels, self._driver, attributes)


def namespace(kernels: Kernels) -> str:
    """The plugins' namespace: that of the operators, and which kernels they launch."""
    return f"seg_perception.{kernels.digest[:16]}"


def register(kernels: Kernels, driver: Driver) -> str:
    """Make the plugins of a bundle known to TensorRT in this process; idempotent.

    Returns:
        Their namespace.

    Raises:
        RunnerError: TensorRT refuses them.
    """
    registry = trt.get_plugin_registry()
    space = namespace(kernels)
    for plugin in PLUGINS:
        if plugin.operator not in kernels.file.programs:
            continue
        if registry.get_creator(plugin.operator, VERSION, space) is not None:
            continue
        creator = Creator(plugin, kernels, driver)
        _KEPT.append(creator)
        if not registry.register_creator(creator, space):
            raise RunnerError(
                f"TensorRT {trt.__version__} refuses the plugin {plugin.operator}: "
                "update TensorRT to 10.0 or newer"
            )
    return space


def _field_type(kind: type) -> Any:
    return getattr(trt.PluginFieldType, _FIELD_TYPES[kind][0])
