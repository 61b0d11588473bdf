"""The rewritten model computes the same, which ONNX Runtime can say; and has the form asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tiny_bundle import write_tiny_bundle

from seg_perception.runtime.bundle import MODEL_FILE, Bundle, check_bundle, load_bundle
from seg_perception.runtime.onnx_prune import keep_outputs
from seg_perception.runtime.onnx_tensorrt import DOMAIN, custom_operators, for_tensorrt

ROOT = Path(__file__).resolve().parent.parent.parent
RNG = np.random.default_rng(0)


def value(name: str, shape: Sequence[int], type_: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, type_, shape)


def weight(name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array(RNG.normal(size=shape).astype(np.float32), name)


def serialized(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    weights: Sequence[onnx.TensorProto] = (),
    functions: Sequence[onnx.FunctionProto] = (),
) -> bytes:
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(weights))
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=functions)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def run(model: bytes, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(inputs)))


def graph_of(model: bytes) -> onnx.GraphProto:
    found = onnx.load_from_string(model)
    onnx.checker.check_model(found)
    return found.graph


def kinds(model: bytes) -> list[str]:
    return [node.op_type for node in graph_of(model).node]


def doubling() -> onnx.FunctionProto:
    """`GuidedCrf` and `Other` for short: twice the scores."""
    return helper.make_function(
        DOMAIN,
        "GuidedCrf",
        ["scores"],
        ["refined"],
        [helper.make_node("Add", ["scores", "scores"], ["refined"])],
        [helper.make_opsetid("", 18)],
        attributes=["radius"],
    )


def with_functions() -> bytes:
    other = doubling()
    other.name = "Other"
    return serialized(
        [
            helper.make_node("GuidedCrf", ["x"], ["between"], domain=DOMAIN, radius=3),
            helper.make_node("Other", ["between"], ["y"], domain=DOMAIN, radius=4),
        ],
        [value("x", [2])],
        [value("y", [2])],
        functions=[doubling(), other],
    )


def test_plugins_take_the_place_of_their_functions() -> None:
    rewritten = onnx.load_from_string(
        for_tensorrt(with_functions(), plugins=["GuidedCrf"], namespace="seg_perception.abc")
    )
    assert [function.name for function in rewritten.functions] == ["Other"]
    guided, other = rewritten.graph.node
    assert {entry.name: helper.get_attribute_value(entry) for entry in guided.attribute} == {
        "radius": 3,
        "plugin_namespace": b"seg_perception.abc",
    }
    assert [entry.name for entry in other.attribute] == ["radius"]


def test_without_plugins_the_functions_stay() -> None:
    model = for_tensorrt(with_functions())
    np.testing.assert_array_equal(run(model, {"x": np.float32([1, 2])})[0], [4, 8])


def test_knows_the_custom_operators() -> None:
    assert custom_operators(with_functions()) == {"GuidedCrf", "Other"}


def test_uint8_lives_at_the_borders_only() -> None:
    model = serialized(
        [
            helper.make_node("Transpose", ["image"], ["turned"], perm=[1, 0]),
            helper.make_node("Cast", ["turned"], ["wide"], to=TensorProto.FLOAT),
            helper.make_node("Div", ["wide", "seven"], ["parts"]),
            helper.make_node("Cast", ["parts"], ["cut"], to=TensorProto.UINT8),
            helper.make_node("Greater", ["wide", "seven"], ["large"]),
            helper.make_node("Where", ["large", "turned", "cut"], ["labels"]),
            helper.make_node("Shape", ["labels"], ["size"]),
        ],
        [value("image", [3, 4], TensorProto.UINT8)],
        [value("labels", [4, 3], TensorProto.UINT8), value("size", [2], TensorProto.INT64)],
        [numpy_helper.from_array(np.float32(7.0), "seven")],
    )
    rewritten = for_tensorrt(model)
    image = RNG.integers(0, 256, (3, 4), np.uint8)
    for found, expected in zip(
        run(rewritten, {"image": image}), run(model, {"image": image}), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    assert TensorProto.UINT8 not in types_inside(rewritten)


def test_a_cast_may_have_further_attributes() -> None:
    """Since opset 19 it says how to saturate, which matters to float8 only."""
    cast = helper.make_node("Cast", ["image"], ["scores"], to=TensorProto.FLOAT)
    takes = [value("image", [3, 4], TensorProto.UINT8)]
    model = onnx.load_from_string(serialized([cast], takes, [value("scores", [3, 4])], []))
    model.opset_import[0].version = 19
    model.graph.node[0].attribute.append(helper.make_attribute("saturate", 1))
    rewritten = for_tensorrt(model.SerializeToString())
    image = RNG.integers(0, 256, (3, 4), np.uint8)
    np.testing.assert_array_equal(run(rewritten, {"image": image})[0], image)


def types_inside(model: bytes) -> set[int]:
    """Of all values but inputs and outputs."""
    inferred = onnx.shape_inference.infer_shapes(onnx.load_from_string(model), strict_mode=True)
    return {entry.type.tensor_type.elem_type for entry in inferred.graph.value_info}


def small_network() -> bytes:
    """Two convolutions and a skip on the image; and a convolution of what evidence says."""
    stored = numpy_helper.from_array(RNG.normal(size=(4, 3, 3, 3)).astype(np.float16), "w1.stored")
    return serialized(
        [
            helper.make_node("Cast", ["w1.stored"], ["w1"], to=TensorProto.FLOAT),
            helper.make_node("Conv", ["image", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c1"], ["r1"]),
            helper.make_node("Conv", ["r1", "w2"], ["c2"], pads=[1, 1, 1, 1]),
            helper.make_node("Add", ["c2", "r1"], ["sum"]),
            helper.make_node("Exp", ["sum"], ["scores"]),
            helper.make_node("Conv", ["evidence", "w2"], ["known"], pads=[1, 1, 1, 1]),
            helper.make_node("Add", ["scores", "known"], ["corrected"]),
        ],
        [value("image", [1, 3, 8, 8]), value("evidence", [1, 4, 8, 8])],
        [value("corrected", [1, 4, 8, 8]), value("r1", [1, 4, 8, 8])],
        [stored, weight("b1", 4), weight("w2", 4, 4, 3, 3)],
    )


def inputs_of_the_network() -> dict[str, NDArray[np.float32]]:
    shapes = {"image": (1, 3, 8, 8), "evidence": (1, 4, 8, 8)}
    return {name: 0.1 * RNG.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def test_weights_become_float32_weights() -> None:
    model = small_network()
    rewritten = for_tensorrt(model)
    assert kinds(rewritten)[0] == "Conv"
    assert {w.name: w.data_type for w in graph_of(rewritten).initializer} == dict.fromkeys(
        ("b1", "w2", "w1"), TensorProto.FLOAT
    )
    inputs = inputs_of_the_network()
    np.testing.assert_array_equal(run(rewritten, inputs)[0], run(model, inputs)[0])


def test_float16_covers_the_network_and_not_the_correction() -> None:
    model = small_network()
    rewritten = for_tensorrt(model, half=True)
    nodes = {tuple(node.output): list(node.input) for node in graph_of(rewritten).node}
    assert nodes[("c1.float16",)] == ["image.float16", "w1.float16", "b1.float16"]
    assert nodes[("sum.float16",)] == ["c2.float16", "r1.float16"]
    assert nodes[("scores",)] == ["sum"]
    assert nodes[("known",)] == ["evidence", "w2"]
    # r1 is an output of the graph, sum has a reader in float32; c1 and c2 have neither.
    assert [kind for kind in kinds(rewritten) if kind == "Cast"] == ["Cast"] * 3
    inputs = inputs_of_the_network()
    exact, half = run(model, inputs)[0], run(rewritten, inputs)[0]
    assert 0 < np.abs(half - exact).max() < 0.02 * np.abs(exact).max()


def test_float16_weights_are_stored_once() -> None:
    weights = {
        w.name: w.data_type for w in graph_of(for_tensorrt(small_network(), half=True)).initializer
    }
    assert weights == {
        "w1.float16": TensorProto.FLOAT16,
        "b1.float16": TensorProto.FLOAT16,
        "w2.float16": TensorProto.FLOAT16,
        "w2": TensorProto.FLOAT,  # the evidence's convolution reads it too
    }


def test_counts_of_loops_become_constants() -> None:
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Add", ["before", "x"], ["after"]),
        ],
        "body",
        [
            value("i", [], TensorProto.INT64),
            value("go", [], TensorProto.BOOL),
            value("before", [2]),
        ],
        [value("go_on", [], TensorProto.BOOL), value("after", [2])],
    )
    model = serialized(
        [
            helper.make_node("Squeeze", ["steps"], ["count"]),
            helper.make_node("Loop", ["count", "", "x"], ["y"], body=body),
        ],
        [value("x", [2]), value("steps", [1], TensorProto.INT64)],
        [value("y", [2])],
    )
    steps = np.array([3], np.int64)
    rewritten = for_tensorrt(model, constants={"steps": steps, "not there": steps})
    assert [entry.name for entry in graph_of(rewritten).input] == ["x"]
    x = np.float32([1, 2])
    np.testing.assert_array_equal(run(rewritten, {"x": x})[0], 4 * x)


class Rewritten:
    """Runs a bundle's rewritten model in ONNX Runtime; what `check_bundle` needs."""

    def __init__(self, bundle: Bundle, *, half: bool) -> None:
        outputs = bundle.manifest.default_outputs
        model = for_tensorrt(keep_outputs(bundle.read(MODEL_FILE), outputs), half=half)
        self._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])

    def run(
        self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        names = [entry.name for entry in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, dict(inputs)), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("half", [False, True])
def test_the_default_model_passes_its_self_test(half: bool) -> None:
    bundle = load_bundle(ROOT / "models" / "default")
    check_bundle(bundle, Rewritten(bundle, half=half))


@pytest.mark.slow
def test_the_default_model_has_what_the_parser_takes() -> None:
    bundle = load_bundle(ROOT / "models" / "default")
    pruned = keep_outputs(bundle.read(MODEL_FILE), bundle.manifest.default_outputs)
    rewritten = onnx.load_from_string(for_tensorrt(pruned, half=True))
    graph = onnx.shape_inference.infer_shapes(rewritten, strict_mode=True).graph
    types = {
        entry.name: entry.type.tensor_type.elem_type
        for entry in (*graph.value_info, *graph.input, *graph.output)
    }
    types |= {entry.name: entry.data_type for entry in graph.initializer}
    refused = {
        (node.op_type, TensorProto.DataType.Name(types[name]))
        for node in graph.node
        for name in node.input[:1]
        if TensorProto.DataType.Name(types[name]) not in TAKEN.get(node.op_type, ())
    }
    assert refused == set()


REALS = ("FLOAT", "FLOAT16")
NUMBERS = (*REALS, "INT32", "INT64")
ANY = (*NUMBERS, "BOOL")
TAKEN = {
    **dict.fromkeys(("Conv", "Relu", "MaxPool", "AveragePool", "Resize", "Clip"), REALS),
    **dict.fromkeys(("MatMul", "Softplus", "Exp", "Log", "Sqrt", "Reciprocal", "Pad"), REALS),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Mod", "Min", "Max", "Neg"), NUMBERS),
    **dict.fromkeys(("Pow", "Abs", "ReduceSum", "ReduceMean", "ReduceMax", "ArgMax"), NUMBERS),
    **dict.fromkeys(
        ("Greater", "GreaterOrEqual", "Less", "Equal", "TopK", "ConstantOfShape"), NUMBERS
    ),
    **dict.fromkeys(("Shape", "Reshape", "Slice", "Concat", "Unsqueeze", "Squeeze"), ANY),
    **dict.fromkeys(("Gather", "Flatten", "Transpose", "Split", "Expand", "Where", "Tile"), ANY),
    **dict.fromkeys(("And", "Or", "Not"), ("BOOL",)),
    "Cast": (*ANY, "UINT8"),
}
"""Types of the first input that TensorRT 10.1's ONNX parser documents for an operator
(onnx-tensorrt, docs/operators.md); newer parsers take more."""


@pytest.mark.parametrize("code_size", [0, 4])
def test_the_tiny_model_passes_its_self_test(tmp_path: Path, code_size: int) -> None:
    bundle = load_bundle(write_tiny_bundle(tmp_path, code_size=code_size))
    check_bundle(bundle, Rewritten(bundle, half=True))


def test_refuses_what_is_no_protobuf() -> None:
    with pytest.raises(ValueError, match=r"truncated|unknown wire type"):
        for_tensorrt(b"\x0a\xff\x01")
