from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from tiny_bundle import (
    MAX_SETS,
    TINY_CLASSES,
    color_image,
    measured_code,
    reseal,
    tiny_model,
    write_tiny_bundle,
)

from seg_perception.classes import CAMVID_CLASSES
from seg_perception.errors import BundleError, RunnerError
from seg_perception.runtime.bundle import input_specs, load_bundle, output_specs
from seg_perception.runtime.onnx_runner import OnnxRunner, open_best

DEFAULT = {"labels", "confidence", "entropy", "code"}
HAS_CUDA = "CUDAExecutionProvider" in onnxruntime.get_available_providers()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("original"))


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(original, tmp_path / "bundle"))


@pytest.fixture
def runner(original: Path) -> OnnxRunner:
    return OnnxRunner(load_bundle(original), threads=1)


@pytest.fixture
def truth() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 4, (24, 32), np.uint8)


def image_of(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return color_image(labels, TINY_CLASSES)[None]


def road_on_the_left() -> dict[str, NDArray[Any]]:
    """Graph inputs that leave only road (class 1) possible in the left half."""
    evidence = np.zeros((1, 24, 32), np.uint8)
    evidence[:, :, :16] = 1
    sets = np.ones((MAX_SETS, 4), np.float32)
    sets[1] = (0, 1, 0, 0)
    weight = np.zeros(MAX_SETS, np.float32)
    weight[1] = 1
    return {"evidence": evidence, "evidence_sets": sets, "evidence_weight": weight}


def test_an_image_alone_is_answered_with_the_default_outputs(
    runner: OnnxRunner, truth: NDArray[np.uint8]
) -> None:
    answers = runner.run({"image": image_of(truth)})
    assert set(answers) == DEFAULT
    np.testing.assert_array_equal(answers["labels"][0], truth)
    assert answers["confidence"].min() > 240
    assert answers["entropy"].max() < 15
    expected = measured_code(image_of(truth)[0], 0.0, 4)
    np.testing.assert_allclose(answers["code"], expected, rtol=1e-5)


def test_evidence_changes_the_labels_it_speaks_about(
    runner: OnnxRunner, truth: NDArray[np.uint8]
) -> None:
    names = ["labels", "labels_unrefined"]
    answers = runner.run({"image": image_of(truth), **road_on_the_left()}, names)
    assert (answers["labels"][0, :, :16] == 1).all()
    np.testing.assert_array_equal(answers["labels"][0, :, 16:], truth[:, 16:])
    np.testing.assert_array_equal(answers["labels_unrefined"][0], truth)


def test_the_prior_enters_the_code(runner: OnnxRunner, truth: NDArray[np.uint8]) -> None:
    prior = np.array([[1, 2, 3, 4]], np.float32)
    precision = np.array([3], np.float32)
    inputs = {"image": image_of(truth), "prior_code": prior, "prior_precision": precision}
    expected = (measured_code(image_of(truth)[0], 0.0, 4) + 3 * prior) / 4
    np.testing.assert_allclose(runner.run(inputs)["code"], expected, rtol=1e-5)


def test_evaluation_outputs_come_when_asked_for(
    runner: OnnxRunner, truth: NDArray[np.uint8]
) -> None:
    inputs = {"image": image_of(truth), **road_on_the_left()}
    names = ["labels_optimised_replaced", "labels", "labels_replaced"]
    answers = runner.run(inputs, names)
    assert list(answers) == names
    assert (answers["labels_replaced"][0, :, :16] == 1).all()
    np.testing.assert_array_equal(answers["labels"], runner.run(inputs)["labels"])


def test_only_the_outputs_asked_for_are_given(runner: OnnxRunner, truth: NDArray[np.uint8]) -> None:
    assert list(runner.run({"image": image_of(truth)}, ["entropy"])) == ["entropy"]


def test_answers_are_the_callers_own(runner: OnnxRunner, truth: NDArray[np.uint8]) -> None:
    first = runner.run({"image": image_of(truth)})["labels"]
    kept = first.copy()
    runner.run({"image": image_of(3 - truth)})
    np.testing.assert_array_equal(first, kept)
    first[:] = 0


@pytest.mark.parametrize("code_size", [0, 3])
def test_any_size_and_classes(tmp_path: Path, code_size: int) -> None:
    bundle = load_bundle(
        write_tiny_bundle(
            tmp_path, height=5, width=9, classes=CAMVID_CLASSES, code_size=code_size, max_sets=2
        )
    )
    labels = np.arange(45, dtype=np.uint8).reshape(5, 9) % 11
    answers = OnnxRunner(bundle).run({"image": color_image(labels, CAMVID_CLASSES)[None]})
    np.testing.assert_array_equal(answers["labels"][0], labels)
    assert ("code" in answers) == bool(code_size)


def test_wrong_inputs_and_outputs_never_reach_the_runtime(
    runner: OnnxRunner, truth: NDArray[np.uint8]
) -> None:
    with pytest.raises(RunnerError, match="'image' is missing"):
        runner.run({})
    with pytest.raises(RunnerError, match="unknown to the model 'tiny'"):
        runner.run({"image": image_of(truth)}, ["depth"])


def test_several_threads_may_run_at_once(runner: OnnxRunner) -> None:
    wrong: list[int] = []

    def work(label: int) -> None:
        labels = np.full((24, 32), label, np.uint8)
        for i in range(20):
            names = ["labels", "labels_replaced"] if i % 2 else None
            if (runner.run({"image": image_of(labels)}, names)["labels"] != label).any():
                wrong.append(label)

    threads = [threading.Thread(target=work, args=(label,)) for label in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_closed_runner_says_so(runner: OnnxRunner, truth: NDArray[np.uint8]) -> None:
    runner.close()
    runner.close()
    with pytest.raises(RunnerError, match="closed: open the bundle again"):
        runner.run({"image": image_of(truth)})


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_model_that_was_truncated_before_sealing_is_named(folder: Path, fraction: float) -> None:
    content = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(content[: int(fraction * len(content))])
    reseal(folder)
    with pytest.raises(BundleError, match=r"model\.onnx.*export (the bundle )?again"):
        OnnxRunner(load_bundle(folder))


def test_a_model_of_another_kind_is_named(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"\x80\x04 this is a pickle, not a model")
    reseal(folder)
    with pytest.raises(BundleError, match=r"model\.onnx cannot be opened.*export"):
        OnnxRunner(load_bundle(folder))


@pytest.mark.parametrize(
    ("height", "code_size", "side"), [(25, 4, "inputs"), (24, 5, "inputs"), (24, 0, "inputs")]
)
def test_a_model_that_is_not_what_the_manifest_says_is_named(
    folder: Path, height: int, code_size: int, side: str
) -> None:
    inputs = input_specs(height, 32, 4, code_size, MAX_SETS)
    outputs = output_specs(height, 32, code_size)
    (folder / "model.onnx").write_bytes(tiny_model(inputs, outputs, TINY_CLASSES, code_size))
    reseal(folder)
    with pytest.raises(BundleError, match=rf"model\.onnx: graph {side} .*but the manifest says"):
        OnnxRunner(load_bundle(folder))


def test_a_model_that_lacks_an_output_is_named(folder: Path) -> None:
    inputs = input_specs(24, 32, 4, 4, MAX_SETS)
    outputs = [spec for spec in output_specs(24, 32, 4) if spec.name != "entropy"]
    (folder / "model.onnx").write_bytes(tiny_model(inputs, outputs, TINY_CLASSES, 4))
    reseal(folder)
    with pytest.raises(BundleError, match=r"graph outputs \['entropy'\] are \[None\], but"):
        OnnxRunner(load_bundle(folder))


def test_a_model_changed_after_loading_is_not_run(folder: Path) -> None:
    bundle = load_bundle(folder)
    model = bytearray(bundle.model_path.read_bytes())
    model[-1] ^= 1
    bundle.model_path.write_bytes(model)
    with pytest.raises(BundleError, match="was changed after the bundle was loaded"):
        OnnxRunner(bundle)


def test_a_model_deleted_after_loading_is_named(folder: Path) -> None:
    bundle = load_bundle(folder)
    bundle.model_path.unlink()
    with pytest.raises(BundleError, match=r"model\.onnx cannot be read"):
        OnnxRunner(bundle)


@pytest.mark.parametrize("threads", [0, -1])
def test_fewer_than_one_thread_is_refused(original: Path, threads: int) -> None:
    with pytest.raises(RunnerError, match=f"{threads} threads: give at least 1"):
        OnnxRunner(load_bundle(original), threads=threads)


def test_the_best_runner_says_why(original: Path) -> None:
    runner = open_best(load_bundle(original))
    assert runner.name in ("onnx-cpu", "onnx-cuda")
    assert "CUDA" in runner.reason


@pytest.mark.skipif(HAS_CUDA, reason="this ONNX Runtime has CUDA")
def test_cuda_that_is_not_there_is_refused_with_the_fix(original: Path) -> None:
    with pytest.raises(RunnerError, match=r"pip install onnxruntime-gpu.*or use the runner 'onnx'"):
        OnnxRunner(load_bundle(original), cuda=True)
