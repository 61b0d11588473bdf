"""What a runtime does for us, and the choice of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol

from numpy.typing import NDArray

from seg_perception.errors import RunnerError
from seg_perception.runtime.bundle import Bundle
from seg_perception.runtime.engine_cache import Progress

RUNNER_KINDS = ("auto", "tensorrt", "onnx", "onnx_cuda")


class Runner(Protocol):
    """Executes the graph of one bundle.

    Attributes:
        bundle: the bundle it runs.
        name: which runtime this is, e.g. "onnx-cpu".
        reason: why this one was chosen, for the log.
        frames_in_flight: how many calls of `run` at once are worth making, 1 or more: beyond that
            they only wait for each other.
    """

    bundle: Bundle
    name: str
    reason: str
    frames_in_flight: int

    def run(
        self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Execute the graph once; any thread may call it.

        Args:
            inputs: arrays by the names, dtypes and shapes of the manifest. All but `image` may be
                left out, which says "nothing known".
            outputs: names of the outputs to compute, default `Manifest.default_outputs`.
                Those not asked for cost nothing.

        Returns:
            The arrays by name, each the caller's own.

        Raises:
            RunnerError: an input or output is not one of the model's, or the runtime failed.
        """

    def close(self) -> None:
        """Release the model; idempotent. `run` raises `RunnerError` from now on."""


def open_runner(
    bundle: Bundle,
    kind: str = "auto",
    *,
    filters: bool = True,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Runner:
    """Open a bundle in the runtime of this kind, or in the best one that is here.

    Args:
        bundle: what to run.
        kind: one of `RUNNER_KINDS`; "auto" takes TensorRT, ONNX Runtime with CUDA, or ONNX Runtime
            on the CPU: the first that works here. `Runner.reason` says why not the ones before.
        filters: on the CPU, run our operators in the compiled filters, where those were built.
        threads: CPU threads of one execution, default one for each core.
        progress: told of the build of an engine, which takes minutes.

    Raises:
        RunnerError: no such kind, or that runtime cannot run here.
        BundleError: the model is not what its manifest says.
    """
    if kind not in RUNNER_KINDS:
        raise RunnerError(f"unknown runner {kind!r}: use one of {', '.join(RUNNER_KINDS)}")
    why = f"{kind!r} was asked for"
    if kind == "tensorrt":
        return _open_tensorrt(bundle, progress, why, retry=True)
    if kind != "auto":
        cuda = kind == "onnx_cuda"
        runner: Runner = _onnx().OnnxRunner(
            bundle, cuda=cuda, filters=filters, threads=threads, reason=why
        )
        return runner
    try:
        why = "the fastest runtime that is here"
        return _open_tensorrt(bundle, progress, why, retry=False)
    except Exception as error:  # whatever it is, "auto" goes on with the next
        best: Runner = _onnx().open_best(bundle, filters=filters, threads=threads)
        best.reason = f"{best.reason}; no TensorRT: {error}"
        return best


def _open_tensorrt(bundle: Bundle, progress: Progress | None, why: str, *, retry: bool) -> Runner:
    # Only here, as ONNX Runtime below: a vehicle needs one of the two.
    from seg_perception.runtime.tensorrt_open import EngineOptions, open_tensorrt, untold

    options = EngineOptions(progress=progress or untold, retry=retry)
    return open_tensorrt(bundle, options, why=why)


def _onnx() -> ModuleType:
    try:
        return import_module("seg_perception.runtime.onnx_runner")
    except ImportError as error:
        raise RunnerError(
            f"ONNX Runtime cannot be imported ({error}): pip install onnxruntime "
            "(onnxruntime-gpu for CUDA)"
        ) from None
