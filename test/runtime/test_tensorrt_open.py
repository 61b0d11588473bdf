"""Which engine runs: kept or built, tested before it is kept, refused with the way out."""

from __future__ import annotations

import ctypes
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import helper
from simulated_gpu import SimulatedEngine, SimulatedGpu, SimulatedTensorRT
from tiny_bundle import reseal, write_manifest, write_tiny_bundle
from tiny_kernels import FILE

from seg_perception.errors import BundleError, RunnerError
from seg_perception.runtime import tensorrt_open
from seg_perception.runtime.bundle import MANIFEST_FILE, MODEL_FILE, Bundle, Manifest, load_bundle
from seg_perception.runtime.engine_cache import BuildStoppedError, EngineCache
from seg_perception.runtime.onnx_prune import keep_outputs
from seg_perception.runtime.tensorrt_open import EngineOptions, open_on, open_tensorrt
from seg_perception.runtime.tensorrt_runner import TensorRTRunner, driving_outputs

TICK_S = 0.05
"""The kernel's clock, by which files are older or newer, ticks ten times as often."""
PATIENCE_S = 20.0


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return load_bundle(write_tiny_bundle(tmp_path / "bundle"))


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "cache")


class Machine:
    """A GPU with a TensorRT; counts the builds."""

    def __init__(self, cache: EngineCache, version: str = "10.3.0", name: str = "GPU") -> None:
        self.cache = cache
        self.gpu = SimulatedGpu(name=name)
        self.tensorrt = SimulatedTensorRT(self.gpu, version)

    def open(self, bundle: Bundle, **options: object) -> TensorRTRunner:
        made = EngineOptions(**options)  # type: ignore[arg-type]
        return open_on(bundle, self.gpu, self.tensorrt, self.cache, made, "")  # type: ignore[arg-type]

    @property
    def builds(self) -> int:
        return len(self.tensorrt.built)


def test_builds_once_and_keeps_the_engine(bundle: Bundle, cache: EngineCache) -> None:
    first, second = Machine(cache), Machine(cache)
    runner = first.open(bundle)
    assert runner.reason == "TensorRT 10.3.0 on GPU (sm_87), fp16"
    assert "labels" in second.open(bundle).run({"image": np.zeros((1, 24, 32, 3), np.uint8)})
    assert (first.builds, second.builds) == (1, 0)


def test_who_waits_for_a_build_gets_what_was_kept(bundle: Bundle, cache: EngineCache) -> None:
    first, second = Machine(cache), Machine(cache)
    waits, phases = threading.Event(), list[str]()

    def progress(phase: str, done: int, total: int) -> bool:
        phases.append(phase)
        waits.set()
        return True

    thread = threading.Thread(target=second.open, args=(bundle,), kwargs={"progress": progress})

    class BuiltEngine(SimulatedEngine):
        """Built by now, and not yet found to be right."""

        def __init__(self, plan: bytes) -> None:
            super().__init__(first.gpu, plan)
            thread.start()
            assert waits.wait(PATIENCE_S)

    first.tensorrt.TensorRTEngine = BuiltEngine  # type: ignore[method-assign, assignment]
    first.open(bundle)
    thread.join(PATIENCE_S)
    assert (first.builds, second.builds) == (1, 0)
    assert set(phases) == {"another process is building it"}


def test_builds_what_may_be_asked_for_on_the_road(bundle: Bundle, cache: EngineCache) -> None:
    machine = Machine(cache)
    machine.open(bundle)
    (model,) = machine.tensorrt.built
    found = [output.name for output in onnx.load_from_string(model).graph.output]
    assert found == [*bundle.manifest.default_outputs, "labels_unrefined"]


def test_stale_engines_are_built_anew(bundle: Bundle, cache: EngineCache, tmp_path: Path) -> None:
    Machine(cache).open(bundle)
    newer = Machine(cache, version="10.13.3")
    newer.open(bundle)
    other_gpu = Machine(cache, name="Other GPU")
    other_gpu.open(bundle)
    reseal(bundle.path, name="renamed")
    changed = Machine(cache)
    changed.open(load_bundle(bundle.path))
    assert (newer.builds, other_gpu.builds, changed.builds) == (1, 1, 1)


def test_a_damaged_engine_is_built_anew(bundle: Bundle, cache: EngineCache) -> None:
    Machine(cache).open(bundle)
    for path in cache.folder.glob("*.engine"):
        path.write_bytes(path.read_bytes()[:-1])
    again = Machine(cache)
    again.open(bundle)
    assert again.builds == 1


def test_the_timing_cache_carries_over(bundle: Bundle, cache: EngineCache) -> None:
    machine = Machine(cache)
    for precision in ("fp16", "fp32"):
        machine.open(bundle, precision=precision)
    assert [options.timing_cache for options in machine.tensorrt.options] == [b"", b"measured"]


def test_the_precision_asked_for_last_is_taken(bundle: Bundle, cache: EngineCache) -> None:
    machine = Machine(cache)
    machine.open(bundle, precision="fp16")
    time.sleep(TICK_S)
    machine.open(bundle, precision="fp32")
    assert machine.open(bundle).reason.endswith("fp32")
    time.sleep(TICK_S)
    machine.open(bundle, precision="fp16")
    assert machine.open(bundle).reason.endswith("fp16")
    assert machine.builds == 2
    with pytest.raises(RunnerError, match="precision 'int3': give one of fp16, fp32"):
        machine.open(bundle, precision="int3")


def test_an_engine_that_answers_wrongly_is_not_kept(bundle: Bundle, cache: EngineCache) -> None:
    machine = Machine(cache)
    machine.tensorrt.spoil = with_swapped_classes
    with pytest.raises(BundleError, match="is answered wrongly here"):
        machine.open(bundle)
    assert list(cache.folder.glob("*.engine")) == []


def test_what_fails_to_open_gives_the_gpu_back(
    bundle: Bundle, cache: EngineCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(cache)
    machine.tensorrt.spoil = with_swapped_classes
    here = {
        "tensorrt_engine": machine.tensorrt,
        "pycuda_device": SimpleNamespace(PycudaDevice=lambda driver: machine.gpu),
    }
    driver = SimpleNamespace(devices=lambda: 1)
    monkeypatch.setattr(tensorrt_open, "CudaDriver", lambda: driver)
    monkeypatch.setattr(tensorrt_open, "_require", lambda module, package: here[module])
    monkeypatch.setattr(tensorrt_open, "EngineCache", lambda: cache)
    with pytest.raises(BundleError, match="is answered wrongly here"):
        open_tensorrt(bundle)
    assert machine.gpu.closed


def test_the_engine_of_the_evaluation_is_tested_and_kept(
    bundle: Bundle, cache: EngineCache
) -> None:
    image = {"image": np.zeros((1, 24, 32, 3), np.uint8)}
    wrong = Machine(cache)
    runner = wrong.open(bundle)
    wrong.tensorrt.spoil = with_swapped_classes
    with pytest.raises(BundleError, match="is answered wrongly here"):
        runner.run(image, ["labels_replaced"])
    assert "labels" in runner.run(image)
    first, second = Machine(cache), Machine(cache)
    for machine in (first, second):
        assert "labels_replaced" in machine.open(bundle).run(image, ["labels_replaced"])
    assert (wrong.builds, first.builds, second.builds) == (2, 1, 0)


def test_a_build_that_failed_is_not_repeated_unasked(bundle: Bundle, cache: EngineCache) -> None:
    machine = Machine(cache)
    machine.tensorrt.spoil = with_swapped_classes
    with pytest.raises(BundleError, match="is answered wrongly here"):
        machine.open(bundle)
    again = Machine(cache)
    with pytest.raises(RunnerError, match=r"could not be made before \(.*answered wrongly here"):
        again.open(bundle, retry=False)
    assert again.builds == 0
    again.open(bundle)
    assert Machine(cache).open(bundle, retry=False).reason.endswith("fp16")


def test_a_failure_is_forgotten_once_a_build_succeeds(bundle: Bundle, cache: EngineCache) -> None:
    machine = Machine(cache)
    machine.tensorrt.spoil = with_swapped_classes
    with pytest.raises(BundleError):
        machine.open(bundle)
    Machine(cache).open(bundle)
    for path in cache.folder.glob("*.engine"):
        path.unlink()
    again = Machine(cache)
    again.open(bundle, retry=False)
    assert again.builds == 1


def test_a_build_that_was_stopped_is_repeated(bundle: Bundle, cache: EngineCache) -> None:
    with pytest.raises(BuildStoppedError):
        Machine(cache).open(bundle, progress=lambda *_: False)
    machine = Machine(cache)
    machine.open(bundle, retry=False)
    assert machine.builds == 1


def with_swapped_classes(model: bytes) -> bytes:
    found = onnx.load_from_string(model)
    for node in found.graph.node:
        if node.op_type == "ArgMax":
            node.op_type = "ArgMin"
    return bytes(found.SerializeToString())


def test_too_little_memory_is_refused_before_the_build(bundle: Bundle, cache: EngineCache) -> None:
    machine = Machine(cache)
    machine.gpu.free = 700 << 20
    with pytest.raises(RunnerError, match="700 MiB are free on GPU, the build needs 1536 MiB"):
        machine.open(bundle)
    assert machine.builds == 0
    machine.open(bundle, workspace_bytes=64 << 20)
    assert machine.builds == 1


def test_progress_is_told_and_may_stop_the_build(bundle: Bundle, cache: EngineCache) -> None:
    told = list[tuple[str, int, int]]()

    def progress(phase: str, done: int, total: int) -> bool:
        told.append((phase, done, total))
        return phase != last

    machine = Machine(cache)
    for last, builds in (("reading the model", 0), ("Tactic selection", 1)):
        told.clear()
        with pytest.raises(BuildStoppedError, match="told"):
            machine.open(bundle, progress=progress)
        assert told[-1][0] == last
        assert machine.builds == builds
    assert told == [("reading the model", 0, 0), ("Tactic selection", 1, 2)]


def test_no_driver_is_refused_before_tensorrt_is_touched(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", no_library)
    with pytest.raises(RunnerError, match="no NVIDIA driver"):
        open_tensorrt(bundle)


def no_library(name: str) -> None:
    raise OSError(f"{name}: cannot open shared object file")


def with_kernels(folder: Path, *, kernels: bool = True) -> Bundle:
    """The tiny bundle with an operator of ours between two of its nodes."""
    write_tiny_bundle(folder)
    model = onnx.load(folder / MODEL_FILE)
    first = model.graph.node[0]
    passed = helper.make_function(
        "seg_perception",
        "GuidedCrf",
        ["x"],
        ["y"],
        [helper.make_node("Identity", ["x"], ["y"])],
        [helper.make_opsetid("", 18)],
    )
    inner = f"{first.output[0]}.inner"
    node = helper.make_node("GuidedCrf", [inner], [first.output[0]], domain="seg_perception")
    first.output[0] = inner
    model.graph.node.insert(1, node)
    model.functions.append(passed)
    model.opset_import.append(helper.make_opsetid("seg_perception", 1))
    onnx.save(model, folder / MODEL_FILE)
    manifest = Manifest.from_json((folder / MANIFEST_FILE).read_text())
    if kernels:
        path = folder / "kernels" / "kernels.json"
        path.parent.mkdir()
        path.write_text(FILE.to_json())
        manifest = replace(manifest, files={**manifest.files, "kernels/kernels.json": ""})
    write_manifest(folder, manifest)
    reseal(folder)
    return load_bundle(folder)


def test_operators_with_kernels_become_plugins(
    tmp_path: Path, cache: EngineCache, trt: ModuleType
) -> None:
    bundle, machine = with_kernels(tmp_path / "with_kernels"), Machine(cache)
    in_onnx_runtime = keep_outputs(bundle.read(MODEL_FILE), driving_outputs(bundle.manifest))
    machine.tensorrt.spoil = lambda _: in_onnx_runtime
    machine.open(bundle)
    model = onnx.load_from_string(machine.tensorrt.built[0])
    assert not model.functions
    (node,) = (node for node in model.graph.node if node.op_type == "GuidedCrf")
    (attribute,) = (entry for entry in node.attribute if entry.name == "plugin_namespace")
    space = attribute.s.decode()
    assert trt.get_plugin_registry().get_creator("GuidedCrf", "1", space).plugin_namespace == space


def test_operators_without_kernels_keep_their_function(tmp_path: Path, cache: EngineCache) -> None:
    bundle, machine = with_kernels(tmp_path / "with_kernels", kernels=False), Machine(cache)
    machine.open(bundle)
    model = onnx.load_from_string(machine.tensorrt.built[0])
    assert [function.name for function in model.functions] == ["GuidedCrf"]
