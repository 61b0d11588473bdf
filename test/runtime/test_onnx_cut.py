"""Models cut at nodes that others run: the pieces together compute what the whole does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from seg_perception.runtime.onnx_cut import Call, CutModel
from seg_perception.runtime.onnx_wire import TensorType

FLOATS = TensorType(TensorProto.FLOAT, (2,))
X = np.array([-1.0, 2.0], np.float32)
Array = NDArray[Any]


def value(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [2])


def node(kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [output], **attributes)


def call(inputs: Sequence[str], output: str, **attributes: Any) -> onnx.NodeProto:
    """A node to take out: ``Mix(a, b) = a + 2 b``, which has a body, too."""
    return node("Mix", inputs, output, domain="ours", **attributes)


def serialized(
    nodes: Sequence[onnx.NodeProto],
    outputs: Sequence[str],
    weights: dict[str, Array] | None = None,
    inputs: Sequence[str] = ("x", "y"),
    **options: Any,
) -> bytes:
    body = [
        helper.make_node("Add", ["b", "b"], ["bb"]),
        helper.make_node("Add", ["a", "bb"], ["c"]),
    ]
    opsets = [helper.make_opsetid("", 17)]
    mix = helper.make_function("ours", "Mix", ["a", "b"], ["c"], body, opsets)
    initializers = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(
        nodes,
        "g",
        [value(name) for name in inputs],
        [value(name) for name in outputs],
        initializers,
    )
    opsets.append(helper.make_opsetid("ours", 1))
    options = {"ir_version": 8, **options}
    model = helper.make_model(graph, opset_imports=opsets, functions=[mix], **options)
    return bytes(model.SerializeToString())


def is_mix(found: Call) -> bool:
    return (found.domain, found.operator) == ("ours", "Mix")


def run(model: bytes, names: Sequence[str], inputs: dict[str, Array]) -> list[Array]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    assert {given.name for given in session.get_inputs()} == inputs.keys()
    return list(session.run(list(names), inputs))


def run_pieces(cut: CutModel, inputs: dict[str, Array]) -> list[Array]:
    values = dict(inputs)
    if cut.constants:
        values |= zip(
            cut.constants, run(cut.piece(cut.constants, {}), cut.constants, {}), strict=True
        )
    for stage in cut.stages:
        if stage.wanted:
            piece = cut.piece(stage.wanted, dict.fromkeys(stage.given, FLOATS))
            given = {name: values[name] for name in stage.given}
            values |= zip(stage.wanted, run(piece, stage.wanted, given), strict=True)
        for one in stage.calls:
            a, b = (values[name] for name in one.inputs)
            values[one.output] = a + 2 * b
    return [values[name] for name in cut.outputs]


def check(model: bytes, inputs: Sequence[str] = ("x", "y")) -> CutModel:
    """The pieces answer as the whole model does."""
    given = {name: X * (i + 1) for i, name in enumerate(inputs)}
    cut = CutModel(model, is_mix)
    assert cut.inputs == dict.fromkeys(inputs, FLOATS)
    whole = run(model, list(cut.outputs), given)
    for found, expected in zip(run_pieces(cut, given), whole, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    return cut


def test_a_node_in_the_middle_is_taken_out() -> None:
    nodes = [node("Neg", ["x"], "a"), call(["a", "y"], "b"), node("Exp", ["b"], "c")]
    cut = check(serialized(nodes, ["c"]))
    first, second = cut.stages
    assert (first.given, first.wanted) == (("x",), ("a",))
    assert [(one.inputs, one.output) for one in first.calls] == [(("a", "y"), "b")]
    assert (second.given, second.wanted, second.calls) == (("b",), ("c",), ())


def test_a_model_without_such_nodes_is_one_piece() -> None:
    cut = check(serialized([node("Add", ["x", "y"], "a")], ["a"]))
    assert cut.calls == ()
    assert [stage.wanted for stage in cut.stages] == [("a",)]


def test_a_node_alone_needs_no_model() -> None:
    cut = check(serialized([call(["x", "y"], "a")], ["a"]))
    assert [stage.wanted for stage in cut.stages] == [(), ()]


def test_nodes_in_a_chain_and_side_by_side_share_models() -> None:
    nodes = [
        call(["x", "y"], "a"),
        call(["y", "x"], "b"),  # waits for nothing: in the first stage as well
        node("Add", ["a", "b"], "c"),
        call(["c", "a"], "d"),
        call(["d", "x"], "e"),  # right behind the one before
        node("Neg", ["e"], "f"),
    ]
    cut = check(serialized(nodes, ["f", "d", "b"]))
    assert [len(stage.calls) for stage in cut.stages] == [2, 1, 1, 0]
    assert [stage.wanted for stage in cut.stages] == [(), ("c",), (), ("f",)]


def test_values_cross_several_cuts_and_are_computed_once() -> None:
    nodes = [
        node("Exp", ["x"], "early"),
        call(["early", "y"], "a"),
        call(["a", "early"], "b"),
        node("Add", ["b", "early"], "c"),
    ]
    cut = check(serialized(nodes, ["c", "early"]))
    assert cut.stages[0].wanted == ("early",)
    assert cut.stages[2].given == ("b", "early")


def test_weights_and_what_is_made_of_them_are_in_every_piece_that_needs_them() -> None:
    half = {"stored": np.array([0.5, 3.0], np.float16), "plain": X, "unread": X}
    nodes = [
        node("Cast", ["stored"], "w", to=TensorProto.FLOAT),
        node("Mul", ["x", "w"], "a"),
        call(["a", "w"], "b"),
        call(["b", "plain"], "c"),
        node("Mul", ["c", "w"], "d"),
        node("Constant", [], "two", value=numpy_helper.from_array(2 * X)),
        node("Add", ["d", "two"], "e"),
    ]
    cut = check(serialized(nodes, ["e", "w"], half))
    assert cut.constants == ("plain", "w")
    assert [stage.given for stage in cut.stages] == [("x",), (), ("c",)]
    last = onnx.load_from_string(cut.piece(("e",), {"c": FLOATS}))
    assert [weight.name for weight in last.graph.initializer] == ["stored"]
    onnx.checker.check_model(last)


def test_weights_that_stand_among_the_inputs_stay_weights() -> None:
    nodes = [node("Mul", ["x", "w"], "a"), call(["a", "y"], "b"), node("Mul", ["b", "w"], "c")]
    old = serialized(nodes, ["c"], {"w": 3 * X}, ["x", "y", "w"], ir_version=3)
    cut = CutModel(old, is_mix)
    assert list(cut.inputs) == ["x", "y"]
    np.testing.assert_allclose(run_pieces(cut, {"x": X, "y": X})[0], (X * 3 * X + 2 * X) * 3 * X)


def test_what_a_subgraph_reads_crosses_and_its_own_nodes_stay_in_it() -> None:
    inside = helper.make_graph(
        [
            node("Identity", ["go"], "go_on"),
            call(["state", "crossing"], "mixed", name="stays"),
            node("Mul", ["mixed", "w"], "next"),
        ],
        "body",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            value("state"),
        ],
        [helper.make_tensor_value_info("go_on", TensorProto.BOOL, []), value("next")],
    )
    nodes = [
        node("Neg", ["x"], "crossing"),
        call(["crossing", "y"], "a"),
        node("Loop", ["steps", "", "a"], "b", body=inside),
        call(["b", "x"], "c"),
    ]
    weights = {"steps": np.array(3, np.int64), "w": np.array([0.5, 0.5], np.float32)}
    cut = check(serialized(nodes, ["c"], weights))
    assert [one.output for one in cut.calls] == ["a", "c"]
    assert cut.stages[1].given == ("a", "crossing")


def test_random_numbers_are_drawn_once() -> None:
    nodes = [
        node("RandomNormal", [], "noise", shape=[2]),
        call(["noise", "x"], "a"),
        node("Sub", ["a", "noise"], "b"),
    ]
    cut = CutModel(serialized(nodes, ["b"], inputs=["x"]), is_mix)
    assert cut.constants == ()
    np.testing.assert_allclose(run_pieces(cut, {"x": X})[0], 2 * X, atol=1e-6)


def test_calls_tell_the_numbers_among_their_attributes() -> None:
    nodes = [call(["x", "y"], "a", radius=300, eps=0.25, zero=0, note="text")]
    (found,) = CutModel(serialized(nodes, ["a"]), is_mix).calls
    assert found.attributes == {"radius": 300, "eps": 0.25, "zero": 0}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_graph_in_pieces_answers_as_the_whole(data: st.DataObject) -> None:
    known, nodes = ["x", "y", "w"], []
    for i in range(data.draw(st.integers(1, 12))):
        pair = [data.draw(st.sampled_from(known)) for _ in range(2)]
        is_call = data.draw(st.booleans())
        nodes.append(call(pair, f"v{i}") if is_call else node("Sub", pair, f"v{i}"))
        known.append(f"v{i}")
    made = known[3:]
    outputs = data.draw(st.lists(st.sampled_from(made), min_size=1, unique=True))
    check(serialized(nodes, outputs, {"w": 3 * X}))


@given(data=st.data())
def test_altered_bytes_never_crash(data: st.DataObject) -> None:
    nodes = [node("Neg", ["x"], "a"), call(["a", "y"], "b", eps=1.0), node("Exp", ["b"], "c")]
    model = bytearray(serialized(nodes, ["c"]))
    for _ in range(data.draw(st.integers(1, 3))):
        model[data.draw(st.integers(0, len(model) - 1))] = data.draw(st.integers(0, 255))
    try:
        CutModel(bytes(model), is_mix)
    except ValueError as error:
        assert str(error)  # noqa: PT017 - either outcome is right, a crash is not


def test_a_truncated_model_is_noticed() -> None:
    model = serialized([call(["x", "y"], "a")], ["a"])
    with pytest.raises(ValueError, match="truncated at byte"):
        CutModel(model[:-1], is_mix)
