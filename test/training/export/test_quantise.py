"""Eight-bit convolutions: which, with what scales, and in the form that TensorRT takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from tiny_training import TINY_CODE, TINY_UNARY, tiny_samples, write_camvid

from seg_perception.classes import CAMVID_CLASSES, CAMVID_GROUPS
from seg_perception.runtime.bundle import MODEL_FILE, Bundle, check_bundle
from seg_perception.runtime.onnx_tensorrt import for_tensorrt
from seg_perception.runtime.runner import open_runner
from training.export.bundle import About, write_bundle
from training.export.quantise import FORMATS, quantise
from training.export.rounding import Rounding, open_rounding
from training.model import Segmenter
from training.recipe import Data

SIZE = (32, 48)
ABOUT = About("tiny", CAMVID_CLASSES, CAMVID_GROUPS, {}, [], {})
IMAGES = [sample.image for sample in tiny_samples(3, *SIZE)]


def segmenter(code: bool = True) -> Segmenter:
    """Weights and batch statistics as after some training."""
    torch.manual_seed(0)
    model = Segmenter(len(CAMVID_CLASSES), TINY_UNARY, (TINY_CODE,) if code else ()).train()
    for _ in range(20):
        model.unary(torch.rand(4, 3, *SIZE) * 255)
    with torch.no_grad():
        model.unary.scores.weight.mul_(4)
    return model.eval()


@pytest.fixture(scope="module", params=sorted(FORMATS))
def rounded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    samples = tiny_samples(4, *SIZE)
    rounding = Rounding(request.param, {"dataset": "noise"}, samples[:3], samples[3:])
    out = tmp_path_factory.mktemp("rounded") / "bundle"
    model = segmenter(code=request.param == "int8")
    return write_bundle(model, SIZE, ABOUT, out, rounding=rounding)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(segmenter(), SIZE, ABOUT, tmp_path_factory.mktemp("whole") / "bundle")


def graph_of(model: bytes) -> onnx.GraphProto:
    found = onnx.load_from_string(model)
    onnx.checker.check_model(found, full_check=True)
    return found.graph


def makers(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    return {name: node for node in graph.node for name in node.output}


def rounded_convolutions(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    made = makers(graph)
    return [
        node
        for node in graph.node
        if node.op_type == "Conv"
        and all(made[name].op_type == "DequantizeLinear" for name in node.input[:2] if name in made)
        and node.input[1] in made
    ]


def weights_of(graph: onnx.GraphProto) -> dict[str, NDArray[np.generic]]:
    return {weight.name: numpy_helper.to_array(weight) for weight in graph.initializer}


def test_only_what_is_inside_the_unary_network_is_rounded(rounded: Bundle) -> None:
    graph = graph_of(rounded.read(MODEL_FILE))
    convolutions = {node.name for node in graph.node if node.op_type == "Conv"}
    kept = convolutions - {node.name for node in rounded_convolutions(graph)}
    outside = {name for name in convolutions if not name.startswith("/unary/")}
    assert bool(outside) == rounded.manifest.takes_evidence
    assert kept - outside == convolutions & {
        "/unary/stem/stem.0/stem.0.0/Conv",
        "/unary/context/project/Conv",
        "/unary/scores/Conv",
        "/unary/uncertainty/Conv",
    }


def test_weights_are_rounded_to_the_nearest_step_of_their_channel(
    rounded: Bundle, whole: Bundle
) -> None:
    name = "model.unary.stem.2.0.weight"
    (kept,) = (
        numpy_helper.to_array(weight)
        for weight in graph_of(whole.read(MODEL_FILE)).initializer
        if weight.name.removesuffix(".half") == name
    )
    found = weights_of(graph_of(rounded.read(MODEL_FILE)))
    scale = found[f"{name}.scale"].astype(np.float64).reshape(-1, 1, 1, 1)
    values = found[f"{name}.eight_bits"].astype(np.float64) * scale
    assert len(np.unique(scale)) == len(kept)
    error = np.abs(values - kept)
    if rounded.manifest.quantisation.precision == "int8":
        # Half a step; the largest of a channel may be cut where its scale was rounded down.
        assert (error <= scale * (0.5 + 127 * 2**-11)).all()
    else:  # three bits behind the point
        assert (error <= np.maximum(np.abs(kept) / 16 * 1.01, scale * 2**-9)).all()


def test_scales_are_the_same_in_float16(rounded: Bundle) -> None:
    scales = [v for k, v in weights_of(graph_of(rounded.read(MODEL_FILE))).items() if "scale" in k]
    assert scales
    for scale in scales:
        assert (scale > 0).all()
        np.testing.assert_array_equal(scale, scale.astype(np.float16).astype(np.float32))


def test_rare_large_values_are_cut_where_that_makes_all_others_finer() -> None:
    values = np.random.default_rng(0).lognormal(size=8000).astype(np.float32)
    int8, fp8 = (scale_of_activation(values, name) for name in ("int8", "fp8"))

    def error(step: float) -> float:
        return float(np.mean((np.clip(np.rint(values / step), -127, 127) * step - values) ** 2))

    assert int8 * 127 < 0.99 * values.max()
    assert error(int8) < error(values.max() / 127)
    assert fp8 * 448 == pytest.approx(values.max(), rel=1e-3)


def scale_of_activation(values: NDArray[np.float32], precision: str) -> float:
    """Of a map between two convolutions that shows these values, calibrated."""
    side = 1 + int(np.sqrt(values.size))
    one = numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "w")
    shown = np.zeros((1, 1, side, side), np.float32)
    shown.flat[: values.size] = values
    nodes = [
        onnx.helper.make_node("Cast", ["image"], ["float"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("ReduceMax", ["float"], ["most"], keepdims=0),
        onnx.helper.make_node("Mul", ["shown", "most"], ["map"]),
        onnx.helper.make_node("Conv", ["map", "w"], ["a"], "/unary/a"),
        onnx.helper.make_node("Conv", ["a", "w2"], ["b"], "/unary/b"),
        onnx.helper.make_node("Conv", ["b", "w"], ["labels"], "/unary/c"),
    ]
    second = numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "w2")
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, [1, 1, 1, 3])],
        [onnx.helper.make_tensor_value_info("labels", onnx.TensorProto.FLOAT, shown.shape)],
        [one, second, numpy_helper.from_array(shown, "shown")],
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9
    )
    quantised = quantise(model, precision, [np.ones((1, 1, 3), np.uint8)])
    return float(weights_of(quantised.graph)["a.scale"])


def test_nothing_to_calibrate_on_is_refused(whole: Bundle) -> None:
    model = onnx.load(whole.model_path)
    with pytest.raises(ValueError, match="give at least one frame"):
        quantise(model, "int8", [])


def test_the_bundle_says_what_was_done_and_what_it_costs(rounded: Bundle, whole: Bundle) -> None:
    quantised = rounded.manifest.quantisation
    assert quantised is not None
    assert whole.manifest.quantisation is None
    assert quantised.calibration == {"dataset": "noise"}
    assert quantised.loss["val_frames"] == 1
    assert 0 <= quantised.loss["labels_changed"] < 10
    assert abs(quantised.loss["miou_after"] - quantised.loss["miou_before"]) < 10
    card = (rounded.path / "MODEL_CARD.md").read_text()
    assert f"eight bits ({quantised.precision})" in card
    assert f"labels changed {quantised.loss['labels_changed']}" in card


def test_the_vehicles_runner_rounds_as_the_file_says(rounded: Bundle, whole: Bundle) -> None:
    found = open_runner(rounded, "onnx", threads=1)
    check_bundle(rounded, found)
    expected = open_runner(whole, "onnx", threads=1)
    for image in IMAGES:
        answers = [runner.run({"image": image[None]})["labels"] for runner in (found, expected)]
        assert 0 < np.mean(answers[0] != answers[1]) < 0.2


def run_as_it_stands(model: bytes, bundle: Bundle) -> dict[str, NDArray[np.generic]]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    names = [spec.name for spec in bundle.manifest.outputs]
    session = onnxruntime.InferenceSession(model, options)
    return dict(zip(names, session.run(names, dict(bundle.golden()[0].inputs)), strict=True))


def test_what_tensorrt_gets_rounds_likewise(rounded: Bundle) -> None:
    model = for_tensorrt(rounded.read(MODEL_FILE))
    for name, answer in run_as_it_stands(model, rounded).items():
        np.testing.assert_array_equal(answer, rounded.golden()[0].outputs[name])


def test_in_float16_nothing_stands_between_a_pair_and_its_convolution(rounded: Bundle) -> None:
    before = graph_of(rounded.read(MODEL_FILE))
    model = for_tensorrt(rounded.read(MODEL_FILE), half=True)
    graph = graph_of(model)
    made, weights = makers(graph), weights_of(graph)
    convolutions = rounded_convolutions(graph)
    assert len(convolutions) == len(rounded_convolutions(before)) > 5
    for node in convolutions:
        for pair in (made[name] for name in node.input[:2]):
            assert weights[pair.input[1]].dtype == np.float16
        (quantised,) = (made[name] for name in made[node.input[0]].input[:1])
        assert quantised.op_type == "QuantizeLinear"
    agree = run_as_it_stands(model, rounded)["labels"] == rounded.golden()[0].outputs["labels"]
    assert agree.mean() > 0.95


def test_calibrates_on_the_recipes_own_frames(tmp_path: Path) -> None:
    root = write_camvid(tmp_path)
    every = open_rounding("int8", Data(leave_out=("0006R0",)), root, 64)
    assert every.source == {"dataset": "camvid", "split": "train", "frames": 4}
    assert {sample.drive for sample in every.frames} == {"0001TP", "0016E5"}
    assert len(every.scored) == 2
    assert len(open_rounding("int8", Data(), root, 2).frames) == 2
