from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_training import TINY_CODE, TINY_UNARY, write_camvid

from seg_perception.classes import CAMVID_CLASSES, CAMVID_GROUPS, ClassInfo
from seg_perception.errors import BundleError
from seg_perception.runtime.bundle import EVALUATION_OUTPUTS, Bundle, check_bundle, load_bundle
from seg_perception.runtime.runner import Runner, open_runner
from training.errors import TrainingError
from training.export import __main__ as command
from training.export import bundle as exporter
from training.export.bundle import About, write_bundle
from training.export.graph import CodeGraph, UnaryGraph
from training.model import Segmenter
from training.recipe import load_recipe, override

HEIGHT, WIDTH, SETS = 64, 96, 32
SKY = 0
ABOUT = About(
    name="tiny",
    classes=CAMVID_CLASSES,
    groups=CAMVID_GROUPS,
    recipe={"name": "tiny", "seed": 0},
    data=[{"name": "noise", "terms": "public domain"}],
    scores={"val": {"miou": 12.5}},
)


def model_of(code: bool = True) -> Segmenter:
    """Weights and batch statistics as after some training: scores that spread."""
    torch.manual_seed(0)
    model = Segmenter(len(CAMVID_CLASSES), TINY_UNARY, (TINY_CODE,) if code else ()).train()
    for _ in range(20):
        model.unary(torch.rand(4, 3, HEIGHT, WIDTH) * 255)
    with torch.no_grad():
        model.unary.scores.weight.mul_(4)
    return model.eval()


@pytest.fixture(scope="module")
def model() -> Segmenter:
    return model_of()


@pytest.fixture(scope="module")
def bundle(model: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(model, (HEIGHT, WIDTH), ABOUT, tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def runner(bundle: Bundle) -> Runner:
    return open_runner(bundle, "onnx", threads=1)


def inputs_of(seed: int, model: Segmenter, known: bool = True) -> dict[str, NDArray[Any]]:
    """Random blobs, and evidence of two sets on a part of them."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0, 255, (1, 3, 8, 12)))
    image = torch.nn.functional.interpolate(coarse, (HEIGHT, WIDTH), mode="bicubic").clamp(0, 255)
    sets = np.ones((SETS, len(CAMVID_CLASSES)), np.float32)
    sets[1], sets[2] = np.eye(len(CAMVID_CLASSES))[SKY], 0
    sets[2, :5] = 1
    weight = np.zeros(SETS, np.float32)
    weight[1:3] = (1.0, 0.5)
    index = np.zeros((1, HEIGHT, WIDTH), np.uint8)
    index[0, 40:, 20:60] = 1
    index[0, ::5, ::3] = 2
    assert model.code is not None
    return {
        "image": image.permute(0, 2, 3, 1).round().numpy().astype(np.uint8),
        "evidence": index * np.uint8(known),
        "evidence_sets": sets,
        "evidence_weight": weight,
        "prior_code": np.zeros((1, model.code.size(HEIGHT, WIDTH)), np.float32),
        "prior_precision": np.zeros(1, np.float32),
    }


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_the_bundle_answers_as_the_trained_model(
    model: Segmenter, runner: Runner, seed: int, known: bool
) -> None:
    inputs = inputs_of(seed, model, known)
    graph = CodeGraph(model, (HEIGHT, WIDTH))
    with torch.no_grad():
        answers = graph(*(torch.from_numpy(inputs[name]) for name in graph.inputs))
    expected = dict(zip(graph.outputs, answers, strict=True))
    found = runner.run(inputs, graph.outputs)
    assert len(np.unique(found["labels"])) > 3
    for name, answer in expected.items():
        if name.startswith("labels"):
            assert (found[name] == answer.numpy()).mean() >= 0.999, name
        elif name == "code":
            np.testing.assert_allclose(found[name], answer, atol=0.02)
        else:
            assert np.abs(found[name] - answer.numpy().astype(int)).mean() <= 1, name


def test_evidence_corrects_and_can_be_left_out(model: Segmenter, runner: Runner) -> None:
    inputs, nothing = inputs_of(0, model), inputs_of(0, model, known=False)
    names = [*runner.bundle.manifest.default_outputs, "labels_unrefined"]
    corrected, unknown = runner.run(inputs, names), runner.run(nothing, names)
    alone = runner.run({"image": inputs["image"]}, names)
    assert not alone["code"].any()
    np.testing.assert_array_equal(alone["labels"], alone["labels_unrefined"])
    for name, answer in alone.items():
        np.testing.assert_array_equal(answer, unknown[name])
    known = inputs["evidence"] == 1
    assert (corrected["labels"][known] == SKY).sum() > (alone["labels"][known] == SKY).sum()
    np.testing.assert_array_equal(corrected["labels_unrefined"], alone["labels"])


def test_evaluation_outputs_respect_the_evidence(model: Segmenter, runner: Runner) -> None:
    inputs = inputs_of(1, model)
    found = runner.run(inputs, (*EVALUATION_OUTPUTS, "labels", "labels_unrefined"))
    allowed = inputs["evidence_sets"][inputs["evidence"]]
    known = inputs["evidence"] > 0

    def contradicting(name: str) -> int:
        chosen = np.take_along_axis(allowed, found[name][..., None].astype(int), -1)
        return int((chosen == 0).sum())

    assert contradicting("labels") < contradicting("labels_unrefined")
    pairs = {"labels_replaced": "labels_unrefined", "labels_optimised_replaced": "labels"}
    for name, free in pairs.items():
        assert contradicting(name) == 0
        np.testing.assert_array_equal(found[name][~known], found[free][~known])


def test_the_previous_code_is_kept_as_far_as_it_is_trusted(
    model: Segmenter, runner: Runner
) -> None:
    inputs = inputs_of(2, model)
    inputs["prior_code"] = np.random.default_rng(0).normal(size=inputs["prior_code"].shape)
    inputs["prior_code"] = inputs["prior_code"].astype(np.float32)
    inputs["prior_precision"] = np.full(1, 1e6, np.float32)
    np.testing.assert_allclose(runner.run(inputs)["code"], inputs["prior_code"], atol=1e-3)


def test_the_manifest_says_what_it_is(bundle: Bundle, model: Segmenter) -> None:
    manifest = bundle.manifest
    assert manifest.name == "tiny"
    assert manifest.classes == CAMVID_CLASSES
    assert (manifest.height, manifest.width) == (HEIGHT, WIDTH)
    assert manifest.code_size == model.code.size(HEIGHT, WIDTH)
    assert manifest.takes_evidence
    assert manifest.max_sets == SETS
    assert [r.name for r in manifest.refiners] == ["code"]
    assert manifest.refiners[0].parameters["conditioning"] == "concat_mul"
    assert manifest.provenance["recipe"] == {"name": "tiny", "seed": 0}
    assert manifest.provenance["data"] == [{"name": "noise", "terms": "public domain"}]
    assert manifest.scores == {"val": {"miou": 12.5}}
    card = (bundle.path / "MODEL_CARD.md").read_text()
    assert "public domain" in card
    assert "12.5" in card


def test_golden_cases_hold_evidence_that_matters(bundle: Bundle) -> None:
    cases = bundle.golden()
    assert len(cases) >= 2
    for case in cases:
        assert case.inputs["evidence"].any()
        assert case.outputs["code"].any()


@pytest.fixture(scope="module")
def codeless(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("models") / "unary"
    return write_bundle(model_of(code=False), (HEIGHT, WIDTH), ABOUT, out)


def test_a_model_without_a_code_takes_an_image_alone(codeless: Bundle, model: Segmenter) -> None:
    manifest = codeless.manifest
    assert [spec.name for spec in manifest.inputs] == ["image"]
    assert manifest.code_size == 0
    assert manifest.refiners == ()
    image = inputs_of(0, model)["image"]
    graph = UnaryGraph(model_of(code=False), (HEIGHT, WIDTH))
    found = open_runner(codeless, "onnx", threads=1).run({"image": image}, graph.outputs)
    with torch.no_grad():
        expected = dict(zip(graph.outputs, graph(torch.from_numpy(image)), strict=True))
    assert (found["labels"] == expected["labels"].numpy()).mean() >= 0.999
    np.testing.assert_array_equal(found["labels"], found["labels_unrefined"])


def test_any_classes_can_be_exported(tmp_path: Path) -> None:
    """Fewer than the golden frames have, and no road among them; more than a table has rows."""
    for count in (3, 40):
        classes = tuple(ClassInfo(i, f"thing {i}", (i, i, i)) for i in range(count))
        torch.manual_seed(0)
        model = Segmenter(count, TINY_UNARY, (TINY_CODE,)).eval()
        about = dataclasses.replace(ABOUT, classes=classes, groups={})
        manifest = write_bundle(model, (32, 48), about, tmp_path / str(count)).manifest
        assert manifest.classes == classes
        assert manifest.max_sets == max(32, count + 1)


@pytest.mark.parametrize("size", [(60, 96), (64, 100)])
def test_a_size_that_the_solve_cannot_divide_is_refused(
    model: Segmenter, tmp_path: Path, size: tuple[int, int]
) -> None:
    with pytest.raises(ValueError, match="must be multiples of 8"):
        write_bundle(model, size, ABOUT, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_is_replaced_as_a_whole(codeless: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "model"
    out.mkdir()
    (out / "old.txt").write_text("old")
    (out / "manifest.json").write_text("{}")
    write_bundle(model_of(code=False), (32, 32), dataclasses.replace(ABOUT, name="new"), out)
    assert load_bundle(out).manifest.name == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_bundle_that_answers_wrongly_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights lost on the way into the file: the golden cases of the trained model find it."""
    out = tmp_path / "model"
    out.mkdir()
    (out / "old.txt").write_text("old")
    (out / "manifest.json").write_text("{}")
    original = exporter.halve_weights

    def lossy(model: Any) -> Any:
        halved = original(model)
        for weight in halved.graph.initializer:
            if weight.name.startswith("model.unary.scores"):
                weight.raw_data = bytes(len(weight.raw_data))
        return halved

    monkeypatch.setattr(exporter, "halve_weights", lossy)
    with pytest.raises(BundleError, match="answered wrongly"):
        write_bundle(model_of(code=False), (32, 32), ABOUT, out)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (out / "old.txt").read_text() == "old"


def test_a_folder_that_is_no_bundle_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mine.txt").write_text("mine")
    with pytest.raises(TrainingError, match=r"models exists and is no bundle"):
        write_bundle(model_of(code=False), (32, 32), ABOUT, tmp_path / "models")
    assert (tmp_path / "models" / "mine.txt").read_text() == "mine"


def test_a_checkpoint_is_exported_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = ("unary.width=4", "unary.blocks=1,1", "unary.dilations=1,2", "code.global_size=5")
    recipe = override(load_recipe("camvid_code"), changes)
    model = Segmenter(len(CAMVID_CLASSES), recipe.unary, recipe.refiners)
    checkpoint = tmp_path / recipe.name / recipe.stages[-1].name / "best.pt"
    checkpoint.parent.mkdir(parents=True)
    torch.save({"model": model.state_dict()}, checkpoint)
    (tmp_path / "scores.json").write_text(json.dumps({"val": 1.5}))
    folders = ["--runs", str(tmp_path), "--out", str(tmp_path / "out")]
    about = ["--name", "mine", "--scores", str(tmp_path / "scores.json"), "--size", "32", "48"]
    command.main(["camvid_code", *folders, *about, "--set", *changes])
    bundle = load_bundle(tmp_path / "out")
    assert bundle.digest[:12] in capsys.readouterr().out
    assert bundle.manifest.name == "mine"
    assert bundle.manifest.scores == {"val": 1.5}
    assert bundle.manifest.provenance["recipe"]["unary"]["width"] == 4
    check_bundle(bundle, open_runner(bundle, "onnx"))


def test_rounds_to_eight_bits_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = ("unary.width=4", "unary.blocks=1,1", "unary.dilations=1,2", "refiners=")
    torch.save({"model": model_of(code=False).state_dict()}, tmp_path / "best.pt")
    root = write_camvid(tmp_path / "camvid")
    files = ["--checkpoint", str(tmp_path / "best.pt"), "--out", str(tmp_path / "out")]
    rounding = ["--quantise", "int8", "--root", str(root), "--calibration-frames", "3"]
    command.main(["camvid_code", *files, "--size", "32", "48", *rounding, "--set", *changes])
    assert "rounded to int8" in capsys.readouterr().out
    quantised = load_bundle(tmp_path / "out").manifest.quantisation
    assert quantised is not None
    assert quantised.calibration == {"dataset": "camvid", "split": "train", "frames": 3}
    assert quantised.loss["val_frames"] == 2


def test_help_suffices() -> None:
    line = [sys.executable, "-m", "training.export", "--help"]
    shown = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    for word in ("camvid_code", "--out", "--checkpoint", "--size", "--quantise", "models/default"):
        assert word in shown
