"""A GPU in Python: memory of its own, and streams that do nothing until somebody waits for them.

A runner that forgets to wait, or to order two streams, reads what was there before; so the tests of
the runner's logic can fail. The "engine" is the ONNX model in ONNX Runtime.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tiny_kernels import RecordingDriver

from seg_perception.runtime.device import Buffer
from seg_perception.runtime.engine_cache import BuildOptions, BuildStoppedError, Built


class SimulatedGpu:
    """A `Device`; `integrated` = GPU and CPU share their memory.

    Attributes:
        log: every call that puts work on a stream: (what, stream) in order of the calls.
        memory: what lies where, on the GPU's side.
        free: bytes it claims to have left.
    """

    def __init__(self, *, integrated: bool = False, name: str = "Simulated GPU") -> None:
        self.name = name
        self.architecture = "sm_87"
        self.driver = RecordingDriver()
        self.log: list[tuple[str, int]] = []
        self.memory: dict[int, NDArray[Any]] = {}
        self.free = 8 << 30
        self.closed = False
        self._integrated = integrated
        self._current = threading.local()
        self._lock = threading.RLock()
        self._handles = itertools.count(1)
        self._streams: dict[int, list[Callable[[], None]]] = {}
        self._done: dict[int, int] = {}
        self._events: dict[int, tuple[int, int]] = {}
        self._graphs: dict[int, list[Callable[[], None]]] = {}
        self._capturing: dict[int, list[Callable[[], None]]] = {}

    @contextmanager
    def current(self) -> Iterator[None]:
        assert not self.closed
        self._current.depth = getattr(self._current, "depth", 0) + 1
        try:
            yield
        finally:
            self._current.depth -= 1

    def free_bytes(self) -> int:
        return self.free

    def buffer(self, dtype: str, shape: tuple[int, ...]) -> Buffer:
        self._check()
        address = 4096 * next(self._handles)
        host = np.zeros(shape, dtype)
        self.memory[address] = host if self._integrated else np.full(shape, 77, dtype)
        return Buffer(host, address, self._integrated)

    def stream(self) -> int:
        self._check()
        stream = next(self._handles)
        self._streams[stream], self._done[stream] = [], 0
        return stream

    def upload(self, buffer: Buffer, stream: int) -> None:
        self.put("upload", stream, lambda: self._copy(self.memory[buffer.address], buffer.host))

    def download(self, buffer: Buffer, stream: int) -> None:
        self.put("download", stream, lambda: self._copy(buffer.host, self.memory[buffer.address]))

    def event(self) -> int:
        self._check()
        return next(self._handles)

    def record(self, event: int, stream: int) -> None:
        self._check()
        with self._lock:
            self._events[event] = stream, len(self._streams[stream])

    def wait(self, event: int, stream: int) -> None:
        with self._lock:
            target = self._events[event]
        self.put("wait", stream, lambda: self._run(*target))

    def synchronize(self, event: int) -> None:
        self._check()
        with self._lock:
            self._run(*self._events[event])

    def begin_capture(self, stream: int) -> None:
        self._check()
        self._capturing[stream] = []

    def end_capture(self, stream: int) -> int:
        graph = next(self._handles)
        self._graphs[graph] = self._capturing.pop(stream)
        return graph

    def launch_graph(self, graph: int, stream: int) -> None:
        work = self._graphs[graph]
        self.put("graph", stream, lambda: [step() for step in work])

    def close(self) -> None:
        self.closed = True

    def put(self, what: str, stream: int, work: Callable[[], Any]) -> None:
        """Work on a stream, done when somebody waits for it."""
        self._check()
        with self._lock:
            if stream in self._capturing:
                self._capturing[stream].append(work)
                return
            self.log.append((what, stream))
            self._streams[stream].append(work)

    def _run(self, stream: int, end: int) -> None:
        while self._done[stream] < end:
            work = self._streams[stream][self._done[stream]]
            self._done[stream] += 1
            work()

    def _check(self) -> None:
        assert not self.closed
        assert getattr(self._current, "depth", 0), "called outside current()"

    @staticmethod
    def _copy(target: NDArray[Any], source: NDArray[Any]) -> None:
        target[...] = source


class SimulatedEngine:
    """An `Engine`: an ONNX model on a `SimulatedGpu`."""

    def __init__(self, gpu: SimulatedGpu, model: bytes) -> None:
        self._gpu = gpu
        self._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self._addresses: Mapping[str, int] = {}

    def bind(self, addresses: Mapping[str, int]) -> None:
        self._addresses = dict(addresses)

    def enqueue(self, stream: int) -> None:
        self._gpu.put("infer", stream, lambda addresses=self._addresses: self._infer(addresses))

    def _infer(self, addresses: Mapping[str, int]) -> None:
        memory = self._gpu.memory
        names = [entry.name for entry in self._session.get_outputs()]
        inputs = {entry.name: memory[addresses[entry.name]] for entry in self._session.get_inputs()}
        for name, answer in zip(names, self._session.run(names, inputs), strict=True):
            memory[addresses[name]][...] = answer


class SimulatedTensorRT:
    """Stands for the module `tensorrt_engine`: a "build" gives the model itself.

    Attributes:
        built: models, in order.
        options: of each build.
        spoil: what becomes of a model before it is built.
    """

    def __init__(self, gpu: SimulatedGpu, version: str = "10.3.0") -> None:
        self.built: list[bytes] = []
        self.options: list[BuildOptions] = []
        self.spoil: Callable[[bytes], bytes] = lambda model: model
        self._gpu = gpu
        self._version = version

    def version(self) -> str:
        return self._version

    def build(self, model: bytes, options: BuildOptions) -> Built:
        self.built.append(model)
        self.options.append(options)
        if not options.progress("Tactic selection", 1, 2):
            raise BuildStoppedError("told to stop")
        return Built(self.spoil(model), b"measured")

    def TensorRTEngine(self, plan: bytes) -> SimulatedEngine:  # noqa: N802 - a class's name
        return SimulatedEngine(self._gpu, plan)
