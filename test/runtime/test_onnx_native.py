"""Our operators in the compiled filters, between sessions of ONNX Runtime."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
import pytest
from filters.scenes import picture, scores_of
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from seg_perception.errors import FilterError
from seg_perception.filters import dense_crf, guided_crf
from seg_perception.runtime.onnx_cut import CutModel
from seg_perception.runtime.onnx_native import CutSession, runs_in_filters

CLASSES, HEIGHT, WIDTH = 4, 40, 48
GUIDED = {"radius": 2, "eps": 1.0, "iterations": 2}
DENSE = {"sxy_spatial": 3.0, "sxy": 20.0, "srgb": 8.0, "iterations": 2}
Array = NDArray[Any]


def matrix(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 1, (CLASSES, CLASSES)).astype(np.float32)


def model(
    guided: Mapping[str, Any] = GUIDED, dense: Mapping[str, Any] = DENSE, domain: str = ""
) -> CutModel:
    """An image and scores through both operators, one behind the other, and a doubling after."""
    domain = domain or "seg_perception"
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["guide"], perm=[0, 3, 1, 2]),
        helper.make_node(
            "GuidedCrf", ["scores", "guide", "m0"], ["first"], domain=domain, **guided
        ),
        helper.make_node(
            "MeanField", ["first", "guide", "m1", "m2", "m3"], ["second"], domain=domain, **dense
        ),
        helper.make_node("Add", ["second", "second"], ["refined"]),
    ]
    shape = [1, CLASSES, HEIGHT, WIDTH]
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, [1, HEIGHT, WIDTH, 3]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, shape),
        ],
        [
            helper.make_tensor_value_info("refined", TensorProto.FLOAT, shape),
            helper.make_tensor_value_info("first", TensorProto.FLOAT, shape),
        ],
        [numpy_helper.from_array(matrix(i), f"m{i}") for i in range(4)],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(domain, 1)]
    encoded = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return CutModel(encoded, runs_in_filters)


def start(encoded: bytes) -> Any:
    return onnxruntime.InferenceSession(encoded, providers=["CPUExecutionProvider"])


def inputs(seed: int = 0) -> dict[str, Array]:
    image = picture(HEIGHT, WIDTH, seed)[None]
    return {"image": image, "scores": scores_of(CLASSES, HEIGHT, WIDTH, seed)[None]}


@pytest.fixture(scope="module")
def session() -> CutSession:
    return CutSession(model(), start, 2)


def test_operators_are_the_filters_functions(session: CutSession) -> None:
    given = inputs()
    refined, first = session.run(["refined", "first"], given)
    image, scores = given["image"][0], given["scores"][0]
    expected = guided_crf(
        scores, image, radius=2, eps=1.0, weight=1.0, compatibility=matrix(0), iterations=2
    )
    np.testing.assert_array_equal(first[0], expected)
    expected = dense_crf(
        expected,
        image,
        spatial=(3.0, matrix(1)),
        bilateral=(20.0, 8.0, matrix(2)),
        compatibility=matrix(3),
        iterations=2,
    )
    np.testing.assert_allclose(refined[0], 2 * expected, atol=1e-3)


def test_looks_like_a_session_of_the_whole_model(session: CutSession) -> None:
    found = [(v.name, v.type, v.shape) for v in session.get_inputs()]
    assert found == [
        ("image", "tensor(uint8)", [1, HEIGHT, WIDTH, 3]),
        ("scores", "tensor(float)", [1, CLASSES, HEIGHT, WIDTH]),
    ]
    found = [(v.name, v.type, v.shape) for v in session.get_outputs()]
    assert found == [
        ("refined", "tensor(float)", [1, CLASSES, HEIGHT, WIDTH]),
        ("first", "tensor(float)", [1, CLASSES, HEIGHT, WIDTH]),
    ]


@pytest.mark.parametrize("change", [{"circular": 1}, {"radius": None}])
def test_operators_with_other_attributes_are_left_to_their_bodies(change: dict[str, Any]) -> None:
    changed = {name: x for name, x in {**GUIDED, **change}.items() if x is not None}
    assert [call.operator for call in model(guided=changed).calls] == ["MeanField"]


def test_operators_of_others_are_left_to_them() -> None:
    assert model(domain="somebody").calls == ()


def test_scores_that_are_not_finite_are_an_error(session: CutSession) -> None:
    given = inputs()
    given["scores"][0, 0, 3, 4] = np.nan
    with pytest.raises(FilterError, match="NaN or infinities"):
        session.run(["refined"], given)


def test_only_tensors_cross_a_cut() -> None:
    shape = [1, CLASSES, HEIGHT, WIDTH]
    nodes = [
        helper.make_node("SequenceConstruct", ["scores", "scores"], ["many"]),
        helper.make_node(
            "GuidedCrf", ["scores", "guide", "m"], ["a"], domain="seg_perception", **GUIDED
        ),
        helper.make_node("SequenceAt", ["many", "second"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("SequenceInsert", ["many", "c"], ["more"]),
        helper.make_node("SequenceAt", ["more", "second"], ["d"]),
    ]
    given = {"scores": shape, "guide": [1, 3, HEIGHT, WIDTH]}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, size) for n, size in given.items()],
        [helper.make_tensor_value_info("d", TensorProto.FLOAT, shape)],
        [
            numpy_helper.from_array(matrix(0), "m"),
            numpy_helper.from_array(np.array(1, np.int64), "second"),
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("seg_perception", 1)]
    encoded = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    with pytest.raises(ValueError, match=r"many is seq\(tensor\(float\)\): only tensors"):
        CutSession(CutModel(encoded, runs_in_filters), start, 1)


def test_several_threads_may_run_at_once(session: CutSession) -> None:
    expected = {seed: session.run(["refined"], inputs(seed))[0] for seed in range(4)}
    wrong: list[int] = []

    def work(seed: int) -> None:
        for _ in range(10):
            found = session.run(["refined"], inputs(seed))[0]
            if np.abs(found - expected[seed]).max() > 1e-3:
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
