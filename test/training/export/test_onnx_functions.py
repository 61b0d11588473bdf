"""Our operators, as bodies in ONNX Runtime and in the filters, beside the refiners they are."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper
from torch import Tensor

from seg_perception.runtime.onnx_cut import CutModel
from seg_perception.runtime.onnx_native import CutSession, runs_in_filters
from training.export.onnx_body import DOMAIN, OPSET
from training.export.onnx_functions import FUNCTIONS
from training.networks import UnaryOutput
from training.refiners import (
    GuidedCrfConfig,
    GuidedCrfRefiner,
    MeanFieldConfig,
    MeanFieldRefiner,
    OperatorRefiner,
    Scene,
)

CLASSES, HEIGHT, WIDTH = 5, 40, 48
GUIDED = [GuidedCrfConfig(stride=1), GuidedCrfConfig(radius=6, eps=25.0, iterations=1, stride=1)]
DENSE = [
    MeanFieldConfig(sxy=20.0, srgb=8.0, iterations=5),
    MeanFieldConfig(iterations=3),
    MeanFieldConfig(sxy=80.0, srgb=13.0, sxy_spatial=1.0, weights="class", iterations=2),
]


def street(seed: int = 0) -> Scene:
    """Patches of colour with noise, and scores that half follow them."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, CLASSES, (1, 1, 5, 6), generator=rng)
    labels = F.interpolate(coarse.float(), (HEIGHT, WIDTH), mode="nearest").long()[:, 0]
    colors = torch.rand(CLASSES, 3, generator=rng) * 255
    guide = colors[labels].permute(0, 3, 1, 2) + 6 * torch.randn(1, 3, HEIGHT, WIDTH, generator=rng)
    scores = 2 * F.one_hot(labels, CLASSES).permute(0, 3, 1, 2).float()
    scores = scores + torch.randn(scores.shape, generator=rng)
    return Scene(guide.clamp(0, 255).round(), UnaryOutput(scores, torch.zeros_like(scores), {}))


def learnt(refiner: OperatorRefiner[Any, Any]) -> OperatorRefiner[Any, Any]:
    """Weights that are no multiple of the identity."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in refiner.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return refiner.eval()


def run(
    refiner: OperatorRefiner[Any, Any], operands: tuple[Tensor, ...], *, filters: bool
) -> np.ndarray:
    """One node of the operator, in the filters or in ONNX Runtime, with several threads."""
    attributes = refiner.attributes()
    function = FUNCTIONS[refiner.operator](attributes, tuple(operands[0].shape[1:]))
    names = [f"x{i}" for i in range(len(operands))]
    node = helper.make_node(refiner.operator, names, ["y"], domain=DOMAIN, **attributes)
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, x.shape)
        for name, x in zip(names, operands, strict=True)
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, operands[0].shape)
    model = helper.make_model(
        helper.make_graph([node], "operator", inputs, [output]),
        functions=[function],
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)],
        ir_version=10,
    )
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 4
    encoded, start = model.SerializeToString(), partial(start_session, options)
    session = (
        CutSession(CutModel(encoded, runs_in_filters), start, 4) if filters else start(encoded)
    )
    values = {name: x.detach().numpy() for name, x in zip(names, operands, strict=True)}
    return np.asarray(session.run(["y"], values)[0])


def start_session(options: Any, model: bytes) -> Any:
    return onnxruntime.InferenceSession(model, options)


@pytest.mark.parametrize("filters", [False, True], ids=["body", "filters"])
@pytest.mark.parametrize(
    "refiner",
    [
        *(GuidedCrfRefiner(CLASSES, {}, config) for config in GUIDED),
        *(MeanFieldRefiner(CLASSES, {}, config) for config in DENSE),
    ],
    ids=lambda refiner: f"{refiner.name}-{refiner.iterations}",
)
@torch.no_grad()
def test_the_operator_gives_the_refiners_probabilities(
    refiner: OperatorRefiner[Any, Any], filters: bool
) -> None:
    refiner, scene = learnt(refiner), street()
    expected = F.softmax(refiner(scene), dim=1)
    found = F.softmax(
        torch.from_numpy(run(refiner, refiner.operands(scene), filters=filters)), dim=1
    )
    assert (expected - F.softmax(scene.unary.scores, dim=1)).abs().mean() > 0.01
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    assert (found.argmax(dim=1) == expected.argmax(dim=1)).float().mean() >= 0.999


@pytest.mark.parametrize("filters", [False, True], ids=["body", "filters"])
@torch.no_grad()
def test_grey_walls_keep_their_digits(filters: bool) -> None:
    """Colours on a line, whose covariance has rank one, against the same in float64."""
    refiner, scene = learnt(GuidedCrfRefiner(CLASSES, {}, GUIDED[0])), street()
    shade = 255 * torch.sin(torch.arange(WIDTH) / 3.0).square()
    wall = replace(scene, guide=shade.round().expand(1, 3, HEIGHT, WIDTH).contiguous())
    precise = replace(wall, guide=wall.guide.double()).refined(scene.unary.scores.double())
    exact = refiner.double()(precise)
    found = run(refiner.float(), refiner.operands(wall), filters=filters)
    torch.testing.assert_close(
        F.softmax(torch.from_numpy(found), dim=1),
        F.softmax(exact, dim=1).float(),
        atol=1e-3,
        rtol=0,
    )


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes"),
    [
        ("GuidedCrf", ["scores", "guide", "weights"], {"radius": 2, "eps": 1.0, "iterations": 1}),
        (
            "MeanField",
            ["scores", "image", "spatial_weight", "bilateral_weight", "compatibility"],
            {"sxy_spatial": 3.0, "sxy": 80.0, "srgb": 13.0, "iterations": 1},
        ),
    ],
)
def test_operators_have_the_inputs_and_attributes_that_plugins_expect(
    operator: str, inputs: list[str], attributes: dict[str, Any]
) -> None:
    function = FUNCTIONS[operator](attributes, (3, 8, 8))
    assert (function.domain, function.name) == ("seg_perception", operator)
    assert list(function.input) == inputs
    assert len(function.output) == 1
    assert sorted(function.attribute) == sorted(attributes)
    assert {node.domain for node in function.node} == {""}


def test_no_sum_is_left_to_threads_that_race() -> None:
    """ScatterND with a reduction loses sums in ONNX Runtime 1.31."""
    function = FUNCTIONS["MeanField"](
        {"sxy_spatial": 3.0, "sxy": 80.0, "srgb": 13.0, "iterations": 1}, (3, 8, 8)
    )
    scatters = [node for node in function.node if node.op_type == "ScatterND"]
    assert scatters
    assert all(not node.attribute for node in scatters)
