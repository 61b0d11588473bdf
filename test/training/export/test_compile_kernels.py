"""Every kernel compiles for every GPU, and fits it."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import onnx
import pytest
from simulated_gpu import SimulatedGpu, SimulatedTensorRT

from seg_perception.runtime.bundle import Bundle, load_bundle
from seg_perception.runtime.engine_cache import BuildStoppedError, EngineCache
from seg_perception.runtime.kernel_programs import (
    KERNELS_FILE,
    KERNELS_FOLDER,
    PTX,
    Binary,
    Kernel,
    KernelFile,
)
from seg_perception.runtime.tensorrt_open import EngineOptions, open_on

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
import torch
from tiny_training import TINY_UNARY
from test_bundle import ABOUT
from training.export.bundle import write_bundle
from training.model import Segmenter
from training.refiners import GuidedCrfConfig, MeanFieldConfig

if __name__ == "__main__":
    torch.manual_seed(0)
    chain = GuidedCrfConfig(), MeanFieldConfig(sxy=20.0, srgb=float(sys.argv[2]), stride=4)
    model = Segmenter(11, TINY_UNARY, chain).train()
    for _ in range(20):
        model.unary(torch.rand(4, 3, 32, 32) * 255)
    write_bundle(model.eval(), (32, 32), ABOUT, Path(sys.argv[1]), "float16")
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Exported in a process of its own: this one runs kernels in the interpreter."""
    folder = tmp_path_factory.mktemp("models")
    assert export(folder / "bundle", srgb=15.0) == ""
    return load_bundle(folder / "bundle")


def export(out: Path, srgb: float) -> str:
    """The last line of what it complains about."""
    script = out.parent / "export.py"
    script.write_text(EXPORT)
    paths = (ROOT, ROOT / "test", Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, str(script), str(out), str(srgb)],
        env={
            **os.environ,
            "TRITON_INTERPRET": "0",
            "PYTHONPATH": os.pathsep.join([*map(str, paths), os.environ.get("PYTHONPATH", "")]),
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    return done.stderr.strip().split("\n")[-1] if done.returncode else ""


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


def test_tensorrt_is_given_plugins_for_the_operators(
    bundle: Bundle, tmp_path: Path, trt: ModuleType
) -> None:
    """From the exported bundle up to the builder, which is where TensorRT itself would begin."""
    gpu = SimulatedGpu()
    tensorrt = SimulatedTensorRT(gpu)
    options = EngineOptions("fp16", progress=lambda phase, *_: phase != "Tactic selection")
    with pytest.raises(BuildStoppedError):
        open_on(bundle, gpu, tensorrt, EngineCache(tmp_path / "cache"), options, "")  # type: ignore[arg-type]
    model = onnx.load_from_string(tensorrt.built[0])
    assert not model.functions
    nodes = [node for node in model.graph.node if node.domain == "seg_perception"]
    assert {node.op_type for node in nodes} == {"GuidedCrf", "MeanField"}
    registry = trt.get_plugin_registry()
    for node in nodes:
        (space,) = (
            entry.s.decode() for entry in node.attribute if entry.name == "plugin_namespace"
        )
        assert registry.get_creator(node.op_type, "1", space) is not None


def test_a_chain_beyond_the_limits_of_the_kernels_is_not_exported(tmp_path: Path) -> None:
    said = export(tmp_path / "bundle", srgb=1.5)
    assert "W / sxy + H / sxy + 765 / srgb is 513" in said
    assert "export without kernels" in said
    assert not (tmp_path / "bundle").exists()


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
