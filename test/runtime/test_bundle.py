from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_bundle import reseal, write_tiny_bundle

from seg_perception.errors import BundleError
from seg_perception.runtime.bundle import (
    Bundle,
    Quantisation,
    check_bundle,
    hash_file,
    load_bundle,
)
from seg_perception.runtime.runner import open_runner

FILES = ("manifest.json", "model.onnx", "golden.npz", "MODEL_CARD.md")
HASHED = FILES[1:]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("original"))


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(original, tmp_path / "bundle"))


def test_a_valid_bundle_is_read(original: Path) -> None:
    bundle = load_bundle(original)
    assert bundle.manifest.name == "tiny"
    assert bundle.model_path == original / "model.onnx"
    assert bundle.digest == hash_file(original / "manifest.json")
    assert load_bundle(str(original)) == bundle


def test_the_digest_changes_with_any_file(folder: Path) -> None:
    before = load_bundle(folder).digest
    (folder / "MODEL_CARD.md").write_text("another")
    reseal(folder)
    assert load_bundle(folder).digest != before


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"{name}.*(copy the bundle again|give the folder)"):
        load_bundle(folder)


@pytest.mark.parametrize("name", HASHED)
@pytest.mark.parametrize("fraction", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_named(folder: Path, name: str, fraction: float) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(BundleError, match=f"{name} is corrupt or was changed.*copy the bundle"):
        load_bundle(folder)


@pytest.mark.parametrize("name", HASHED)
@pytest.mark.parametrize("fraction", [0.0, 0.5, 1.0])
def test_one_changed_bit_is_noticed(folder: Path, name: str, fraction: float) -> None:
    content = bytearray((folder / name).read_bytes())
    content[int(fraction * (len(content) - 1))] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} is corrupt or was changed"):
        load_bundle(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b"[" * 100_000])
def test_a_manifest_that_is_none_is_named(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"manifest\.json: "):
        load_bundle(folder)


def test_a_newer_format_is_refused_with_the_file_and_the_fix(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"format_version": 2}')
    with pytest.raises(BundleError, match=r"manifest\.json: made by a newer .*format 2.*update"):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["weights.bin", "kernels/sm_87.cubin", ".hidden"])
def test_a_file_that_nothing_vouches_for_is_refused(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"?")
    with pytest.raises(BundleError, match=f"{name} is not listed.*remove it"):
        load_bundle(folder)


def test_files_in_folders_are_fine_when_listed(folder: Path) -> None:
    (folder / "kernels").mkdir()
    (folder / "kernels" / "sm_87.cubin").write_bytes(b"code")
    digest = hash_file(folder / "kernels" / "sm_87.cubin")
    files = {**load_files(folder), "kernels/sm_87.cubin": digest}
    reseal(folder, files=files)
    assert "kernels/sm_87.cubin" in load_bundle(folder).manifest.files


def load_files(folder: Path) -> dict[str, str]:
    return {name: hash_file(folder / name) for name in HASHED}


def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.md"
    (folder / "MODEL_CARD.md").rename(outside)
    (folder / "MODEL_CARD.md").symlink_to(outside)
    with pytest.raises(BundleError, match=r"MODEL_CARD\.md leads out of the bundle"):
        load_bundle(folder)


def test_no_folder_at_all_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nowhere is no bundle.*give the folder that holds"):
        load_bundle(tmp_path / "nowhere")


def test_the_model_file_instead_of_the_folder_says_what_to_give(original: Path) -> None:
    with pytest.raises(BundleError, match=r"model\.onnx is no bundle.*give the folder"):
        load_bundle(original / "model.onnx")


def test_golden_cases_hold_inputs_and_outputs(original: Path) -> None:
    cases = load_bundle(original).golden()
    assert len(cases) == 2
    assert cases[0].inputs["image"].shape == (1, 24, 32, 3)
    assert cases[1].outputs["labels"].dtype == np.uint8


@pytest.mark.parametrize("code_size", [0, 4])
def test_a_right_model_passes_the_self_test(tmp_path: Path, code_size: int) -> None:
    bundle = load_bundle(write_tiny_bundle(tmp_path, code_size=code_size))
    check_bundle(bundle, open_runner(bundle))


def rewrite_golden(folder: Path, change: Any) -> Bundle:
    """Apply `change` to the dict of golden arrays, reseal, and load."""
    with np.load(folder / "golden.npz") as archive:
        arrays = dict(archive)
    change(arrays)
    np.savez(folder / "golden.npz", **arrays)
    reseal(folder)
    return load_bundle(folder)


@pytest.mark.parametrize(
    ("name", "least"), [("labels", 1), ("confidence", 2), ("entropy", 2), ("code", 1)]
)
def test_a_model_that_answers_otherwise_fails_the_self_test(
    folder: Path, name: str, least: int
) -> None:
    def shift(arrays: dict[str, NDArray[Any]]) -> None:
        arrays[f"case1.out.{name}"] = arrays[f"case1.out.{name}"] + np.uint8(least)

    bundle = rewrite_golden(folder, shift)
    with pytest.raises(BundleError, match=rf"golden\.npz: case 1 is answered wrongly.*{name} diff"):
        check_bundle(bundle, open_runner(bundle))


@pytest.mark.parametrize(("n_flipped", "passes"), [(2, True), (3, False)])
def test_one_label_in_a_thousand_may_differ(tmp_path: Path, n_flipped: int, passes: bool) -> None:
    def flip(arrays: dict[str, NDArray[Any]]) -> None:
        labels = arrays["case0.out.labels"].reshape(-1)
        labels[:n_flipped] = (labels[:n_flipped] + 1) % 4

    bundle = rewrite_golden(write_tiny_bundle(tmp_path, height=40, width=50), flip)
    if passes:
        check_bundle(bundle, open_runner(bundle))
    else:
        with pytest.raises(BundleError, match=r"labels differs by 0\.15, at most 0\.1 is allowed"):
            check_bundle(bundle, open_runner(bundle))


def test_one_label_in_a_hundred_where_convolutions_are_rounded(tmp_path: Path) -> None:
    def flip(arrays: dict[str, NDArray[Any]]) -> None:
        labels = arrays["case0.out.labels"].reshape(-1)
        labels[:20] = (labels[:20] + 1) % 4

    folder = write_tiny_bundle(tmp_path, height=40, width=50)
    rewrite_golden(folder, flip)
    reseal(folder, quantisation=Quantisation("int8", {}, {}))
    bundle = load_bundle(folder)
    check_bundle(bundle, open_runner(bundle))


def test_an_answer_that_is_not_a_number_fails_the_self_test(folder: Path) -> None:
    def spoil(arrays: dict[str, NDArray[Any]]) -> None:
        arrays["case0.out.code"] = np.full_like(arrays["case0.out.code"], np.nan)

    bundle = rewrite_golden(folder, spoil)
    with pytest.raises(BundleError, match="code differs by nan"):
        check_bundle(bundle, open_runner(bundle))


def test_negative_control_a_runner_that_ignores_its_input_fails(original: Path) -> None:
    bundle = load_bundle(original)
    first = bundle.golden()[0]

    class Constant:
        """Answers everything as the first case: right there, and nowhere else."""

        def run(self, inputs: Any, outputs: Any = None) -> dict[str, NDArray[Any]]:
            return dict(first.outputs)

    with pytest.raises(BundleError, match="case 1 is answered wrongly"):
        check_bundle(bundle, Constant())


def test_negative_control_cases_that_cannot_tell_answers_apart_fail(folder: Path) -> None:
    def make_alike(arrays: dict[str, NDArray[Any]]) -> None:
        for name in list(arrays):
            if name.startswith("case1."):
                arrays[name] = arrays[name.replace("case1.", "case0.")]

    bundle = rewrite_golden(folder, make_alike)
    with pytest.raises(BundleError, match="answered like another case"):
        check_bundle(bundle, open_runner(bundle))


def drop_case_1(arrays: dict[str, NDArray[Any]]) -> None:
    for name in [name for name in arrays if name.startswith("case1.")]:
        del arrays[name]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop_case_1, "1 cases.*export again with at least 2"),
        (lambda arrays: arrays.pop("case0.in.image"), "not all complete"),
        (lambda arrays: arrays.pop("case0.out.labels"), "not all complete"),
        (lambda arrays: arrays.update(other=np.zeros(1)), "'other' belongs to no case"),
    ],
)
def test_golden_cases_that_are_incomplete_are_refused(
    folder: Path, change: Any, message: str
) -> None:
    with pytest.raises(BundleError, match=rf"golden\.npz: .*{message}"):
        rewrite_golden(folder, change).golden()


def test_golden_arrays_are_never_unpickled(folder: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (pytest.fail, ("unpickled",))

    def plant(arrays: dict[str, NDArray[Any]]) -> None:
        arrays["case0.in.image"] = np.array([Bomb()], object)

    bundle = rewrite_golden(folder, plant)
    with pytest.raises(BundleError, match=r"golden\.npz cannot be read .*export again"):
        bundle.golden()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00"])
def test_golden_of_another_kind_is_refused(folder: Path, content: bytes) -> None:
    (folder / "golden.npz").write_bytes(content)
    reseal(folder)
    with pytest.raises(BundleError, match=r"golden\.npz cannot be read"):
        load_bundle(folder).golden()


def test_a_golden_file_truncated_inside_an_array_is_refused(folder: Path) -> None:
    bundle = load_bundle(folder)
    path = folder / "golden.npz"
    content = path.read_bytes()
    # The archive's directory stays, the data in front of it is wiped.
    path.write_bytes(b"\0" * 4000 + content[4000:])
    with pytest.raises(BundleError, match=r"golden\.npz cannot be read"):
        bundle.golden()
