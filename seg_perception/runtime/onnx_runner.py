"""ONNX Runtime: the runner that works everywhere (CPU), and on NVIDIA GPUs through CUDA."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from seg_perception.errors import BundleError, FilterError, RunnerError
from seg_perception.filters import describe_kernels
from seg_perception.filters.native import NO_LIBRARY, library
from seg_perception.runtime.bundle import MODEL_FILE, Bundle, TensorSpec
from seg_perception.runtime.inputs import check_inputs, check_outputs, nothing_known
from seg_perception.runtime.onnx_cut import CutModel
from seg_perception.runtime.onnx_native import CutSession, runs_in_filters
from seg_perception.runtime.onnx_prune import keep_outputs

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


class OnnxRunner:
    """Runs a bundle in ONNX Runtime; a `seg_perception.runtime.runner.Runner`.

    Args:
        bundle: what to run.
        cuda: run on the GPU.
        filters: on the CPU, run our operators in the compiled filters, where those were built;
            False: as standard operators everywhere.
        threads: CPU threads of one execution, default one for each core.
        reason: why this runner was chosen, for the log. What runs our operators is added.

    Raises:
        BundleError: the model is corrupt or not what the manifest says.
        RunnerError: CUDA was asked for and cannot be used, or `threads` is below 1.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        cuda: bool = False,
        filters: bool = True,
        threads: int | None = None,
        reason: str = "",
    ) -> None:
        if threads is not None and threads < 1:
            raise RunnerError(f"{threads} threads: give at least 1, or None for one for each core")
        self.bundle = bundle
        self.name = "onnx-cuda" if cuda else "onnx-cpu"
        self._filters = filters and not cuda and library() is not None
        self.reason = "; ".join(filter(None, [reason, self._operators()]))
        self.frames_in_flight = 1  # one call takes all cores, or the whole GPU
        self._provider = CUDA if cuda else CPU
        self._threads = threads
        self._defaults = nothing_known(bundle.manifest)
        self._lock = threading.Lock()
        self._sessions: dict[frozenset[str], Any] = {}
        self._closed = False
        self._session(bundle.manifest.default_outputs)

    def run(
        self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """See `seg_perception.runtime.runner.Runner.run`.

        The first call that asks for other outputs than any before loads the model once more, cut
        down to what they need: ONNX Runtime computes every output of a graph.
        """
        manifest = self.bundle.manifest
        names = manifest.default_outputs if outputs is None else tuple(outputs)
        check_inputs(manifest, inputs)
        check_outputs(manifest, names)
        session = self._session(names)
        try:
            answers = session.run(names, {**self._defaults, **inputs})
        except FilterError as error:
            raise RunnerError(f"the filters failed in {manifest.name!r}: {error}") from error
        except Exception as error:
            raise RunnerError(
                f"ONNX Runtime failed in {manifest.name!r} ({_first_line(error)}): "
                "run `seg-perception inspect --check` on the bundle"
            ) from error
        return dict(zip(names, answers, strict=True))

    def close(self) -> None:
        """See `seg_perception.runtime.runner.Runner.close`."""
        with self._lock:
            self._closed = True
            self._sessions.clear()

    def _session(self, outputs: Sequence[str]) -> Any:
        wanted = frozenset(outputs)
        with self._lock:
            if self._closed:
                raise RunnerError("this runner is closed: open the bundle again")
            if wanted not in self._sessions:
                self._sessions[wanted] = self._open(wanted)
            return self._sessions[wanted]

    def _open(self, wanted: frozenset[str]) -> Any:
        manifest = self.bundle.manifest
        outputs = [spec for spec in manifest.outputs if spec.name in wanted]
        model = self.bundle.read(MODEL_FILE)
        providers = _providers(self._provider)

        def start(part: bytes) -> Any:
            return onnxruntime.InferenceSession(part, self._options(), providers=providers)

        try:
            pruned = keep_outputs(model, [spec.name for spec in outputs])
            session: Any = self._cut(pruned, start) or start(pruned)
        except Exception as error:
            raise BundleError(
                f"{self.bundle.model_path} cannot be opened by ONNX Runtime "
                f"{onnxruntime.__version__} ({_first_line(error)}): "
                "update onnxruntime, or export the bundle again"
            ) from error
        if self._provider == CUDA and session.get_providers()[0] != CUDA:
            raise RunnerError(
                f"ONNX Runtime could not start {CUDA}: "
                "check the NVIDIA driver and the CUDA and cuDNN that onnxruntime-gpu needs"
            )
        _check_graph(self.bundle, "inputs", session.get_inputs(), manifest.inputs)
        _check_graph(self.bundle, "outputs", session.get_outputs(), outputs)
        return session

    def _cut(self, model: bytes, start: Callable[[bytes], Any]) -> CutSession | None:
        """The model in pieces, where the filters can take something out of it."""
        if not self._filters:
            return None
        cut = CutModel(model, runs_in_filters)
        return CutSession(cut, start, self._threads) if cut.calls else None

    def _operators(self) -> str:
        """What runs our operators, in words; "" if there are none."""
        names = ", ".join(self.bundle.manifest.custom_ops)
        if not names:
            return ""
        if self._filters:
            return f"{names} in filters {describe_kernels()}"
        why = "" if library() else f", slowly: {NO_LIBRARY}"
        return f"{names} as standard operators{why}"

    def _options(self) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads or 0
        options.inter_op_num_threads = 1
        # Workers that spin while they wait take the cores from the ROS process: on two busy cores
        # a frame of the default model costs 150 ms of CPU time with spinning, 90 ms without.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        quantised = self.bundle.manifest.quantisation
        if quantised is not None:
            # As the file says, in floating point: on a CPU that is faster than ONNX Runtime's own
            # eight-bit convolutions (51 ms against 61 ms with AVX512-VNNI, 44 ms unrounded).
            options.add_session_config_entry("session.disable_quant_qdq", "1")
            if quantised.precision == "fp8":
                # Beyond these, ONNX Runtime 1.31 answers float8 models wrongly.
                options.graph_optimization_level = (
                    onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
                )
        return options


def open_best(bundle: Bundle, *, filters: bool = True, threads: int | None = None) -> OnnxRunner:
    """CUDA where this ONNX Runtime and machine can, else the CPU; `reason` says why.

    Raises:
        BundleError: the model is corrupt or not what the manifest says.
    """
    if CUDA not in onnxruntime.get_available_providers():
        why = "the installed ONNX Runtime has no CUDA: runs on CPU"
        return OnnxRunner(bundle, filters=filters, threads=threads, reason=why)
    try:
        return OnnxRunner(bundle, cuda=True, threads=threads, reason="ONNX Runtime found CUDA")
    except RunnerError as error:
        why = f"runs on CPU: {error}"
        return OnnxRunner(bundle, filters=filters, threads=threads, reason=why)


def _providers(provider: str) -> list[str]:
    available = onnxruntime.get_available_providers()
    if provider not in available:
        raise RunnerError(
            f"ONNX Runtime here offers {', '.join(available)}, not {provider}: "
            "pip install onnxruntime-gpu in place of onnxruntime, or use the runner 'onnx'"
        )
    return [provider] if provider == CPU else [provider, CPU]


def _check_graph(
    bundle: Bundle, side: str, found: Sequence[Any], wanted: Sequence[TensorSpec]
) -> None:
    names = {"float32": "tensor(float)", "uint8": "tensor(uint8)", "int64": "tensor(int64)"}
    expected = {spec.name: (names[spec.dtype], list(spec.shape)) for spec in wanted}
    actual = {value.name: (value.type, list(value.shape)) for value in found}
    if actual != expected:
        different = sorted(
            name
            for name in actual.keys() | expected.keys()
            if actual.get(name) != expected.get(name)
        )
        raise BundleError(
            f"{bundle.model_path}: graph {side} {different} are "
            f"{[actual.get(name) for name in different]}, but the manifest says "
            f"{[expected.get(name) for name in different]}: export the bundle again"
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
