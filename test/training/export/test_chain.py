"""Chains of refiners through the real bundle and the vehicle's own runner."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from tiny_training import TINY_CODE, TINY_DENOISER, TINY_UNARY, tiny_samples

from seg_perception.classes import CAMVID_CLASSES, CAMVID_GROUPS
from seg_perception.runtime.bundle import load_bundle
from seg_perception.runtime.runner import Runner, open_runner
from training.export.bundle import About, write_bundle
from training.export.chain import flatten
from training.export.graph import UnaryGraph
from training.export.onnx_file import exportable
from training.model import Segmenter
from training.objectives.base import labels_of
from training.refiners import ContextCrfConfig, GuidedCrfConfig, MeanFieldConfig

SIZE = (64, 96)
ABOUT = About("tiny", CAMVID_CLASSES, CAMVID_GROUPS, {}, [], {})
DENSE = MeanFieldConfig(sxy=20.0, srgb=15.0, iterations=2, stride=4)


def model_of(*refiners: Any) -> Segmenter:
    """Weights and batch statistics as after some training: scores that spread."""
    torch.manual_seed(0)
    model = Segmenter(11, TINY_UNARY, refiners).train()
    for _ in range(20):
        model.unary(torch.rand(4, 3, *SIZE) * 255)
    with torch.no_grad():
        model.unary.scores.weight.mul_(4)
    return model.eval()


def runner_of(model: Segmenter, folder: Path) -> Runner:
    return open_runner(write_bundle(model, SIZE, ABOUT, folder / "bundle"), "onnx", threads=2)


def image_of(seed: int) -> np.ndarray:
    return tiny_samples(seed + 1, *SIZE)[seed].image[None]


def test_two_operators_run_one_after_the_other(tmp_path: Path) -> None:
    model = model_of(GuidedCrfConfig(), DENSE)
    runner = runner_of(model, tmp_path)
    manifest = runner.bundle.manifest
    assert manifest.custom_ops == ("GuidedCrf", "MeanField")
    assert [refiner.name for refiner in manifest.refiners] == ["guided_crf", "mean_field"]
    assert manifest.refiners[1].parameters["sxy"] == DENSE.sxy
    file = onnx.load(runner.bundle.path / "model.onnx")
    ours = [node.op_type for node in file.graph.node if node.domain == "seg_perception"]
    assert ours == [function.name for function in file.functions] == ["GuidedCrf", "MeanField"]
    graph = UnaryGraph(exportable(model), SIZE)
    image = image_of(0)
    with torch.no_grad():
        expected = dict(zip(graph.outputs, graph(torch.from_numpy(image)), strict=True))
    found = runner.run({"image": image}, graph.outputs)
    for name in ("labels", "labels_unrefined"):
        assert (found[name] == expected[name].numpy()).mean() >= 0.999
    assert (found["labels"] != found["labels_unrefined"]).any()


def test_context_and_patches_are_unrolled(tmp_path: Path) -> None:
    model = model_of(ContextCrfConfig(label_pool=5, hidden=8), GuidedCrfConfig())
    with torch.no_grad():
        for parameter in model.refiners["context_crf"].parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    runner, image = runner_of(model, tmp_path), image_of(3)
    graph = UnaryGraph(exportable(model), SIZE)
    found = runner.run({"image": image}, graph.outputs)
    with torch.no_grad():
        labels, _, _, unrefined = graph(torch.from_numpy(image))
    assert (found["labels"] == labels.numpy()).mean() >= 0.999
    assert (labels != unrefined).any()
    assert runner.bundle.manifest.custom_ops == ("GuidedCrf",)


def test_a_refiner_after_the_code_sees_corrected_scores(tmp_path: Path) -> None:
    runner = runner_of(model_of(TINY_CODE, GuidedCrfConfig()), tmp_path)
    manifest = runner.bundle.manifest
    sets = np.ones((manifest.max_sets, 11), np.float32)
    sets[1] = np.eye(11)[3]
    known = {
        "evidence": np.ones((1, *SIZE), np.uint8),
        "evidence_sets": sets,
        "evidence_weight": np.eye(manifest.max_sets, dtype=np.float32)[1],
    }
    image = image_of(1)
    before, after = (runner.run({"image": image, **given}) for given in ({}, known))
    assert not before["code"].any()
    assert after["code"].any()
    assert (after["labels"] == 3).mean() > (before["labels"] == 3).mean()


def test_the_combined_chain_answers_as_in_training(tmp_path: Path) -> None:
    chain = (
        ContextCrfConfig(label_pool=5, hidden=8),
        dataclasses.replace(TINY_CODE, guessed=True),
        dataclasses.replace(TINY_DENOISER, residual=True, step_size=0.5),
        DENSE,
        GuidedCrfConfig(gated=True),
    )
    model = model_of(*chain)
    with torch.no_grad():
        for name, parameter in model.refiners.named_parameters():
            if not name.startswith("code.") or "guess" in name:
                parameter.add_(0.05 * torch.randn_like(parameter))
        model.refiners["guided_crf"].gate.slope.fill_(0.5)
    runner = runner_of(model, tmp_path)  # which compares its golden cases, with evidence
    assert runner.bundle.manifest.custom_ops == ("MeanField", "GuidedCrf")
    assert runner.bundle.manifest.looped_refiners == {"denoiser": TINY_DENOISER.iterations}
    image = image_of(1)
    with torch.no_grad():
        scores = model(torch.from_numpy(image).permute(0, 3, 1, 2).float())
    expected = labels_of(scores, SIZE)
    assert (runner.run({"image": image})["labels"][0] == expected).mean() >= 0.999


def test_the_steps_of_a_looped_refiner_are_changed_at_run_time(tmp_path: Path) -> None:
    config = dataclasses.replace(TINY_DENOISER, iterations=2, step_size=0.5, tolerance=0.0)
    model = model_of(GuidedCrfConfig(radius=1), config)
    runner = runner_of(model, tmp_path)
    assert runner.bundle.manifest.looped_refiners == {"denoiser": 2}
    graph, image = UnaryGraph(exportable(model), SIZE), image_of(2)
    answers = {}
    for count in (0, 1, 2, 5):
        iterations = np.array([count], np.int64)
        answers[count] = runner.run({"image": image, "refiner_iterations": iterations})
        with torch.no_grad():
            labels, confidence, *_ = graph(torch.from_numpy(image), torch.from_numpy(iterations))
        assert (answers[count]["labels"] == labels.numpy()).mean() >= 0.999
        difference = answers[count]["confidence"] - confidence.numpy().astype(int)
        assert np.abs(difference).mean() < 1
    np.testing.assert_array_equal(
        runner.run({"image": image})["confidence"], answers[2]["confidence"]
    )
    assert (answers[0]["confidence"] != answers[5]["confidence"]).any()


def test_a_bundle_without_loops_takes_no_iterations(tmp_path: Path) -> None:
    runner = runner_of(model_of(GuidedCrfConfig()), tmp_path)
    manifest = load_bundle(runner.bundle.path).manifest
    assert [spec.name for spec in manifest.inputs] == ["image"]
    assert manifest.looped_refiners == {}


@pytest.mark.parametrize("nested", [True, False])
def test_records_are_taken_apart_and_put_together_again(nested: bool) -> None:
    @dataclasses.dataclass(frozen=True)
    class Inner:
        maps: tuple[torch.Tensor, ...]
        size: tuple[int, int]

    @dataclasses.dataclass(frozen=True)
    class Outer:
        first: torch.Tensor
        inner: Inner | None
        by_stride: dict[int, torch.Tensor]

    a, b, c, d = torch.arange(4.0)
    record = Outer(a, Inner((b, c), (2, 3)) if nested else None, {4: d})
    tensors, rebuild = flatten(record)
    assert [float(x) for x in tensors] == ([0, 1, 2, 3] if nested else [0, 3])
    doubled = rebuild(2 * x for x in tensors)
    assert float(doubled.by_stride[4]) == 6
    if nested:
        assert [float(x) for x in doubled.inner.maps] == [2, 4]
        assert doubled.inner.size == (2, 3)
    else:
        assert doubled.inner is None
