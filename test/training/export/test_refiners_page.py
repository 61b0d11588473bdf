"""docs/refiners.md: whoever follows the page has a refiner that trains and leaves training."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from tiny_training import TINY_UNARY, tiny_samples

from seg_perception.classes import CAMVID_CLASSES, CAMVID_GROUPS
from seg_perception.runtime.bundle import TensorSpec
from training.datasets import Batch
from training.export.graph import UnaryGraph
from training.export.onnx_file import exportable, to_onnx
from training.model import Segmenter
from training.objectives import Refined, Task
from training.refiners import REFINERS

PAGE = (Path(__file__).parents[3] / "docs" / "refiners.md").read_text()


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The page's file as a module, registered as the page says."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    (tmp_path / "sharpen.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("sharpen")
    (config, refiner) = re.findall(r"`SharpenRefiner\.name: \((\w+), (\w+)\)`", PAGE)[0]
    entry = (getattr(module, config), getattr(module, refiner))
    monkeypatch.setitem(REFINERS, module.SharpenRefiner.name, entry)
    return module


def test_the_example_trains_and_is_exported(example: Any) -> None:
    torch.manual_seed(0)
    model = Segmenter(11, TINY_UNARY, (example.SharpenConfig(size=3),))
    task = Task(CAMVID_CLASSES, CAMVID_GROUPS, torch.ones(11))
    objective = Refined(model, task, learn=("sharpen",))
    sample = tiny_samples(1)[0]
    image = torch.from_numpy(sample.image).permute(2, 0, 1)[None].float()
    labels = torch.from_numpy(sample.labels)[None].long()
    objective.train()
    objective.loss(Batch(image, labels), np.random.default_rng(0)).backward()
    assert model.refiners["sharpen"].strength.grad.any()

    graph = UnaryGraph(exportable(model.eval()), (32, 48)).eval()
    inputs = [TensorSpec("image", "uint8", (1, 32, 48, 3))]
    file = to_onnx(graph, inputs, graph.outputs)
    session = onnxruntime.InferenceSession(file.SerializeToString())
    found = session.run(list(graph.outputs), {"image": sample.image[None]})
    with torch.no_grad():
        expected = graph(torch.from_numpy(sample.image[None]))
    for one, other in zip(found, expected, strict=True):
        assert (one == other.numpy()).mean() > 0.99


def test_the_page_lists_every_refiner() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", PAGE, re.M)
    assert sorted(listed) == sorted(REFINERS)
