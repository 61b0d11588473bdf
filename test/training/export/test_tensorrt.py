"""Exported chains on their way into TensorRT: operators, plugins and programs fit each other."""

from __future__ import annotations

import dataclasses
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from simulated_gpu import SimulatedGpu, SimulatedTensorRT
from tiny_training import TINY_DENOISER, TINY_UNARY, tiny_samples

from seg_perception.classes import CAMVID_CLASSES, CAMVID_GROUPS
from seg_perception.errors import RunnerError
from seg_perception.runtime.bundle import Bundle
from seg_perception.runtime.engine_cache import EngineCache
from seg_perception.runtime.kernel_programs import plan
from seg_perception.runtime.onnx_tensorrt import custom_operators, for_tensorrt
from seg_perception.runtime.tensorrt_open import EngineOptions, open_on
from training.export.bundle import About, write_bundle
from training.model import Segmenter
from training.refiners import GuidedCrfConfig, MeanFieldConfig

SIZE = (32, 48)
CHAIN = (GuidedCrfConfig(), MeanFieldConfig(sxy=20.0, srgb=15.0, iterations=1, stride=4))
LOOPED = dataclasses.replace(TINY_DENOISER, iterations=2, step_size=0.5, tolerance=0.0)


def exported(folder: Path, *refiners: Any) -> Bundle:
    torch.manual_seed(0)
    model = Segmenter(11, TINY_UNARY, refiners).train()
    for _ in range(20):
        model.unary(torch.rand(4, 3, *SIZE) * 255)
    about = About("tiny", CAMVID_CLASSES, CAMVID_GROUPS, {}, [], {})
    return write_bundle(model.eval(), SIZE, about, folder / "bundle")


@pytest.fixture(scope="module")
def operators(tmp_path_factory: pytest.TempPathFactory) -> list[onnx.NodeProto]:
    """The nodes of a chain's custom operators, as TensorRT's parser sees them."""
    bundle = exported(tmp_path_factory.mktemp("chain"), *CHAIN)
    model = bundle.read("model.onnx")
    assert custom_operators(model) == set(bundle.manifest.custom_ops) == {"GuidedCrf", "MeanField"}
    rewritten = for_tensorrt(model, plugins=bundle.manifest.custom_ops, namespace="ours", half=True)
    found = onnx.load_from_string(rewritten)
    assert not found.functions
    return [node for node in found.graph.node if node.domain == "seg_perception"]


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    given = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
    assert given.pop("plugin_namespace") == b"ours"
    return given


def test_attributes_are_those_of_the_plugins(
    operators: list[onnx.NodeProto], trt: ModuleType
) -> None:
    plugins = import_module("seg_perception.runtime.plugins.plugin").PLUGINS
    expected = {plugin.operator: dict(plugin.attribute_types) for plugin in plugins}
    assert expected == {
        node.op_type: {name: type(value) for name, value in attributes_of(node).items()}
        for node in operators
    }


def test_inputs_and_attributes_are_those_of_the_programs(
    operators: list[onnx.NodeProto],
) -> None:
    pytest.importorskip("triton", reason="the programs stand beside the kernels, in Triton")
    sources = import_module("training.kernels.sources").kernel_sources(11, "float32")
    programs = import_module("training.kernels.programs").programs(sources, "float32")
    sizes = {"C": 11, "H": SIZE[0] // 4, "W": SIZE[1] // 4}
    for node in operators:
        program = programs[node.op_type]
        assert len(node.input) == len(program.inputs)
        shapes = {
            tensor.name: [sizes.get(entry) or int(entry) for entry in tensor.shape]
            for tensor in program.inputs
        }
        assert plan(program, shapes, attributes_of(node)).launches


def test_an_engine_takes_the_steps_of_the_manifest(tmp_path: Path) -> None:
    bundle, gpu = exported(tmp_path, GuidedCrfConfig(), LOOPED), SimulatedGpu()
    tensorrt, cache = SimulatedTensorRT(gpu), EngineCache(tmp_path / "cache")
    runner = open_on(bundle, gpu, tensorrt, cache, EngineOptions("fp16"), "")  # type: ignore[arg-type]
    model = onnx.load_from_string(tensorrt.built[0])
    assert [entry.name for entry in model.graph.input] == ["image"]
    image = tiny_samples(1, *SIZE)[0].image[None]
    same = {"refiner_iterations": np.array([2], np.int64)}
    np.testing.assert_array_equal(
        runner.run({"image": image, **same})["labels"], runner.run({"image": image})["labels"]
    )
    with pytest.raises(RunnerError, match=r"refiner_iterations is \[5\], .* built for \[2\]"):
        runner.run({"image": image, "refiner_iterations": np.array([5], np.int64)})
