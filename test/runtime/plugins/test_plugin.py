"""The plugins against NVIDIA's own bindings: what TensorRT asks of a plugin, and in which terms.

Nothing here builds an engine; `docs/plugins.md` says what of TensorRT has never run.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from tiny_kernels import CLASSES, FILE, RecordingDriver, tiny_kernels

from seg_perception.errors import BundleError, RunnerError
from seg_perception.runtime.kernel_programs import plan

ATTRIBUTES = {
    "GuidedCrf": {"radius": 3, "eps": 0.5, "iterations": 3},
    "MeanField": {"sxy_spatial": 3.0, "sxy": 64.0, "srgb": 0.1, "iterations": 2},
}
OPERATORS = sorted(ATTRIBUTES)


@pytest.fixture
def plugin(trt: ModuleType) -> ModuleType:
    """The module under test, which needs TensorRT to be imported at all."""
    return import_module("seg_perception.runtime.plugins.plugin")


@pytest.fixture
def driver() -> RecordingDriver:
    return RecordingDriver()


def shapes(operator: str, height: int, width: int) -> list[tuple[int, ...]]:
    square = (CLASSES, CLASSES)
    images = [(1, CLASSES, height, width), (1, 3, height, width)]
    return [*images, *([square] if operator == "GuidedCrf" else [square] * 3)]


def made(plugin: ModuleType, operator: str, driver: RecordingDriver) -> Any:
    return getattr(plugin, operator)(tiny_kernels(), driver, ATTRIBUTES[operator])


def described(trt: ModuleType, dims: Sequence[int], type_: Any = None) -> Any:
    desc = trt.PluginTensorDesc()
    desc.dims, desc.format = dims, trt.TensorFormat.LINEAR
    desc.type = trt.float32 if type_ is None else type_
    return desc


def dynamic(trt: ModuleType, dims: Sequence[int], type_: Any = None) -> Any:
    desc = trt.DynamicPluginTensorDesc()
    desc.desc = described(trt, dims, type_)
    desc.min = desc.opt = desc.max = dims
    return desc


def create(plugin: ModuleType, trt: ModuleType, operator: str, fields: Any) -> Any:
    kernels = tiny_kernels()
    space = plugin.register(kernels, RecordingDriver())
    creator = trt.get_plugin_registry().get_creator(operator, "1", space)
    return creator.create_plugin("node", fields, trt.TensorRTPhase.RUNTIME)


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_registry_finds_the_creators(
    plugin: ModuleType, trt: ModuleType, operator: str
) -> None:
    space = plugin.register(tiny_kernels(), RecordingDriver())
    creator = trt.get_plugin_registry().get_creator(operator, "1", space)
    assert (creator.name, creator.plugin_version) == (operator, "1")
    assert creator.plugin_namespace == space
    assert [field.name for field in creator.field_names] == list(ATTRIBUTES[operator])
    expected = {int: trt.PluginFieldType.INT32, float: trt.PluginFieldType.FLOAT32}
    assert [field.type for field in creator.field_names] == [
        expected[type(value)] for value in ATTRIBUTES[operator].values()
    ]


def test_registering_again_changes_nothing(plugin: ModuleType, trt: ModuleType) -> None:
    space = plugin.register(tiny_kernels(), RecordingDriver())
    registry = trt.get_plugin_registry()
    first = registry.get_creator("GuidedCrf", "1", space)
    plugin.register(tiny_kernels(), RecordingDriver())
    assert registry.get_creator("GuidedCrf", "1", space) is first


def test_the_plugins_of_other_kernels_live_in_another_namespace(plugin: ModuleType) -> None:
    others = tiny_kernels()
    others.digest = "0" * 64
    assert plugin.namespace(others) != plugin.namespace(tiny_kernels())


@pytest.mark.parametrize("operator", OPERATORS)
def test_attributes_survive_being_serialised(
    plugin: ModuleType, trt: ModuleType, operator: str, driver: RecordingDriver
) -> None:
    original = made(plugin, operator, driver)
    fields = original.get_fields_to_serialize()
    gc.collect()  # the fields only point to what the plugin must keep
    again = create(plugin, trt, operator, fields)
    found = {field.name: field.data[0].item() for field in again.get_fields_to_serialize()}
    assert found == pytest.approx(ATTRIBUTES[operator])
    assert {name: type(value) for name, value in found.items()} == {
        name: type(value) for name, value in ATTRIBUTES[operator].items()
    }


def test_a_missing_attribute_is_told(plugin: ModuleType, trt: ModuleType) -> None:
    radius = trt.PluginField("radius", np.array([3], np.int32), trt.PluginFieldType.INT32)
    with pytest.raises(RunnerError, match=r"\['eps', 'iterations'\] are missing"):
        create(plugin, trt, "GuidedCrf", trt.PluginFieldCollection([radius]))
    assert "create_plugin: GuidedCrf: attributes" in plugin.last_failure()
    assert plugin.last_failure() == ""


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_clone_is_an_equal_of_its_own(
    plugin: ModuleType, trt: ModuleType, operator: str, driver: RecordingDriver
) -> None:
    original = made(plugin, operator, driver)
    for copy in (original.clone(), original.attach_to_context(None)):
        assert copy is not original
        assert isinstance(copy, trt.IPluginV3)
        names = ("plugin_name", "plugin_version", "plugin_namespace", "num_outputs")
        assert [getattr(copy, name) for name in names] == [
            getattr(original, name) for name in names
        ]
        run(trt, copy, shapes(operator, 4, 5))
    assert driver.done


def test_sizes_that_the_kernels_do_not_take_are_refused(
    plugin: ModuleType, trt: ModuleType, driver: RecordingDriver
) -> None:
    made_one = made(plugin, "MeanField", driver)
    widest, too_wide = (
        [dynamic(trt, dims) for dims in shapes("MeanField", 1, width)] for width in (6399, 6400)
    )
    made_one.configure_plugin(widest, widest[:1])
    for ask in (made_one.configure_plugin, made_one.get_workspace_size):
        with pytest.raises(BundleError, match=r"W / sxy is 100, .* below 100 only: raise sxy"):
            ask(too_wide, too_wide[:1])
        assert "raise sxy, or export without kernels" in plugin.last_failure()


def test_has_every_capability(plugin: ModuleType, trt: ModuleType, driver: RecordingDriver) -> None:
    made_one = made(plugin, "GuidedCrf", driver)
    interfaces = {
        trt.PluginCapabilityType.CORE: trt.IPluginV3OneCore,
        trt.PluginCapabilityType.BUILD: trt.IPluginV3OneBuild,
        trt.PluginCapabilityType.RUNTIME: trt.IPluginV3OneRuntime,
    }
    for capability, interface in interfaces.items():
        assert isinstance(made_one.get_capability_interface(capability), interface)


@pytest.mark.parametrize("operator", OPERATORS)
def test_takes_dense_float32_and_nothing_else(
    plugin: ModuleType, trt: ModuleType, operator: str, driver: RecordingDriver
) -> None:
    made_one = made(plugin, operator, driver)
    inputs = [dynamic(trt, dims) for dims in shapes(operator, 4, 5)]
    tensors = [*inputs, inputs[0]]
    for position in range(len(tensors)):
        assert made_one.supports_format_combination(position, tensors, len(inputs))
        half = [*tensors]
        half[position] = dynamic(trt, (1,), trt.float16)
        assert not made_one.supports_format_combination(position, half, len(inputs))
        blocked = [*tensors]
        blocked[position] = dynamic(trt, (1,))
        other = blocked[position].desc
        other.format = trt.TensorFormat.CHW32
        blocked[position].desc = other
        assert not made_one.supports_format_combination(position, blocked, len(inputs))


@pytest.mark.parametrize("operator", OPERATORS)
def test_answers_with_the_type_and_shape_of_the_scores(
    plugin: ModuleType, trt: ModuleType, operator: str, driver: RecordingDriver
) -> None:
    made_one = made(plugin, operator, driver)
    count = len(shapes(operator, 1, 1))
    assert made_one.get_output_data_types([trt.float32] * count) == [trt.float32]
    # No expression builder exists without a GPU. The plugin asks nothing of it.
    expressions = [object() for _ in range(count)]
    assert made_one.get_output_shapes(expressions, [], None) == [expressions[0]]


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (7, 129), (90, 120), (256, 512), (1024, 2048)])
def test_workspace_holds_what_the_program_plans(
    plugin: ModuleType,
    trt: ModuleType,
    operator: str,
    size: tuple[int, int],
    driver: RecordingDriver,
) -> None:
    made_one = made(plugin, operator, driver)
    dims = shapes(operator, *size)
    inputs = [dynamic(trt, entry) for entry in dims]
    height, width = size
    pixels = height * width
    sizes = {
        "GuidedCrf": [40 * pixels, 4 * CLASSES * pixels],
        "MeanField": [4 * (1 << (6 * pixels - 1).bit_length())],
    }[operator]
    assert made_one.get_workspace_size(inputs, inputs[:1]) == sum(
        -(-size // 256) * 256 for size in sizes
    )


@pytest.mark.parametrize("operator", OPERATORS)
def test_enqueue_launches_the_program(
    plugin: ModuleType, trt: ModuleType, operator: str, driver: RecordingDriver
) -> None:
    dims = shapes(operator, 6, 9)
    run(trt, made(plugin, operator, driver), dims)
    program = FILE.programs[operator]
    named = {
        tensor.name: found[-len(tensor.shape) :]
        for tensor, found in zip(program.inputs, dims, strict=True)
    }
    planned = plan(program, named, ATTRIBUTES[operator])
    assert [step[0] for step in driver.done] == [step.kernel for step in planned.launches]
    assert [step[1] for step in driver.done if step[1]] == [
        step.grid for step in planned.launches if any(step.grid)
    ]
    assert {step[2] for step in driver.done} == {STREAM}


STREAM = 4711


def run(trt: ModuleType, made_one: Any, dims: Sequence[Sequence[int]]) -> None:
    """As TensorRT calls a plugin at run time."""
    inputs = [described(trt, entry) for entry in dims]
    outputs = inputs[:1]
    made_one.set_tactic(0)
    made_one.on_shape_change(inputs, outputs)
    addresses = [4096 * (i + 1) for i in range(len(inputs))]
    made_one.enqueue(inputs, outputs, addresses, [0x100000], 0x200000, STREAM)


def test_enqueue_loads_nothing(
    plugin: ModuleType, trt: ModuleType, driver: RecordingDriver
) -> None:
    made_one = made(plugin, "GuidedCrf", driver)
    inputs = [described(trt, dims) for dims in shapes("GuidedCrf", 6, 9)]
    made_one.on_shape_change(inputs, inputs[:1])
    loaded = len(driver.loaded)
    made_one.enqueue(inputs, inputs[:1], [1, 2, 3], [4], 5, 6)
    assert len(driver.loaded) == loaded > 0


def test_a_wrong_order_of_calls_is_an_error(
    plugin: ModuleType, trt: ModuleType, driver: RecordingDriver
) -> None:
    inputs = [described(trt, dims) for dims in shapes("GuidedCrf", 6, 9)]
    with pytest.raises(RunnerError, match="enqueue came before on_shape_change"):
        made(plugin, "GuidedCrf", driver).enqueue(inputs, inputs[:1], [1, 2, 3], [4], 5, 6)
    assert "enqueue" in plugin.last_failure()


def test_other_classes_than_the_kernels_are_refused(
    plugin: ModuleType, trt: ModuleType, driver: RecordingDriver
) -> None:
    dims = [(1, 7, 4, 5), (1, 3, 4, 5), (7, 7)]
    inputs = [dynamic(trt, entry) for entry in dims]
    made_one = made(plugin, "GuidedCrf", driver)
    with pytest.raises(RunnerError, match="7 classes, but the bundle's kernels are compiled for 5"):
        made_one.configure_plugin(inputs, inputs[:1])
    plugin.last_failure()


def test_dropped_plugins_stay_alive(plugin: ModuleType, driver: RecordingDriver) -> None:
    # TensorRT 10.3 calls into them still.
    identity = id(made(plugin, "GuidedCrf", driver))
    gc.collect()
    assert identity in {id(kept) for kept in plugin._KEPT}
