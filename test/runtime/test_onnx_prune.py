from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper
from tiny_bundle import write_tiny_bundle

from seg_perception.runtime.onnx_prune import keep_outputs


def value(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [2])


def serialized(nodes: list[onnx.NodeProto], outputs: list[str], **options: Any) -> bytes:
    graph = helper.make_graph(nodes, "g", [value("x")], [value(name) for name in outputs])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("seg_perception", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, **options)
    return bytes(model.SerializeToString())


def run(model: bytes, outputs: list[str]) -> list[NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == outputs
    return list(session.run(outputs, {"x": np.array([-1, 2], np.float32)}))


def node_kinds(model: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(model).graph.node]


def test_only_the_nodes_on_the_way_to_the_outputs_stay() -> None:
    model = serialized(
        [
            helper.make_node("Neg", ["x"], ["shared"]),
            helper.make_node("Exp", ["shared"], ["a"]),
            helper.make_node("Abs", ["shared"], ["between"]),
            helper.make_node("Sqrt", ["between"], ["b"]),
        ],
        ["a", "b"],
    )
    assert node_kinds(keep_outputs(model, ["a"])) == ["Neg", "Exp"]
    assert node_kinds(keep_outputs(model, ["b"])) == ["Neg", "Abs", "Sqrt"]
    np.testing.assert_array_equal(
        run(keep_outputs(model, ["b"]), ["b"])[0], run(model, ["a", "b"])[1]
    )


def test_keeping_everything_changes_nothing() -> None:
    model = serialized([helper.make_node("Neg", ["x"], ["a"])], ["a"])
    assert keep_outputs(model, ["a"]) == model


def test_an_output_that_others_need_is_computed_but_not_given() -> None:
    model = serialized(
        [helper.make_node("Neg", ["x"], ["a"]), helper.make_node("Exp", ["a"], ["b"])], ["a", "b"]
    )
    pruned = keep_outputs(model, ["b"])
    assert node_kinds(pruned) == ["Neg", "Exp"]
    run(pruned, ["b"])


def test_left_out_optional_values_connect_nothing() -> None:
    model = serialized(
        [
            helper.make_node("Dropout", ["x"], ["unused", ""]),
            helper.make_node("Clip", ["x", "", ""], ["a"]),
        ],
        ["a"],
    )
    assert node_kinds(keep_outputs(model, ["a"])) == ["Clip"]


def test_what_a_branch_reads_from_outside_stays() -> None:
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(kind, ["outside"], [f"{name}_out"])], name, [], [value(f"{name}_out")]
        )
        for name, kind in (("then", "Neg"), ("else", "Exp"))
    }
    zero = helper.make_tensor("zero", TensorProto.FLOAT, [2], [0.0, 0.0])
    model = serialized(
        [
            helper.make_node("Abs", ["x"], ["outside"]),
            helper.make_node("Constant", [], ["zero"], value=zero),
            helper.make_node("Greater", ["x", "zero"], ["positive"]),
            helper.make_node("Cast", ["positive"], ["number"], to=TensorProto.INT32),
            helper.make_node("ReduceMax", ["number"], ["any"], keepdims=0),
            helper.make_node("Cast", ["any"], ["condition"], to=TensorProto.BOOL),
            helper.make_node("If", ["condition"], ["a"], **branches),
            helper.make_node("Sqrt", ["x"], ["b"]),
        ],
        ["a", "b"],
    )
    pruned = keep_outputs(model, ["a"])
    assert node_kinds(pruned) == node_kinds(model)[:-1]
    np.testing.assert_array_equal(run(pruned, ["a"])[0], [-1, -2])


def test_local_functions_stay_callable() -> None:
    function = helper.make_function(
        "seg_perception",
        "Twice",
        ["v"],
        ["w"],
        [helper.make_node("Add", ["v", "v"], ["w"])],
        [helper.make_opsetid("", 17)],
    )
    model = serialized(
        [
            helper.make_node("Twice", ["x"], ["a"], domain="seg_perception"),
            helper.make_node("Neg", ["x"], ["b"]),
        ],
        ["a", "b"],
        functions=[function],
    )
    np.testing.assert_array_equal(run(keep_outputs(model, ["a"]), ["a"])[0], [-2, 4])


def test_a_real_model_loses_just_what_the_evaluation_needs(tmp_path: Path) -> None:
    model = (write_tiny_bundle(tmp_path) / "model.onnx").read_bytes()
    outputs = ["labels", "confidence", "entropy", "code", "labels_unrefined"]
    pruned = onnx.load_from_string(keep_outputs(model, outputs))
    onnx.checker.check_model(pruned, full_check=True)
    assert [output.name for output in pruned.graph.output] == outputs
    lost = len(onnx.load_from_string(model).graph.node) - len(pruned.graph.node)
    # Two maps, each Where -> ArgMax -> Cast, and the mask they share.
    assert lost == 2 * 3 + 1


@given(data=st.data())
def test_truncated_or_altered_bytes_never_crash(data: st.DataObject) -> None:
    model = bytearray(serialized([helper.make_node("Neg", ["x"], ["a"])], ["a"]))
    for _ in range(data.draw(st.integers(0, 3))):
        model[data.draw(st.integers(0, len(model) - 1))] = data.draw(st.integers(0, 255))
    del model[data.draw(st.integers(0, len(model))) :]
    try:
        keep_outputs(bytes(model), ["a"])
    except ValueError as error:
        assert str(error)  # noqa: PT017 - either outcome is right, a crash is not


@pytest.mark.parametrize("end", [1, 20, -1])
def test_a_truncated_model_is_noticed(end: int) -> None:
    model = serialized([helper.make_node("Neg", ["x"], ["a"])], ["a"])
    with pytest.raises(ValueError, match="truncated at byte"):
        keep_outputs(model[:end], ["a"])
