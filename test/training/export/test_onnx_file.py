from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from tiny_training import TINY_CODE, TINY_UNARY
from torch import nn

from seg_perception.runtime.bundle import input_specs
from training.export.graph import UnaryGraph
from training.export.onnx_file import SMALLEST_HALVED, exportable, halve_weights, to_onnx
from training.model import Segmenter


@pytest.fixture(scope="module")
def model() -> Segmenter:
    """A model whose batch statistics are those of some training."""
    torch.manual_seed(0)
    model = Segmenter(11, TINY_UNARY, (TINY_CODE,)).train()
    for _ in range(3):
        model.unary(torch.rand(2, 3, 64, 96) * 255)
    return model


@torch.no_grad()
def test_an_exportable_copy_answers_alike(model: Segmenter) -> None:
    image = torch.rand(1, 3, 64, 96) * 255
    expected = copy.deepcopy(model).eval().unary(image).scores
    found = exportable(model).unary(image).scores
    torch.testing.assert_close(found, expected, atol=5e-3, rtol=5e-3)


def test_an_exportable_copy_needs_no_more_than_float16(model: Segmenter) -> None:
    copied = exportable(model)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in copied.modules())
    assert all(torch.equal(p.half().float(), p) for p in copied.parameters())


def test_the_file_has_exactly_the_weights_of_the_copy(model: Segmenter) -> None:
    graph = UnaryGraph(exportable(model), (64, 96)).eval()
    whole = to_onnx(graph, input_specs(64, 96, 11, 0, 1), graph.outputs)
    halved = halve_weights(whole)
    stored = {w.name: numpy_helper.to_array(w) for w in halved.graph.initializer}
    named = {w.name: numpy_helper.to_array(w) for w in whole.graph.initializer}
    large = {name for name, array in named.items() if array.size >= SMALLEST_HALVED}
    assert large
    for name in large:
        np.testing.assert_array_equal(stored[f"{name}.half"].astype(np.float32), named[name])


def test_the_model_itself_is_left_alone(model: Segmenter) -> None:
    before = copy.deepcopy(model.state_dict())
    exportable(model)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert model.training


def test_halved_weights_are_stored_in_half_the_bytes_and_mean_the_same() -> None:
    rng = np.random.default_rng(0)
    large, small = (
        rng.standard_normal((3, size)).astype(np.float16).astype(np.float32)
        for size in (SMALLEST_HALVED // 3 + 1, 5)
    )
    nodes = [helper.make_node("Concat", ["large", "small"], ["out"], axis=1)]
    width = large.shape[1] + small.shape[1]
    output = helper.make_tensor_value_info("out", TensorProto.FLOAT, [3, width])
    weights = [numpy_helper.from_array(large, "large"), numpy_helper.from_array(small, "small")]
    graph = helper.make_graph(nodes, "weights", [], [output], weights)
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    halved = halve_weights(whole)
    stored = {w.name: w.data_type for w in halved.graph.initializer}
    assert stored == {"large.half": TensorProto.FLOAT16, "small": TensorProto.FLOAT}
    assert len(halved.SerializeToString()) < 0.6 * len(whole.SerializeToString())
    (found,) = ReferenceEvaluator(halved).run(None, {})
    np.testing.assert_array_equal(found, np.concatenate([large, small], axis=1))
