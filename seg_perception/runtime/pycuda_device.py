"""The GPU through pycuda: primary context, page-locked memory, streams and events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np
import pycuda.driver as cuda

from seg_perception.errors import RunnerError
from seg_perception.runtime.cuda import CudaDriver
from seg_perception.runtime.device import Buffer

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: does not wait for the legacy default stream


class PycudaDevice:
    """The GPU that CUDA lists first; a `seg_perception.runtime.device.Device`.

    It uses the primary context, as TensorRT and every other library in the process do, and makes
    it current only for the duration of a call: a ROS executor calls from changing threads.

    Args:
        driver: of this machine.

    Raises:
        RunnerError: CUDA refuses.
    """

    def __init__(self, driver: CudaDriver) -> None:
        self.driver = driver
        with _told("open the GPU"):
            cuda.init()
            device = cuda.Device(0)
            self._context = device.retain_primary_context()
            self.name = str(device.name())
            self.architecture = "sm_{}{}".format(*device.compute_capability())
            self._integrated = bool(device.get_attribute(cuda.device_attribute.INTEGRATED))
        self._kept: dict[int, Any] = {}
        self._closed = False

    @contextmanager
    def current(self) -> Iterator[None]:
        """See `Device`."""
        with _told("make the context current"):
            self._context.push()
        try:
            yield
        finally:
            cuda.Context.pop()

    def free_bytes(self) -> int:
        """See `Device`."""
        with _told("ask for free memory"):
            return int(cuda.mem_get_info()[0])

    def buffer(self, dtype: str, shape: tuple[int, ...]) -> Buffer:
        """See `Device`."""
        flags = cuda.host_alloc_flags.DEVICEMAP if self._integrated else 0
        with _told(f"allocate {dtype} {list(shape)}"):
            host = cuda.pagelocked_empty(shape, np.dtype(dtype), mem_flags=flags)
            host[...] = 0
            if self._integrated:
                # One memory: the GPU reads what the CPU wrote, where it stands.
                return Buffer(host, int(host.base.get_device_pointer()), shared=True)
            memory = cuda.mem_alloc(prod(shape) * host.itemsize)
        return Buffer(host, self._keep(memory, int(memory)), shared=False)

    def stream(self) -> int:
        """See `Device`."""
        with _told("make a stream"):
            stream = cuda.Stream(_NON_BLOCKING)
        return self._keep(stream, stream.handle)

    def upload(self, buffer: Buffer, stream: int) -> None:
        """See `Device`."""
        with _told("copy to the GPU"):
            cuda.memcpy_htod_async(buffer.address, buffer.host, self._kept[stream])

    def download(self, buffer: Buffer, stream: int) -> None:
        """See `Device`."""
        with _told("copy from the GPU"):
            cuda.memcpy_dtoh_async(buffer.host, buffer.address, self._kept[stream])

    def event(self) -> int:
        """See `Device`."""
        with _told("make an event"):
            event = cuda.Event(cuda.event_flags.DISABLE_TIMING)
        return self._keep(event, id(event))

    def record(self, event: int, stream: int) -> None:
        """See `Device`."""
        with _told("record an event"):
            self._kept[event].record(self._kept[stream])

    def wait(self, event: int, stream: int) -> None:
        """See `Device`."""
        with _told("order two streams"):
            self._kept[stream].wait_for_event(self._kept[event])

    def synchronize(self, event: int) -> None:
        """See `Device`."""
        with _told("wait for the GPU"):
            self._kept[event].synchronize()

    def begin_capture(self, stream: int) -> None:
        """See `Device`; pycuda knows no graphs."""
        self.driver.begin_capture(stream)

    def end_capture(self, stream: int) -> int:
        """See `Device`."""
        return self.driver.end_capture(stream)

    def launch_graph(self, graph: int, stream: int) -> None:
        """See `Device`."""
        self.driver.launch_graph(graph, stream)

    def close(self) -> None:
        """See `Device`."""
        if not self._closed:
            self._closed = True
            with self.current():
                self._kept.clear()
            self._context.detach()

    def _keep(self, owner: Any, handle: int) -> int:
        self._kept[handle] = owner
        return handle


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Say it in our terms: pycuda raises for every return code that is not success."""
    try:
        yield
    except cuda.Error as error:
        raise RunnerError(
            f"CUDA could not {what} ({error}): close what else uses the GPU, see dmesg for its own "
            "complaint (Xid), then restart the node"
        ) from error
