"""The programs that a bundle carries, run in Triton's interpreter, against torch in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seg_perception.errors import BundleError
from seg_perception.runtime.kernel_programs import Plan, plan
from training.export.graph import describe
from training.filters import (
    LinearFilter,
    bilateral_features,
    guided_filter,
    lattice_filter,
    spatial_features,
)
from training.networks import UnaryOutput
from training.networks.unet import normalise_image
from training.refiners import (
    GuidedCrfConfig,
    GuidedCrfRefiner,
    MeanFieldConfig,
    MeanFieldRefiner,
    OperatorRefiner,
    Scene,
)

pytest.importorskip("triton")

from training.kernels.launch import prepare, run_program
from training.kernels.programs import VERTICES, programs
from training.kernels.sources import kernel_sources

SIZES = [
    pytest.param(3, 1, 1, id="one pixel"),
    pytest.param(1, 7, 5, id="one class"),
    pytest.param(2, 17, 33, id="larger than a block"),
    pytest.param(150, 3, 2, id="150 classes"),
]
RELATIVE = 1e-4  # what issue 4 asks for of float32


def smooth_image(height: int, width: int) -> Tensor:
    """float32 [3, H, W], 0-255: regions of slowly changing color."""
    coarse = torch.rand(1, 3, 3, 3) * 255
    return F.interpolate(coarse, (height, width), mode="bilinear")[0]


def mean_field(unary: Tensor, pairs: list[tuple[LinearFilter, Tensor]], iterations: int) -> Tensor:
    """s = u - sum of M filter(softmax(s)) in float64, of unary [C, H, W]."""
    u = unary.double()[None]
    scores = u
    for _ in range(iterations):
        q = scores.softmax(1)
        sent = [torch.einsum("tf,bfhw->bthw", m.double(), f.apply(q)) for f, m in pairs]
        scores = u - sum(sent)
    return scores[0]


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(("classes", "height", "width"), SIZES)
def test_guided_crf(classes: int, height: int, width: int) -> None:
    torch.manual_seed(0)
    scores, guide = 3 * torch.randn(classes, height, width), smooth_image(height, width)
    weights = torch.randn(classes, classes)
    inputs = {"scores": scores, "guide": guide, "weights": weights}
    iterations = 2 if scores.numel() < 100 else 1  # the interpreter is slow
    attributes = {"radius": 1, "eps": 1.0, "iterations": iterations}
    found = run_program("GuidedCrf", inputs, attributes)["refined"]
    exact = guided_filter(guide[None].double(), 1, 1.0)
    assert relative_error(found, mean_field(scores, [(exact, weights)], iterations)) < RELATIVE


def test_guided_crf_with_half_precision_storage() -> None:
    torch.manual_seed(0)
    scores, guide, weights = 3 * torch.randn(3, 5, 4), smooth_image(5, 4), 2 * (1 - torch.eye(3))
    inputs = {"scores": scores, "guide": guide, "weights": weights}
    attributes = {"radius": 1, "eps": 1.0, "iterations": 2}
    found = run_program("GuidedCrf", inputs, attributes, storage="float16")["refined"]
    exact = mean_field(scores, [(guided_filter(guide[None].double(), 1, 1.0), weights)], 2)
    assert 1e-6 < relative_error(found, exact) < 2e-3


@pytest.mark.parametrize(("classes", "height", "width"), SIZES)
def test_mean_field(classes: int, height: int, width: int) -> None:
    torch.manual_seed(0)
    scores, image = 3 * torch.randn(classes, height, width), smooth_image(height, width)
    spatial, bilateral, compatibility = torch.randn(3, classes, classes) / classes**0.5
    inputs = {
        "scores": scores,
        "image": image,
        "spatial_weight": spatial,
        "bilateral_weight": bilateral,
        "compatibility": compatibility,
    }
    attributes = {"sxy_spatial": 2.3, "sxy": 4.1, "srgb": 17.3, "iterations": 2}
    found = run_program("MeanField", inputs, attributes)["refined"]
    exact = image[None].double()
    pairs = [
        (lattice_filter(spatial_features(exact, 2.3)), compatibility @ spatial),
        (lattice_filter(bilateral_features(exact, 4.1, 17.3)), compatibility @ bilateral),
    ]
    assert relative_error(found, mean_field(scores, pairs, 2)) < RELATIVE


@pytest.mark.parametrize(
    "refiner",
    [
        GuidedCrfRefiner(3, {}, GuidedCrfConfig(radius=1, iterations=2, stride=1)),
        MeanFieldRefiner(3, {}, MeanFieldConfig(sxy=4.1, srgb=17.3, iterations=2)),
    ],
    ids=lambda refiner: refiner.operator,
)
def test_program_is_the_refiner(refiner: OperatorRefiner[Any, Any]) -> None:
    torch.manual_seed(0)
    scores, image = 3 * torch.randn(1, 3, 4, 5), smooth_image(4, 5)[None]
    scene = Scene(image, UnaryOutput(scores, torch.zeros_like(scores), {}))
    with torch.no_grad():
        refiner = refiner.eval().to(scores.device)
        expected = refiner(scene)[0]
        operands = [operand.squeeze(0) for operand in refiner.operands(scene)]
    made = programs(kernel_sources(3), "float32")[refiner.operator]
    inputs = {tensor.name: x for tensor, x in zip(made.inputs, operands, strict=True)}
    found = run_program(refiner.operator, inputs, refiner.attributes())["refined"]
    assert relative_error(found, expected.double()) < RELATIVE


def test_same_input_gives_the_same_bits_where_nothing_is_atomic() -> None:
    torch.manual_seed(0)
    inputs = {
        "scores": torch.randn(2, 3, 2),
        "guide": smooth_image(3, 2),
        "weights": torch.eye(2),
    }
    attributes = {"radius": 1, "eps": 1.0, "iterations": 1}
    first, second = (run_program("GuidedCrf", inputs, attributes) for _ in range(2))
    assert torch.equal(first["refined"], second["refined"])


@pytest.mark.parametrize(
    ("classes", "coarse", "fine"),
    [
        (1, (1, 1), (3, 4)),
        (19, (9, 12), (33, 41)),
        (5, (6, 7), (6, 7)),
        (4, (9, 8), (5, 3)),
        (150, (3, 4), (9, 9)),
    ],
)
def test_describe(classes: int, coarse: tuple[int, int], fine: tuple[int, int]) -> None:
    torch.manual_seed(0)
    scores = 3 * torch.randn(classes, *coarse)
    found = run_program("Describe", {"scores": scores}, {"H": fine[0], "W": fine[1]})
    labels, confidence, entropy = describe(scores[None], fine)
    assert torch.equal(found["labels"], labels[0])
    assert (found["confidence"].int() - confidence[0].int()).abs().max() <= 1
    if classes > 1:  # entropy over log 1 is 0 / 0
        assert (found["entropy"].int() - entropy[0].int()).abs().max() <= 1
    else:
        assert not found["entropy"].any()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (40, 37)])
def test_normalise_image(height: int, width: int) -> None:
    torch.manual_seed(0)
    image = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8)
    found = run_program("NormaliseImage", {"image": image}, {})["normalised"]
    expected = normalise_image(image.permute(2, 0, 1)[None].double())[0]
    assert torch.allclose(found.double(), expected, atol=1e-6)


def test_refuses_images_whose_lattice_keys_would_overflow() -> None:
    program = programs(kernel_sources(19), "float32")["MeanField"]
    attributes = {"sxy_spatial": 3.0, "sxy": 80.0, "srgb": 13.0, "iterations": 5}
    square = [19, 19]

    def planned(height: int, width: int, **changes: float) -> Plan:
        weights = dict.fromkeys(("spatial_weight", "bilateral_weight", "compatibility"), square)
        shapes = {"scores": [19, height, width], "image": [3, height, width], **weights}
        return plan(program, shapes, {**attributes, **changes})

    assert planned(1024, 2048).launches
    for changes in ({"sxy": 8.0}, {"srgb": 2.0}):
        with pytest.raises(BundleError, match=r"below 400 only: raise sxy or srgb"):
            planned(1024, 2048, **changes)


def test_refuses_inputs_that_do_not_fit() -> None:
    inputs = {
        "scores": torch.zeros(2, 4, 4),
        "guide": torch.zeros(3, 4, 5),
        "weights": torch.eye(2),
    }
    with pytest.raises(BundleError, match="W is 5 instead of 4"):
        run_program("GuidedCrf", inputs, {"radius": 1, "eps": 1.0, "iterations": 1})


def test_corners_without_room_are_left_out_of_the_average_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    monkeypatch.setitem(VERTICES, "bilateral", "4")
    sources = kernel_sources(2)
    program = programs(sources, "float32")["MeanField"]
    attributes = {"sxy_spatial": 2.3, "sxy": 4.1, "srgb": 17.3, "iterations": 1}
    inputs = {
        "scores": torch.tensor([1.0, -1.0])[:, None, None].expand(2, 4, 5).contiguous(),
        "image": smooth_image(4, 5),
        "spatial_weight": torch.zeros(2, 2),
        "bilateral_weight": torch.eye(2),
        "compatibility": torch.eye(2),
    }
    prepared = prepare(sources, program, inputs, attributes)
    prepared.run()
    assert prepared.arrays["count_bilateral"] > 4
    sent = inputs["scores"] - prepared.outputs["refined"]
    q = inputs["scores"].softmax(0)
    reached = sent.sum(0) > 0.5  # a pixel without any corner receives nothing
    assert 0 < reached.sum() < reached.numel()
    assert torch.allclose(sent[:, reached], q[:, reached], atol=1e-5)
    assert not sent[:, ~reached].any()
