"""Runs an engine: page-locked buffers, two frames in flight, one CUDA graph a frame.

The logic here is neutral of TensorRT and of pycuda (`seg_perception.runtime.device`), so that it is
tested without a GPU. A frame owns a *slot*: buffers, a graph that reads and writes just these, and
the events that order its steps. With two slots the upload of one frame overlaps the inference of
the one before, for callers in two threads.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import RunnerError
from seg_perception.runtime.bundle import EVALUATION_OUTPUTS, Bundle, CanRun, TensorSpec
from seg_perception.runtime.device import Buffer, Device, Engine
from seg_perception.runtime.inputs import check_inputs, check_outputs, nothing_known
from seg_perception.runtime.manifest import Manifest

SLOTS = 2
CLOSED = "this runner is closed: open the bundle again"

FIXED = ("refiner_iterations",)
"""Inputs that are constants of the engine, with the values that the manifest gives."""

OpenEngine = Callable[[Sequence[str]], Engine]
"""Opens the engine that computes these outputs; called inside `Device.current`."""

CheckEngine = Callable[[CanRun, Sequence[str]], None]
"""Told of what runs an engine just opened, before anyone gets an answer from it; may refuse it."""


def unchecked(running: CanRun, outputs: Sequence[str]) -> None:
    """A `CheckEngine` that refuses nothing."""


def fixed_inputs(manifest: Manifest) -> dict[str, NDArray[Any]]:
    """What `FIXED` inputs of a model an engine has as constants."""
    return {name: value for name, value in nothing_known(manifest).items() if name in FIXED}


def driving_outputs(manifest: Manifest) -> tuple[str, ...]:
    """All outputs but those that only the evaluation asks for.

    The labels before correction are among them, though by default nobody asks: the overlay does as
    soon as somebody looks at it, and to build another engine then would stop the vehicle's eyes.
    """
    return tuple(spec.name for spec in manifest.outputs if spec.name not in EVALUATION_OUTPUTS)


class TensorRTRunner:
    """Runs a bundle's engine; a `seg_perception.runtime.runner.Runner`.

    One engine computes what may be asked for on the road (`driving_outputs`); the first call that
    asks for more opens a second one, which computes all.

    Args:
        bundle: what to run.
        device: on which GPU; closed with the runner, and not where no runner comes to be.
        open_engine: gives the engines.
        check: told of each once it runs.
        reason: why this runner was chosen, for the log.

    Raises:
        RunnerError: the engine cannot be opened, or fails on its first run.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: Device,
        open_engine: OpenEngine,
        *,
        check: CheckEngine = unchecked,
        reason: str = "",
    ) -> None:
        self.bundle = bundle
        self.name = "tensorrt"
        self.reason = reason
        self.frames_in_flight = SLOTS
        self._device = device
        self._open_engine = open_engine
        self._check = check
        self._lock = threading.Lock()
        self._pipelines: dict[bool, _Pipeline] = {}
        self._closed = False
        self._pipeline(complete=False)

    def run(
        self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """See `seg_perception.runtime.runner.Runner.run`."""
        manifest = self.bundle.manifest
        names = manifest.default_outputs if outputs is None else tuple(outputs)
        check_inputs(manifest, inputs)
        check_outputs(manifest, names)
        _check_fixed(manifest, inputs)
        complete = not set(names) <= set(driving_outputs(manifest))
        return self._pipeline(complete=complete).run(inputs, names)

    def close(self) -> None:
        """See `seg_perception.runtime.runner.Runner.close`; waits for frames in work."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for pipeline in self._pipelines.values():
                pipeline.close()
            self._pipelines.clear()
            self._device.close()

    def _pipeline(self, *, complete: bool) -> _Pipeline:
        with self._lock:
            if self._closed:
                raise RunnerError(CLOSED)
            if complete not in self._pipelines:
                self._pipelines[complete] = self._open(complete)
            return self._pipelines[complete]

    def _open(self, complete: bool) -> _Pipeline:
        manifest = self.bundle.manifest
        wanted = driving_outputs(manifest)
        outputs = [spec for spec in manifest.outputs if complete or spec.name in wanted]
        names = [spec.name for spec in outputs]
        inputs = [spec for spec in manifest.inputs if spec.name not in FIXED]
        with self._device.current():
            engine = self._open_engine(names)
            pipeline = _Pipeline(self._device, engine, inputs, outputs, nothing_known(manifest))
        try:
            self._check(pipeline, names)
        except BaseException:
            pipeline.close()
            raise
        return pipeline


def _check_fixed(manifest: Manifest, inputs: Mapping[str, NDArray[Any]]) -> None:
    for name, value in fixed_inputs(manifest).items():
        if not np.array_equal(inputs.get(name, value), value):
            raise RunnerError(
                f"{name} is {inputs[name].tolist()}, but the engine is built for "
                f"{value.tolist()}: use the runner 'onnx' or 'onnx_cuda' to change it"
            )


@dataclass
class _Slot:
    """Of one frame in flight.

    Attributes:
        inputs: by name.
        outputs: by name.
        uploaded: event: the inputs are on the GPU.
        answered: event: the outputs are here.
        graph: the whole engine on these buffers.
        unknown: inputs that say "nothing known", so that they need no upload to say it again.
    """

    inputs: Mapping[str, Buffer]
    outputs: Mapping[str, Buffer]
    uploaded: int
    answered: int
    graph: int = 0
    unknown: set[str] = field(default_factory=set)


class _Pipeline:
    """One engine and its slots; made inside `Device.current`."""

    def __init__(
        self,
        device: Device,
        engine: Engine,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        defaults: Mapping[str, NDArray[Any]],
    ) -> None:
        self._device = device
        self._engine = engine
        self._defaults = defaults
        self._copying, self._computing = device.stream(), device.stream()
        self._order = threading.Lock()
        self._free: queue.Queue[_Slot | None] = queue.Queue()  # None: closed
        for _ in range(SLOTS):
            slot = _Slot(
                {spec.name: device.buffer(spec.dtype, spec.shape) for spec in inputs},
                {spec.name: device.buffer(spec.dtype, spec.shape) for spec in outputs},
                device.event(),
                device.event(),
            )
            self._warm_up(slot)
            self._free.put(slot)

    def run(
        self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Upload, infer, download; any thread. None: all outputs."""
        slot = self._free.get()
        if slot is None:
            self._free.put(None)
            raise RunnerError(CLOSED)
        names = slot.outputs if outputs is None else outputs
        try:
            with self._device.current():
                self._upload(slot, inputs)
                with self._order:
                    self._infer(slot, names)
                self._device.synchronize(slot.answered)
            return {name: slot.outputs[name].host.copy() for name in names}
        finally:
            self._free.put(slot)

    def close(self) -> None:
        """Wait for the frames in work, and refuse those that wait for a slot."""
        for _ in range(SLOTS):
            self._free.get()
        self._free.put(None)

    def _warm_up(self, slot: _Slot) -> None:
        """One plain run, in which everything is loaded that loads lazily; then remember one."""
        device = self._device
        self._engine.bind(
            {name: buffer.address for name, buffer in {**slot.inputs, **slot.outputs}.items()}
        )
        self._upload(slot, {})
        device.wait(slot.uploaded, self._computing)
        self._engine.enqueue(self._computing)
        device.record(slot.answered, self._computing)
        device.synchronize(slot.answered)
        device.begin_capture(self._computing)
        try:
            self._engine.enqueue(self._computing)
        finally:
            slot.graph = device.end_capture(self._computing)

    def _upload(self, slot: _Slot, inputs: Mapping[str, NDArray[Any]]) -> None:
        for name, buffer in slot.inputs.items():
            if name in inputs:
                slot.unknown.discard(name)
                self._write(buffer, inputs[name])
            elif name in self._defaults and name not in slot.unknown:
                self._write(buffer, self._defaults[name])
                slot.unknown.add(name)
        self._device.record(slot.uploaded, self._copying)

    def _write(self, buffer: Buffer, array: NDArray[Any]) -> None:
        buffer.host[...] = array
        if not buffer.shared:
            self._device.upload(buffer, self._copying)

    def _infer(self, slot: _Slot, outputs: Iterable[str]) -> None:
        device = self._device
        device.wait(slot.uploaded, self._computing)
        device.launch_graph(slot.graph, self._computing)
        for name in outputs:
            if not slot.outputs[name].shared:
                device.download(slot.outputs[name], self._computing)
        device.record(slot.answered, self._computing)
