"""Every unary network, and the refiners of papers 000 and 003 behind them, in ONNX Runtime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from tiny_training import TINY_CODE, TINY_DENOISER, TINY_NETWORKS, TINY_PRIOR, TINY_UNARY
from torch import Tensor, nn

from seg_perception.classes import CAMVID_CLASSES, CAMVID_GROUPS
from seg_perception.filters.native import NO_LIBRARY, library
from seg_perception.runtime import onnx_runner
from seg_perception.runtime.bundle import TensorSpec, load_bundle
from seg_perception.runtime.runner import open_runner
from training.export.bundle import About, write_bundle
from training.export.onnx_file import exportable, halve_weights, to_onnx
from training.model import Segmenter
from training.refiners import GuidedCrfConfig, MeanFieldConfig, refiner_name

HEIGHT, WIDTH = 72, 104  # no multiple of 16 or 32: every pooling has something to round
IMAGE = TensorSpec("image", "float32", (1, 3, HEIGHT, WIDTH))
REFINERS = {"denoiser": (TINY_DENOISER,), "prior": (TINY_PRIOR,)}
COMBINED = (replace(TINY_CODE, guessed=True), TINY_DENOISER, GuidedCrfConfig(radius=1))
CHAINS = {name: (config, ()) for name, config in TINY_NETWORKS.items()}
CHAINS |= {name: (TINY_UNARY, refiners) for name, refiners in REFINERS.items()}


class Probabilities(nn.Module):
    """A model's probabilities at the stride of its scores."""

    def __init__(self, model: Segmenter) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        return self.model(image).softmax(dim=1)


def model_of(unary: Any, refiners: tuple[Any, ...]) -> Segmenter:
    """Batch statistics as after some training, so that scores neither vanish nor explode."""
    torch.manual_seed(0)
    model = Segmenter(11, unary, refiners).train()
    with torch.no_grad():
        for _ in range(10):
            model(torch.rand(2, 3, HEIGHT, WIDTH) * 255)
    return model.eval()


@pytest.mark.parametrize("name", CHAINS)
def test_onnx_runtime_gives_the_trained_models_probabilities(name: str) -> None:
    graph = Probabilities(exportable(model_of(*CHAINS[name]))).eval()
    file = halve_weights(to_onnx(graph, [IMAGE], ["probs"]))
    assert {opset.domain for opset in file.opset_import} == {""}
    session = onnxruntime.InferenceSession(file.SerializeToString())
    image = torch.rand(1, 3, HEIGHT, WIDTH) * 255
    with torch.no_grad():
        expected = graph(image).numpy()
    (found,) = session.run(None, {"image": image.numpy()})
    assert len(np.unique(expected.argmax(axis=1))) > 1
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).mean() >= 0.999


@pytest.mark.parametrize(
    "refiners",
    [*REFINERS.values(), pytest.param(COMBINED, marks=pytest.mark.slow)],
    ids=[*REFINERS, "combined"],
)
def test_a_bundle_with_the_chain_checks_itself(refiners: tuple[Any, ...], tmp_path: Path) -> None:
    about = About("tiny", CAMVID_CLASSES, CAMVID_GROUPS, {}, [], {})
    write_bundle(model_of(TINY_UNARY, refiners), (64, 96), about, tmp_path / "bundle")
    manifest = load_bundle(tmp_path / "bundle").manifest
    assert [r.name for r in manifest.refiners] == [refiner_name(config) for config in refiners]


@pytest.mark.skipif(library() is None, reason=NO_LIBRARY)
def test_operators_answer_alike_in_the_filters_and_as_bodies(tmp_path: Path) -> None:
    dense = MeanFieldConfig(sxy=30.0, srgb=8.0, stride=4, iterations=2)
    model = model_of(TINY_UNARY, (dense, TINY_DENOISER, GuidedCrfConfig()))
    about = About("tiny", CAMVID_CLASSES, CAMVID_GROUPS, {}, [], {})
    bundle = write_bundle(model, (64, 96), about, tmp_path / "bundle")
    filters = open_runner(bundle, "onnx", threads=2)
    assert "; MeanField, GuidedCrf in filters compiled for" in filters.reason
    bodies = open_runner(bundle, "onnx", filters=False, threads=2)
    assert bodies.reason.endswith("; MeanField, GuidedCrf as standard operators")
    for case in bundle.golden():
        for outputs in (None, ("labels_unrefined",)):
            found, expected = (r.run(case.inputs, outputs) for r in (filters, bodies))
            assert found.keys() == expected.keys()
            for name in found:
                if name.startswith("labels"):
                    assert (found[name] == expected[name]).mean() >= 0.999
                else:
                    np.testing.assert_allclose(found[name], expected[name], atol=1.0)


def test_without_compiled_filters_a_runner_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_runner, "library", lambda: None)
    about = About("tiny", CAMVID_CLASSES, CAMVID_GROUPS, {}, [], {})
    model = model_of(TINY_UNARY, (GuidedCrfConfig(radius=1, iterations=1),))
    runner = open_runner(write_bundle(model, (64, 96), about, tmp_path / "bundle"), "onnx")
    assert "; GuidedCrf as standard operators, slowly: the filters' compiled" in runner.reason
    assert "install a C++ compiler" in runner.reason
