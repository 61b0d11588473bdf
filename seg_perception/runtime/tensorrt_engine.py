"""TensorRT itself: build an engine from an ONNX model, and run one.

The interfaces are the same from TensorRT 10.0 to 11.x; JetPack 6 has 10.3, JetPack 7 10.13 or
newer. Nothing here was ever run with a builder or a GPU: see docs/jetson.md.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import tensorrt as trt

from seg_perception.errors import RunnerError
from seg_perception.runtime.engine_cache import (
    BuildOptions,
    BuildStoppedError,
    Built,
    Progress,
)
from seg_perception.runtime.plugins.plugin import last_failure

OLDEST = 10

_log = logging.getLogger(__name__)


def version() -> str:
    """Of TensorRT.

    Raises:
        RunnerError: it is older than this code knows.
    """
    found = str(trt.__version__)
    if int(found.split(".")[0]) < OLDEST:
        raise RunnerError(
            f"TensorRT {found} is too old, {OLDEST}.0 is needed: on a Jetson install JetPack "
            "6.1 or newer, elsewhere pip install --upgrade tensorrt"
        )
    return found


def build(model: bytes, options: BuildOptions) -> Built:
    """Build an engine; takes minutes.

    Args:
        model: as `seg_perception.runtime.onnx_tensorrt.for_tensorrt` writes it.
        options: see there.

    Raises:
        RunnerError: TensorRT cannot parse or build it, or `progress` ended the build.
    """
    logger = _Logger()
    builder = trt.Builder(logger)
    strongly_typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(strongly_typed)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model):
        errors = [_describe(parser.get_error(i)) for i in range(parser.num_errors)]
        raise _failed("parse the model", [*errors, last_failure()])
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    # TF32 keeps ten bits, too few for the solve; float16 stands in the graph where it is meant.
    config.clear_flag(trt.BuilderFlag.TF32)
    config.set_timing_cache(config.create_timing_cache(options.timing_cache), False)
    monitor = _Monitor(options.progress)
    config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if monitor.interruption is not None:
        raise monitor.interruption
    if monitor.stopped:
        raise BuildStoppedError("the build was told to stop: it begins anew next time")
    if plan is None:
        raise _failed("build the engine", [*logger.errors, last_failure()])
    return Built(bytes(plan), bytes(config.get_timing_cache().serialize()))


class TensorRTEngine:
    """An engine and its execution context; a `seg_perception.runtime.device.Engine`.

    Args:
        plan: a serialised engine. It is code: give only what this user built.

    Raises:
        RunnerError: TensorRT cannot load it here.
    """

    def __init__(self, plan: bytes) -> None:
        self._logger = _Logger()
        self._runtime = trt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise _failed("load the engine", [*self._logger.errors, last_failure()])
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise _failed(
                "make room for the engine", [*self._logger.errors, "free memory on the GPU"]
            )

    def bind(self, addresses: Mapping[str, int]) -> None:
        """See `Engine`."""
        tensors = range(self._engine.num_io_tensors)
        names = {self._engine.get_tensor_name(i) for i in tensors}
        if names != addresses.keys():
            raise RunnerError(
                f"the engine has the tensors {sorted(names)}, not {sorted(addresses)}: "
                "build it again with `seg-perception build-engine`"
            )
        for name, address in addresses.items():
            if not self._context.set_tensor_address(name, address):
                raise _failed(f"bind {name!r}", self._logger.errors)

    def enqueue(self, stream: int) -> None:
        """See `Engine`."""
        if not self._context.execute_async_v3(stream):
            raise _failed("run the engine", [*self._logger.errors, last_failure()])


class _Logger(trt.ILogger):
    """TensorRT's messages, to our log; the last errors are kept for the exception."""

    _LEVELS = {  # noqa: RUF012 - a table
        trt.ILogger.Severity.INTERNAL_ERROR: logging.ERROR,
        trt.ILogger.Severity.ERROR: logging.ERROR,
        trt.ILogger.Severity.WARNING: logging.WARNING,
        trt.ILogger.Severity.INFO: logging.DEBUG,
        trt.ILogger.Severity.VERBOSE: logging.NOTSET,
    }

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.errors: list[str] = []

    def log(self, severity: Any, msg: str) -> None:
        """Called by TensorRT from any of its threads."""
        level = self._LEVELS[severity]
        if level == logging.ERROR:
            self.errors = [*self.errors[-2:], msg]
        _log.log(level, "%s", msg)


class _Monitor(trt.IProgressMonitor):
    """Tells `progress` of the phases of a build; TensorRT nests them, the outermost is told."""

    def __init__(self, progress: Progress) -> None:
        trt.IProgressMonitor.__init__(self)
        self.stopped = False
        self.interruption: BaseException | None = None
        self._progress = progress
        self._steps: dict[str, int] = {}

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        """See TensorRT."""
        self._steps[phase_name] = num_steps

    def phase_finish(self, phase_name: str) -> None:
        """See TensorRT."""
        self._steps.pop(phase_name, None)

    def step_complete(self, phase_name: str, step: int) -> bool:
        """See TensorRT; answers whether to go on."""
        try:
            go_on = self._progress(phase_name, step + 1, self._steps.get(phase_name, step + 1))
        except Exception:  # what is told of a build must not end it; TensorRT would say only "-1"
            _log.exception("progress of the build could not be told")
            go_on = True
        except BaseException as interruption:  # Ctrl-C, which must not pass through C++
            self.interruption, go_on = interruption, False
        self.stopped = self.stopped or not go_on
        return go_on


def _describe(error: Any) -> str:
    return f"node {error.node()} ({error.node_name()}): {error.desc()}"


def _failed(what: str, said: list[str]) -> RunnerError:
    reasons = "; ".join(part.strip() for part in said if part) or "no reason given"
    return RunnerError(
        f"TensorRT {trt.__version__} could not {what} ({reasons}): see docs/jetson.md, "
        "Troubleshooting, or use the runner 'onnx_cuda' or 'onnx'"
    )
