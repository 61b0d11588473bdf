from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_bundle import TINY_CLASSES, write_tiny_bundle

from seg_perception.errors import BundleError
from seg_perception.runtime.bundle import Manifest, Quantisation


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder: Path = write_tiny_bundle(tmp_path_factory.mktemp("tiny"))
    return (folder / "manifest.json").read_text()


def test_the_text_reads_back_as_the_same_manifest(text: str) -> None:
    manifest = Manifest.from_json(text)
    assert manifest.classes == TINY_CLASSES
    assert manifest.to_json() == text
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_the_file_has_the_documented_layout(text: str) -> None:
    record = json.loads(text)
    assert record["input"] == {"height": 24, "width": 32, "encoding": "rgb8"}
    assert record["classes"][1] == {"id": 1, "name": "road", "color": [255, 0, 0]}
    assert record["class_groups"]["ground"] == ["road", "sidewalk"]
    assert record["graph"]["inputs"][0] == {
        "name": "image",
        "dtype": "uint8",
        "shape": [1, 24, 32, 3],
    }
    assert set(record["files"]) == {"model.onnx", "golden.npz", "MODEL_CARD.md"}


def test_a_model_with_a_code_takes_evidence(text: str) -> None:
    manifest = Manifest.from_json(text)
    assert manifest.takes_evidence
    assert (manifest.n_classes, manifest.max_sets) == (4, 32)
    assert manifest.default_outputs == ("labels", "confidence", "entropy", "code")


def test_a_model_without_a_code_takes_none(tmp_path: Path) -> None:
    folder = write_tiny_bundle(tmp_path, code_size=0)
    manifest = Manifest.from_json((folder / "manifest.json").read_text())
    assert not manifest.takes_evidence
    assert manifest.max_sets == 0
    assert [spec.name for spec in manifest.inputs] == ["image"]
    assert manifest.default_outputs == ("labels", "confidence", "entropy")


def test_a_newer_format_says_what_to_do(text: str) -> None:
    # A newer format may have any other fields.
    newer = json.dumps({"format_version": 2, "something": "new"})
    with pytest.raises(BundleError) as refusal:
        Manifest.from_json(newer)
    assert str(refusal.value) == (
        "made by a newer seg_perception (format 2, this reads 1): "
        "update seg_perception or export again"
    )


def edited(text: str, path: str, value: Any) -> str:
    """The text with the value at a dotted path replaced; None deletes it."""
    record = json.loads(text)
    *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    at = record
    for key in parents:
        at = at[key]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return json.dumps(record)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("format_version", None, "format_version is None: this is no bundle manifest"),
        ("format_version", "1", "format_version is '1'"),
        ("format_version", 0, "format_version is 0"),
        ("name", None, r"fields missing \['name'\]"),
        ("surprise", 1, r"unknown \['surprise'\]"),
        ("input.surprise", 1, "input should be an object with the fields"),
        ("input", None, "input should be an object with the fields"),
        ("graph", [], "graph should be an object with the fields"),
        ("input.encoding", "bgr8", "encoding is 'bgr8', only 'rgb8' is known"),
        ("input.height", 25, r"image uint8 \[1, 24, 32, 3\] should be .*\[1, 25, 32, 3\]"),
        ("input.height", 0, "a model of 32x0"),
        ("input.width", True, "width is True instead of a JSON integer"),
        ("code_size", 5, r"prior_code float32 \[1, 4\] should be .*\[1, 5\]"),
        ("code_size", 0, "code size is 0, but the graph takes evidence"),
        ("code_size", -1, "code size -1"),
        ("classes", [], r"class ids are \[\]"),
        ("classes.0.id", 3, r"class ids are \[3, 1, 2, 3\]"),
        ("classes.0.name", "road", "two classes have the same name"),
        ("classes.0.color", [0, 300, 0], r"class 'sky' has the colour \(0, 300, 0\)"),
        ("classes.0.color", [0, -1, 0], "give 0 to 255"),
        ("class_groups.ground", ["raod"], r"group 'ground' names unknown classes \['raod'\]"),
        ("graph.inputs.0.name", "picture", r"unknown \['picture'\], missing \['image'\]"),
        ("graph.inputs.0.dtype", "float32", "image float32 .* should be image uint8"),
        ("graph.inputs.4", None, r"missing \['prior_code'\]"),
        ("graph.inputs.2.shape", [1, 4], r"evidence_weight float32 \[32\] should be .*\[1\]"),
        ("graph.outputs.3", None, r"missing \['code'\]"),
        ("graph.outputs.1.shape", [1, 32, 24], r"confidence uint8 \[1, 32, 24\] should be"),
        ("files", {}, "files does not list model.onnx"),
        ("files", [], "files is \\[\\] instead of a JSON object"),
    ],
)
def test_a_manifest_that_breaks_the_contract_is_refused(
    text: str, path: str, value: Any, message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        Manifest.from_json(edited(text, path, value))


@pytest.mark.parametrize("rows", [1, 257])
def test_as_many_sets_as_an_index_can_name(text: str, rows: int) -> None:
    record = json.loads(text)
    record["graph"]["inputs"][2]["shape"][0] = rows
    record["graph"]["inputs"][3]["shape"][0] = rows
    with pytest.raises(BundleError, match=f"evidence_sets has {rows} rows: export with 2 to 256"):
        Manifest.from_json(json.dumps(record))


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/passwd", "a/../../b", "kernels\\a", "./a", "a//b", ""]
)
def test_a_path_out_of_the_folder_is_refused(text: str, name: str) -> None:
    files = {**json.loads(text)["files"], name: "00"}
    with pytest.raises(BundleError, match="no plain path inside the bundle"):
        Manifest.from_json(edited(text, "files", files))


@pytest.mark.parametrize("optional", ["labels_replaced", "labels_optimised_replaced"])
def test_evaluation_outputs_may_be_absent(text: str, optional: str) -> None:
    record = json.loads(text)
    outputs = record["graph"]["outputs"]
    record["graph"]["outputs"] = [spec for spec in outputs if spec["name"] != optional]
    names = [spec.name for spec in Manifest.from_json(json.dumps(record)).outputs]
    assert optional not in names


def test_scores_that_json_cannot_hold_are_refused_when_written(text: str) -> None:
    manifest = Manifest.from_json(text)
    broken = {**manifest.__dict__, "scores": {"miou": float("nan")}}
    with pytest.raises(ValueError, match="not JSON compliant"):
        Manifest(**broken).to_json()


QUANTISATION = {"precision": "int8", "calibration": {"frames": 64}, "loss": {"miou_after": 65.8}}


def test_says_how_it_was_rounded_if_it_was(text: str) -> None:
    whole = Manifest.from_json(text)
    assert whole.quantisation is None
    assert "quantisation" not in json.loads(whole.to_json())
    rounded = Manifest.from_json(json.dumps({**json.loads(text), "quantisation": QUANTISATION}))
    assert rounded.quantisation == Quantisation(**QUANTISATION)
    assert Manifest.from_json(rounded.to_json()) == rounded


def test_eight_bits_that_are_not_known_are_refused(text: str) -> None:
    record = {**json.loads(text), "quantisation": {**QUANTISATION, "precision": "int4"}}
    with pytest.raises(BundleError, match="precision is 'int4', known are int8, fp8: update"):
        Manifest.from_json(json.dumps(record))


@given(data=st.data())
def test_a_truncated_manifest_is_refused(text: str, data: st.DataObject) -> None:
    end = data.draw(st.integers(0, len(text.rstrip()) - 1))
    with pytest.raises(BundleError):
        Manifest.from_json(text[:end])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(data=st.data(), value=json_values)
def test_whatever_stands_in_a_field_it_is_read_or_refused(
    text: str, data: st.DataObject, value: Any
) -> None:
    record = json.loads(text)
    field = data.draw(st.sampled_from(sorted(record)))
    record[field] = value
    try:
        manifest = Manifest.from_json(json.dumps(record))
    except BundleError:
        return
    assert field in {"name", "class_groups", "refiners", "custom_ops", "provenance", "scores"} or (
        value == json.loads(text)[field]
    )
    assert manifest.classes == TINY_CLASSES
