"""Every kernel compiles for every GPU, and fits it."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from seg_perception.runtime.bundle import Bundle, load_bundle
from seg_perception.runtime.kernel_programs import (
    KERNELS_FILE,
    KERNELS_FOLDER,
    PTX,
    Binary,
    Kernel,
    KernelFile,
)

pytest.importorskip("triton")

from training.export.compile_kernels import (
    ARCHITECTURES,
    compile_kernels,
    over_the_limits,
    resource_report,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
ROOT = Path(__file__).resolve().parents[3]
EXPORT = """
import sys
from pathlib import Path
from test_bundle import ABOUT, model_of
from training.export.bundle import write_bundle

if __name__ == "__main__":
    write_bundle(model_of(code=False), (32, 32), ABOUT, Path(sys.argv[1]), "float16")
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Exported in a process of its own: this one runs kernels in the interpreter."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "export.py").write_text(EXPORT)
    paths = (ROOT, ROOT / "test", Path(__file__).parent)
    subprocess.run(
        [sys.executable, str(folder / "export.py"), str(folder / "bundle")],
        check=True,
        env={
            **os.environ,
            "TRITON_INTERPRET": "0",
            "PYTHONPATH": os.pathsep.join([*map(str, paths), os.environ.get("PYTHONPATH", "")]),
        },
    )
    return load_bundle(folder / "bundle")


@pytest.fixture(scope="module")
def folder(bundle: Bundle) -> Path:
    return bundle.path / KERNELS_FOLDER


@pytest.fixture(scope="module")
def file(folder: Path) -> KernelFile:
    return KernelFile.from_json((folder / KERNELS_FILE).read_text())


def binaries(file: KernelFile) -> list[Binary]:
    return [binary for kernel in file.kernels.values() for binary in kernel.binaries.values()]


def test_every_kernel_for_every_architecture(file: KernelFile) -> None:
    expected = {f"sm_{capability}" for capability in ARCHITECTURES} | {PTX}
    assert {name: set(kernel.binaries) for name, kernel in file.kernels.items()} == dict.fromkeys(
        file.kernels, expected
    )


def test_nothing_spills_or_exceeds_shared_memory(file: KernelFile) -> None:
    assert over_the_limits(file) == []


def test_the_bundle_vouches_for_every_file(bundle: Bundle, file: KernelFile) -> None:
    names = {binary.file for binary in binaries(file)} | {KERNELS_FILE}
    assert {f"{KERNELS_FOLDER}/{name}" for name in names} <= bundle.manifest.files.keys()
    assert (file.classes, file.storage) == (bundle.manifest.n_classes, "float16")


def test_reports_every_cubin(file: KernelFile) -> None:
    lines = resource_report(file).splitlines()
    assert len(lines) == 1 + len(file.kernels) * len(ARCHITECTURES)


def test_files_are_those_listed(folder: Path, file: KernelFile) -> None:
    listed = {binary.file: binary.sha256 for binary in binaries(file)}
    there = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name != KERNELS_FILE
    }
    assert there == listed


def test_cubins_and_ptx_are_what_their_names_say(folder: Path, file: KernelFile) -> None:
    for binary in binaries(file):
        content = (folder / binary.file).read_bytes()
        if binary.file.endswith(".cubin"):
            assert content.startswith(b"\x7fELF")
        else:
            assert b".target sm_80" in content


def test_ptx_takes_the_listed_arguments_and_two_hidden_ones(folder: Path, file: KernelFile) -> None:
    for kernel in file.kernels.values():
        text = (folder / kernel.binaries[PTX].file).read_text()
        header = re.search(rf"\.entry {kernel.entry}\((.*?)\)\s", text, re.S)
        assert header is not None
        assert header[1].count(".param") == len(kernel.arguments) + 2


def test_says_what_exceeds_a_gpu(file: KernelFile) -> None:
    greedy = {
        "sm_87": Binary("a.sm_87.cubin", "", 164 * 1024, 255, 8),
        "sm_90": Binary("a.sm_90.cubin", "", 164 * 1024, 255, 0),
        PTX: Binary("a.ptx", "", 100 * 1024, 0, 0),
    }
    kernels = {"a": Kernel("a", 128, (), {}, greedy)}
    assert over_the_limits(KernelFile(1, "triton", 11, "float32", kernels, {})) == [
        "a spills 8 bytes on sm_87",
        "a takes 167936 of 166912 bytes of shared memory on sm_87",
        "a takes 102400 of 101376 bytes of shared memory on ptx",
    ]


def test_refuses_to_compile_in_the_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    with pytest.raises(RuntimeError, match="unset it"):
        compile_kernels(tmp_path, 11)
