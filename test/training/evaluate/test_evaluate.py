"""`python -m training.evaluate` on a tiny CamVid, with a tiny bundle and a tiny checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny_bundle import write_tiny_bundle
from tiny_datasets import write_lfw, write_original_camvid
from tiny_training import write_camvid

from seg_perception.classes import CAMVID_CLASSES
from seg_perception.datasets import open_dataset
from seg_perception.datasets.catalogue import FACE_CLASSES
from seg_perception.evaluation.scores import ConfusionMatrix
from training.evaluate.__main__ import main, readings_of
from training.evaluate.models import CheckpointModel, open_model
from training.evaluate.published import papers
from training.evaluate.scoring import Reading, score
from training.model import Segmenter
from training.objectives.base import image_of, labels_of
from training.recipe import load_recipe, override

SMALL = ("unary.width=4", "unary.blocks=1,1", "unary.dilations=1,2", "refiners=code")
SMALL += ("code.global_size=5", "code.grid_size=2", "code.channels=3", "code.coarse=2,3")


@pytest.fixture(scope="module")
def camvid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_camvid(tmp_path_factory.mktemp("camvid"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    return write_tiny_bundle(folder, height=48, width=64, classes=CAMVID_CLASSES)


@pytest.fixture(scope="module")
def model() -> Segmenter:
    torch.manual_seed(0)
    recipe = override(load_recipe("camvid_code"), SMALL)
    return Segmenter(11, recipe.unary, recipe.refiners).eval()


@pytest.fixture(scope="module")
def checkpoint(model: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "camvid_code-without-0001TP" / "code" / "best.pt"
    path.parent.mkdir(parents=True)
    torch.save({"model": model.state_dict()}, path)
    return path


def test_a_checkpoint_answers_at_every_point_as_its_model(
    checkpoint: Path, model: Segmenter, camvid: Path
) -> None:
    opened = open_model(checkpoint, SMALL)
    assert isinstance(opened, CheckpointModel)
    assert opened.points == ("unary", "code")
    sample = open_dataset("camvid", camvid, "val")[0]
    image = image_of(sample, torch.device("cpu"))
    with torch.no_grad():
        unary, last = model.unary(image).scores, model(image)
    found = opened.label(sample.image)
    np.testing.assert_array_equal(found["unary"], labels_of(unary, sample.labels.shape))
    np.testing.assert_array_equal(found["code"], labels_of(last, sample.labels.shape))


def test_a_model_of_shrunk_images_labels_whole_ones(checkpoint: Path, camvid: Path) -> None:
    image = open_dataset("camvid", camvid, "val")[0].image
    small = np.asarray(cv2.resize(image, (32, 24), interpolation=cv2.INTER_AREA), np.uint8)
    found = open_model(checkpoint, (*SMALL, "data.shrink=2")).label(image)["code"]
    expected = open_model(checkpoint, SMALL).label(small)["code"]
    assert found.shape == image.shape[:2]
    assert (found[::2, ::2] == expected).mean() > 0.7


def test_a_row_is_scored_as_its_labels_are(bundle: Path, camvid: Path) -> None:
    data, opened = open_dataset("camvid", camvid, "val"), open_model(bundle)
    seen: list[str] = []
    found = score(
        {"all": Reading(opened, "refined"), "first": Reading(opened, "unary")},
        data,
        lambda sample, labels: seen.append(f"{sample.name} {', '.join(labels)}"),
    )
    expected = ConfusionMatrix.empty(11)
    for i in range(len(data)):
        labels = opened.label(data[i].image)["refined"]
        expected += ConfusionMatrix.of(labels, data[i].labels, 11)
    np.testing.assert_array_equal(found["all"].confusion.counts, expected.counts)
    assert seen == [f"0016E5_000{n:03} all, first" for n in (90, 120)]
    half = score({"all": Reading(opened, "refined")}, data, lambda sample, labels: None, every=2)
    assert half["all"].confusion.n_pixels == (data[0].labels != 255).sum()
    record = found["all"].to_record()
    assert record["superpixel_accuracy"] is None
    assert record["pixel_accuracy"] == expected.pixel_accuracy
    json.dumps(record, allow_nan=False)


@pytest.mark.parametrize("kind", ["bundle", "checkpoint"])
def test_what_is_given_is_obeyed_at_any_size(
    kind: str, bundle: Path, checkpoint: Path, tmp_path: Path
) -> None:
    path, settings = (bundle, ()) if kind == "bundle" else (checkpoint, SMALL)
    opened = open_model(path, settings)
    data = open_dataset("camvid", write_camvid(tmp_path, 64, 96), "val")
    rows = papers()["004"].rows
    readings = {
        key: Reading(opened, rows[key].point or opened.points[-1], rows[key].given)
        for key in ("zero_code", "road_replaced", "road_both")
    }
    found = score(readings, data, lambda sample, labels: None)
    accuracy = {key: one.confusion.class_accuracy[3] for key, one in found.items()}
    assert accuracy["zero_code"] < 90
    assert accuracy["road_replaced"] > 95  # the rim is lost where sizes differ
    assert accuracy["road_both"] > 95


def test_a_table_a_figure_and_all_scores_are_written(
    bundle: Path, checkpoint: Path, camvid: Path, tmp_path: Path, capsys
) -> None:
    rows = [f"fcn8s={bundle}#unary", f"fcn8s+dae_y={bundle}", f"combined={checkpoint}#code"]
    markdown, record, figure = (tmp_path / name for name in ("a.md", "a.json", "a.png"))
    out = ["--markdown", str(markdown), "--json", str(record), "--figure", str(figure)]
    main(["003", *rows, "--root", str(camvid), "--pictures", "2", *out, "--set", *SMALL])
    text = markdown.read_text()
    assert text in capsys.readouterr().out
    lines = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if "|" in line}
    found = json.loads(record.read_text())["rows"]
    ours = found["fcn8s+dae_y"]["ours"]
    expected = (ours["miou"], ours["pixel_accuracy"], ours["boundary_f"])
    cells = ["60.0", "89.3", *(f"{value:.2f}" for value in expected)]
    assert lines["FCN-8 + DAE(y)"].split(" | ")[1:-1] == cells
    assert lines["FC-DenseNet103"].split(" | ")[3] == "–"
    assert f"combined | – | – | {found['combined']['ours']['miou']:.2f}" in lines["combined"]
    assert "camvid val, 2 images" in text
    picture = cv2.imread(str(figure))
    assert picture.shape[1] == 5 * 324  # image, truth and three rows
    assert picture.shape[0] == 22 + 2 * 244


def test_one_model_fills_a_table_of_evidence(bundle: Path, camvid: Path, tmp_path: Path) -> None:
    record = tmp_path / "a.json"
    main(["004", f"all={bundle}", "--root", str(camvid), "--json", str(record)])
    rows = json.loads(record.read_text())["rows"]
    assert all(row["ours"] for row in rows.values())
    accuracy = {key: row["ours"]["pixel_accuracy"] for key, row in rows.items()}
    assert accuracy["road_replaced"] > accuracy["zero_code"]
    assert rows["road_optimised"]["published"] == {"pixel_accuracy": 92.4}


def test_superpixels_are_scored_where_there_are_some(tmp_path: Path) -> None:
    record = tmp_path / "a.json"
    bundle = write_tiny_bundle(tmp_path / "tiny", classes=FACE_CLASSES)
    data = ["--dataset", "lfw", "--root", str(write_lfw(tmp_path / "lfw"))]
    main(["000", f"fcn={bundle}", *data, "--json", str(record)])
    assert json.loads(record.read_text())["rows"]["fcn"]["ours"]["superpixel_accuracy"] == 100


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("fcn8s", "is not of the form ROW=MODEL"),
        ("fcn8s=/nowhere", "neither a bundle's folder nor a checkpoint"),
        ("fcn8s=BUNDLE#dae", "no point 'dae' in the model; use unary, refined"),
    ],
)
def test_a_wrong_row_says_what_to_give(row: str, message: str, bundle: Path) -> None:
    with pytest.raises(ValueError, match=message):
        readings_of(papers()["003"], [row.replace("BUNDLE", str(bundle))], ())


def test_a_row_may_have_settings_of_its_own(checkpoint: Path) -> None:
    rows = [f"one={checkpoint}", f"two={checkpoint}#unary", f"three={checkpoint},code.inner=1"]
    rows += [f"four={checkpoint}#code,code.inner=1,code.iterations=1"]
    found = readings_of(papers()["001"], rows, SMALL)
    assert [reading.point for reading in found.values()] == ["code", "unary", "code", "code"]
    models = [reading.model for reading in found.values()]
    assert models[0] is models[1]
    assert len({id(model) for model in models}) == 3
    assert models[2]._model.code.config.inner == models[3]._model.code.config.inner == 1
    assert models[3]._model.code.config.iterations == 1


def test_a_checkpoint_of_another_model_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not fit recipe camvid_code: give the same --set"):
        open_model(checkpoint)
    stray = tmp_path / "elsewhere" / "code" / "best.pt"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(checkpoint.read_bytes())
    with pytest.raises(ValueError, match="lies in the run 'elsewhere', which no recipe"):
        open_model(stray)


def test_a_model_of_other_classes_is_refused(bundle: Path, tmp_path: Path) -> None:
    data = open_dataset("camvid32", write_original_camvid(tmp_path), "val")
    with pytest.raises(ValueError, match=r"fcn8s: the model tells sky, .* apart, but camvid32"):
        score({"fcn8s": Reading(open_model(bundle), "unary")}, data, lambda sample, labels: None)


def test_a_model_without_a_code_takes_no_evidence(
    camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = {"height": 48, "width": 64}
    plain = write_tiny_bundle(tmp_path / "plain", classes=CAMVID_CLASSES, code_size=0, **size)
    with pytest.raises(SystemExit):
        main(["004", f"all={plain}", "--root", str(camvid)])
    assert "has no code: it takes no evidence" in capsys.readouterr().err
