from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_bundle import write_tiny_bundle

from seg_perception.errors import RunnerError
from seg_perception.runtime.bundle import Manifest, load_bundle
from seg_perception.runtime.inputs import check_inputs, check_outputs, nothing_known


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    folder: Path = write_tiny_bundle(tmp_path_factory.mktemp("tiny"))
    return load_bundle(folder).manifest


IMAGE = np.zeros((1, 24, 32, 3), np.uint8)


def test_nothing_known_is_complete_and_allows_everything(manifest: Manifest) -> None:
    inputs = nothing_known(manifest)
    check_inputs(manifest, {"image": IMAGE, **inputs})
    assert set(inputs) == {spec.name for spec in manifest.inputs} - {"image"}
    assert inputs["evidence_sets"].all()
    assert not inputs["evidence_weight"].any()
    assert not inputs["prior_precision"].any()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, r"'image' is missing: give uint8 \[1, 24, 32, 3\]"),
        ({"image": IMAGE[0]}, r"uint8 \[24, 32, 3\]: give uint8 \[1, 24, 32, 3\]"),
        ({"image": IMAGE.astype(np.float32)}, r"'image' is float32 .*: give uint8"),
        ({"image": IMAGE, "picture": IMAGE}, r"\['picture'\] are unknown.*it takes image, evi"),
        ({"image": IMAGE, "prior_code": np.zeros((1, 5), np.float32)}, r"give float32 \[1, 4\]"),
        ({"image": IMAGE, "prior_precision": np.zeros(1)}, r"float64 \[1\]: give float32 \[1\]"),
    ],
)
def test_wrong_inputs_are_refused_with_the_right_ones(
    manifest: Manifest, inputs: dict[str, NDArray[Any]], message: str
) -> None:
    with pytest.raises(RunnerError, match=message):
        check_inputs(manifest, inputs)


def test_unknown_outputs_are_refused_with_those_there_are(manifest: Manifest) -> None:
    check_outputs(manifest, ("labels_replaced", "code"))
    with pytest.raises(RunnerError, match=r"\['depth'\] are unknown.*it answers labels, conf"):
        check_outputs(manifest, ("labels", "depth"))
