from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from tiny_training import TINY_CODE, TINY_UNARY

from seg_perception.runtime.bundle import input_specs
from training.export.folding import fold_constants
from training.export.graph import CodeGraph
from training.export.onnx_file import exportable, to_onnx
from training.model import Segmenter


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    answer: np.ndarray = session.run(None, {"x": x})[0]
    return answer


def test_what_follows_from_shapes_and_weights_becomes_a_constant() -> None:
    """Also where only the graph inside a node reads it, and only after another was folded."""
    inner = helper.make_graph(
        [helper.make_node("Add", ["doubled", "flat"], ["sum"])],
        "inner",
        [],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "first"], ["rows"]),
        helper.make_node("Mul", ["rows", "three"], ["size"]),
        helper.make_node("Reshape", ["x", "size"], ["flat"]),
        helper.make_node("Shape", ["flat"], ["later"]),
        helper.make_node("Expand", ["weight", "later"], ["wide"]),
        helper.make_node("Add", ["wide", "wide"], ["doubled"]),
        helper.make_node("If", ["yes"], ["y"], then_branch=inner, else_branch=inner),
    ]
    weights = {
        "first": np.array([0]),
        "three": np.array([3]),
        "weight": np.float32([2]),
        "yes": np.array(True),
    }
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [6])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    expected = run(model, x)
    fold_constants(model)
    assert [node.op_type for node in model.graph.node] == ["Reshape", "If"]
    assert {weight.name for weight in model.graph.initializer} == {"size", "doubled", "yes"}
    np.testing.assert_array_equal(run(model, x), expected)


def test_no_arithmetic_on_shapes_is_left_in_an_exported_graph() -> None:
    model = Segmenter(11, TINY_UNARY, (TINY_CODE,)).eval()
    graph = CodeGraph(exportable(model), (32, 48)).eval()
    assert model.code is not None
    with torch.no_grad():
        inputs = input_specs(32, 48, 11, model.code.size(32, 48), 32)
        kinds = {node.op_type for node in to_onnx(graph, inputs, graph.outputs).graph.node}
    assert kinds.isdisjoint({"Shape", "Constant", "ConstantOfShape", "Mod"})
