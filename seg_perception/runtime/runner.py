"""What a runtime does for us, and the choice of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from seg_perception.errors import RunnerError
from seg_perception.runtime.bundle import Bundle

RUNNER_KINDS = ("auto", "onnx", "onnx_cuda")


class Runner(Protocol):
    """Executes the graph of one bundle.

    Attributes:
        bundle: the bundle it runs.
        name: which runtime this is, e.g. "onnx-cpu".
        reason: why this one was chosen, for the log.
    """

    bundle: Bundle
    name: str
    reason: str

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


def open_runner(bundle: Bundle, kind: str = "auto", *, threads: int | None = None) -> Runner:
    """Open a bundle in the runtime of this kind, or in the best one that is here.

    Args:
        bundle: what to run.
        kind: one of `RUNNER_KINDS`; "auto" takes ONNX Runtime with CUDA where that is installed.
        threads: CPU threads of one execution, default one for each core.

    Raises:
        RunnerError: no such kind, or that runtime cannot run here.
        BundleError: the model is not what its manifest says.
    """
    if kind not in RUNNER_KINDS:
        raise RunnerError(f"unknown runner {kind!r}: use one of {', '.join(RUNNER_KINDS)}")
    try:
        # Only here: a vehicle with another runtime needs no ONNX Runtime.
        from seg_perception.runtime.onnx_runner import OnnxRunner, open_best
    except ImportError as error:
        raise RunnerError(
            f"ONNX Runtime cannot be imported ({error}): pip install onnxruntime "
            "(onnxruntime-gpu for CUDA)"
        ) from None
    if kind == "auto":
        return open_best(bundle, threads=threads)
    return OnnxRunner(
        bundle, cuda=kind == "onnx_cuda", threads=threads, reason=f"{kind!r} was asked for"
    )
