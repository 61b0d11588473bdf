"""From a bundle to a running engine: what must be here, the kept engine or a new one, the test."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import ModuleType

from seg_perception.errors import RunnerError, SegPerceptionError
from seg_perception.runtime.bundle import MODEL_FILE, Bundle, CanRun, check_bundle
from seg_perception.runtime.cuda import CudaDriver
from seg_perception.runtime.device import Device, Engine
from seg_perception.runtime.engine_cache import (
    PRECISIONS,
    BuildOptions,
    BuildStoppedError,
    Built,
    EngineCache,
    EngineKey,
    Progress,
)
from seg_perception.runtime.onnx_prune import keep_outputs
from seg_perception.runtime.onnx_tensorrt import custom_operators, for_tensorrt
from seg_perception.runtime.plugins.kernels import open_kernels
from seg_perception.runtime.tensorrt_runner import TensorRTRunner, driving_outputs, fixed_inputs

WORKSPACE_BYTES = 1 << 30
MIB = 1 << 20
FAILED = ".failed"
"""Ending of the note that a build failed, beside the engine that there is not."""

SPARE_BYTES = 512 * MIB
"""Free memory that a build needs besides the workspace, and an engine to run."""


def untold(phase: str, done: int, total: int) -> bool:
    """A `Progress` that nobody listens to."""
    return True


@dataclass(frozen=True)
class EngineOptions:
    """How an engine is to be.

    Attributes:
        precision: one of `PRECISIONS`; None = that of the engine asked for last, else the first.
        workspace_bytes: GPU memory that one layer may use.
        progress: told of the build.
        retry: build also where a build of this engine has failed before.
    """

    precision: str | None = None
    workspace_bytes: int = WORKSPACE_BYTES
    progress: Progress = untold
    retry: bool = True


def open_tensorrt(
    bundle: Bundle, options: EngineOptions | None = None, *, why: str = ""
) -> TensorRTRunner:
    """Run a bundle in TensorRT; builds the engine where none is kept, which takes minutes.

    An engine is kept once it has passed the bundle's self-test.

    Args:
        bundle: what to run.
        options: of the engine.
        why: TensorRT was chosen, for the log.

    Raises:
        RunnerError: the driver, TensorRT, pycuda or memory is missing, or TensorRT failed; the
            message says what to do.
        BundleError: the engine does not pass the self-test, or kernels of the bundle are damaged.
    """
    # In this order: a TensorRT without a driver does not refuse, it crashes.
    driver = CudaDriver()
    if not driver.devices():
        raise RunnerError("the driver sees no GPU: check nvidia-smi and CUDA_VISIBLE_DEVICES")
    tensorrt = _require("tensorrt_engine", "tensorrt")
    device: Device = _require("pycuda_device", "pycuda").PycudaDevice(driver)
    try:
        return open_on(bundle, device, tensorrt, EngineCache(), options or EngineOptions(), why)
    except BaseException:
        device.close()
        raise


def open_on(
    bundle: Bundle,
    device: Device,
    tensorrt: ModuleType,
    cache: EngineCache,
    options: EngineOptions,
    why: str,
) -> TensorRTRunner:
    """As `open_tensorrt`, on this device, with this `tensorrt_engine` and this cache."""
    engines = _Engines(bundle, device, tensorrt, cache, options)
    version = tensorrt.version()
    about = f"TensorRT {version} on {device.name} ({device.architecture}), {engines.precision}"
    reason = f"{about}: {why}" if why else about
    try:
        with engines.building():
            return TensorRTRunner(bundle, device, engines.open, check=engines.check, reason=reason)
    except BuildStoppedError:
        raise
    except SegPerceptionError as error:
        engines.remember(error)
        raise


class _Engines:
    """The engines of one bundle on one device, kept or built."""

    def __init__(
        self,
        bundle: Bundle,
        device: Device,
        tensorrt: ModuleType,
        cache: EngineCache,
        options: EngineOptions,
    ) -> None:
        self._fresh: dict[str, bytes] = {}
        self._tried: list[str] = []
        self._bundle = bundle
        self._device = device
        self._tensorrt = tensorrt
        self._cache = cache
        self._options = options
        self.precision = options.precision or self._precision_at_hand()
        if self.precision not in PRECISIONS:
            raise RunnerError(f"precision {self.precision!r}: give one of {', '.join(PRECISIONS)}")
        self._operators, self._namespace = self._register()

    def building(self) -> AbstractContextManager[None]:
        """Hold this from before the first engine is opened until it is kept: others wait for it."""
        key = self._key(self.precision, driving_outputs(self._bundle.manifest))
        return self._cache.building(key.name, self._options.progress)

    def open(self, outputs: Sequence[str]) -> Engine:
        """The engine that computes these outputs."""
        key = self._key(self.precision, outputs)
        plan = self._cache.get(key.name)
        if plan is None:
            self._refuse_repetition(key.name)
            plan = self._fresh[key.name] = self._build(key.name, outputs)
        elif self._options.precision is not None:
            self._cache.prefer(key.name)
        engine: Engine = self._tensorrt.TensorRTEngine(plan)
        return engine

    def check(self, running: CanRun, outputs: Sequence[str]) -> None:
        """Test the engine of these outputs and keep it, if it was built just now."""
        name = self._key(self.precision, outputs).name
        plan = self._fresh.pop(name, None)
        if plan is None:
            return
        check_bundle(self._bundle, running, outputs)
        self._cache.put(name, plan)
        self._cache.drop(f"{name}{FAILED}")

    def _register(self) -> tuple[list[str], str]:
        kernels = open_kernels(self._bundle)
        if kernels is None:
            return [], ""
        plugin = _require("plugins.plugin", "tensorrt")
        used = custom_operators(self._bundle.read(MODEL_FILE))
        known = {entry.operator for entry in plugin.PLUGINS} & kernels.file.programs.keys()
        return sorted(used & known), plugin.register(kernels, self._device.driver)

    def _key(self, precision: str, outputs: Sequence[str]) -> EngineKey:
        return EngineKey(
            bundle=self._bundle.digest,
            outputs=tuple(outputs),
            precision=precision,
            gpu=f"{self._device.name} {self._device.architecture}",
            tensorrt=self._tensorrt.version(),
        )

    def _precision_at_hand(self) -> str:
        outputs = driving_outputs(self._bundle.manifest)

        def put(precision: str) -> float:
            return self._cache.put_at(self._key(precision, outputs).name)

        return max(PRECISIONS, key=put)

    def remember(self, error: SegPerceptionError) -> None:
        """If an engine was built for nothing, note why: minutes that need not be spent again."""
        for name in self._tried:
            self._cache.put(f"{name}{FAILED}", str(error).encode())

    def _refuse_repetition(self, name: str) -> None:
        failure = None if self._options.retry else self._cache.get(f"{name}{FAILED}")
        if failure is not None:
            raise RunnerError(
                f"its engine could not be made before ({failure.decode()}): "
                "`seg-perception build-engine` tries again"
            )

    def _build(self, name: str, outputs: Sequence[str]) -> bytes:
        workspace = self._options.workspace_bytes
        free = self._device.free_bytes()
        if free < workspace + SPARE_BYTES:
            raise RunnerError(
                f"{free // MIB} MiB are free on {self._device.name}, the build needs "
                f"{(workspace + SPARE_BYTES) // MIB} MiB: close what else uses the GPU, or give "
                "`seg-perception build-engine` a smaller --workspace"
            )
        if not self._options.progress("reading the model", 0, 0):
            raise BuildStoppedError("the build was told not to begin")
        self._tried.append(name)
        model = for_tensorrt(
            keep_outputs(self._bundle.read(MODEL_FILE), outputs),
            plugins=self._operators,
            namespace=self._namespace,
            constants=fixed_inputs(self._bundle.manifest),
            half=self.precision == "fp16",
        )
        measured = self._timing_cache_name()
        options = BuildOptions(workspace, self._cache.get(measured) or b"", self._options.progress)
        built: Built = self._tensorrt.build(model, options)
        self._cache.put(measured, built.timing_cache)
        return built.plan

    def _timing_cache_name(self) -> str:
        gpu = "".join(c if c.isalnum() else "-" for c in self._device.name)
        return f"{gpu}-{self._tensorrt.version()}.timing"


def _require(module: str, package: str) -> ModuleType:
    try:
        return importlib.import_module(f"seg_perception.runtime.{module}")
    except ImportError as error:
        raise RunnerError(
            f"{package} cannot be imported ({error}): {HOW_TO_INSTALL[package]}, "
            "or use the runner 'onnx_cuda' or 'onnx'"
        ) from None


HOW_TO_INSTALL = {
    "tensorrt": "on a Jetson apt install python3-libnvinfer, elsewhere pip install tensorrt",
    "pycuda": "pip install pycuda (docs/jetson.md says what it needs to build)",
}
