"""libcuda through ctypes: just what launches precompiled kernels and replays a graph of them.

pycuda keeps context, memory and streams of the runner, but cannot launch on the raw stream that
TensorRT gives a plugin, and knows no graphs; these few functions of the driver can do both. Handles
and device addresses are plain integers, 0 = none. Every return code is checked.
https://docs.nvidia.com/cuda/cuda-driver-api
"""

from __future__ import annotations

import ctypes
import functools
from ctypes import byref, c_char_p, c_int, c_size_t, c_ubyte, c_uint, c_void_p
from typing import Any, Protocol

from seg_perception.errors import RunnerError

LIBRARY = "libcuda.so.1"

_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR = 75, 76  # CUdevice_attribute
_MAX_DYNAMIC_SHARED_BYTES = 8  # CUfunction_attribute
_CAPTURE_THREAD_LOCAL = 1  # CUstreamCaptureMode
_NO_IMAGE_FOR_GPU = 209  # CUresult, of cuModuleLoadData


class Driver(Protocol):
    """What a launch needs of CUDA, in the context that is current on the calling thread."""

    def context(self) -> int:
        """The current context."""

    def architecture(self) -> str:
        """Of the context's GPU, e.g. "sm_87"."""

    def load(self, image: bytes) -> int:
        """Load a cubin or PTX into the context; gives a module, which stays as long as that."""

    def function(self, module: int, entry: str, shared_bytes: int) -> int:
        """A kernel of a module, ready for this much dynamic shared memory."""

    def launch(
        self,
        function: int,
        grid: tuple[int, int, int],
        threads: int,
        shared_bytes: int,
        stream: int,
        arguments: ctypes.Array[Any],
    ) -> None:
        """Launch a kernel with `threads` threads a block; `arguments` are addresses of values."""

    def memset(self, address: int, value: int, size: int, stream: int) -> None:
        """Set `size` bytes to `value`."""


class CudaDriver:
    """The driver of this machine; a `Driver`.

    Args:
        library: of the driver.

    Raises:
        RunnerError: there is no driver, or no GPU it could drive.
    """

    def __init__(self, library: str = LIBRARY) -> None:
        self._library = _open_library(library)
        self._call("cuInit", c_uint(0))

    def devices(self) -> int:
        """How many GPUs there are."""
        count = c_int()
        self._call("cuDeviceGetCount", byref(count))
        return count.value

    def context(self) -> int:
        """See `Driver`."""
        context = c_void_p()
        self._call("cuCtxGetCurrent", byref(context))
        return context.value or 0

    def architecture(self) -> str:
        """See `Driver`."""
        device, major, minor = c_int(), c_int(), c_int()
        self._call("cuCtxGetDevice", byref(device))
        for value, attribute in (
            (major, _COMPUTE_CAPABILITY_MAJOR),
            (minor, _COMPUTE_CAPABILITY_MINOR),
        ):
            self._call("cuDeviceGetAttribute", byref(value), c_int(attribute), device)
        return f"sm_{major.value}{minor.value}"

    def load(self, image: bytes) -> int:
        """See `Driver`."""
        module = c_void_p()
        # PTX is text, which must end with a zero byte; a cubin does not mind one more.
        self._call("cuModuleLoadData", byref(module), c_char_p(image + b"\0"))
        return module.value or 0

    def function(self, module: int, entry: str, shared_bytes: int) -> int:
        """See `Driver`."""
        function = c_void_p()
        self._call("cuModuleGetFunction", byref(function), c_void_p(module), entry.encode())
        self._call(
            "cuFuncSetAttribute", function, c_int(_MAX_DYNAMIC_SHARED_BYTES), c_int(shared_bytes)
        )
        return function.value or 0

    def launch(
        self,
        function: int,
        grid: tuple[int, int, int],
        threads: int,
        shared_bytes: int,
        stream: int,
        arguments: ctypes.Array[Any],
    ) -> None:
        """See `Driver`."""
        code = self._launch(function, *grid, threads, 1, 1, shared_bytes, stream, arguments, None)
        if code:
            self._fail("cuLaunchKernel", code)

    def memset(self, address: int, value: int, size: int, stream: int) -> None:
        """See `Driver`."""
        code = self._memset(address, value, size, stream)
        if code:
            self._fail("cuMemsetD8Async", code)

    def begin_capture(self, stream: int) -> None:
        """Record what this thread puts on the stream from now on, instead of executing it."""
        self._call("cuStreamBeginCapture_v2", c_void_p(stream), c_int(_CAPTURE_THREAD_LOCAL))

    def end_capture(self, stream: int) -> int:
        """The recorded work, as an executable graph."""
        graph, executable = c_void_p(), c_void_p()
        self._call("cuStreamEndCapture", c_void_p(stream), byref(graph))
        try:
            self._call(
                "cuGraphInstantiateWithFlags", byref(executable), graph, ctypes.c_ulonglong(0)
            )
        finally:
            self._call("cuGraphDestroy", graph)
        return executable.value or 0

    def launch_graph(self, executable: int, stream: int) -> None:
        """Do the recorded work."""
        self._call("cuGraphLaunch", c_void_p(executable), c_void_p(stream))

    def destroy_graph(self, executable: int) -> None:
        """Forget the recorded work."""
        self._call("cuGraphExecDestroy", c_void_p(executable))

    @functools.cached_property
    def _launch(self) -> Any:
        # With declared types ctypes converts plain integers itself, which is what enqueue pays for.
        call = self._library.cuLaunchKernel
        call.argtypes = [c_void_p, *[c_uint] * 7, c_void_p, c_void_p, c_void_p]
        return call

    @functools.cached_property
    def _memset(self) -> Any:
        call = self._library.cuMemsetD8Async
        call.argtypes = [c_void_p, c_ubyte, c_size_t, c_void_p]
        return call

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._library, name)(*arguments)
        if code:
            self._fail(name, code)

    def _fail(self, name: str, code: int) -> None:
        said = c_char_p()
        self._library.cuGetErrorName(c_int(code), byref(said))
        error = (said.value or b"unknown error").decode()
        raise RunnerError(f"{name} failed with {error} ({code}): {advice(code)}")


def advice(code: int) -> str:
    """What to do about a CUresult."""
    return _ADVICE.get(code, "see dmesg for the GPU's own complaint (Xid), then restart the node")


_ADVICE = {
    2: "the GPU is out of memory: close what else uses it, or take a smaller model",
    3: "the driver is shutting down: start the process again",
    100: "no GPU is visible: check nvidia-smi and CUDA_VISIBLE_DEVICES",
    _NO_IMAGE_FOR_GPU: "the bundle's kernels fit no such GPU: export the bundle for it",
    218: "the driver cannot compile the bundle's PTX: update the driver",
    222: "the bundle's PTX is newer than the driver: update the driver",
    803: "driver and libcuda are of different versions: reboot, or reinstall the driver",
}


def _open_library(library: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(library)
    except OSError as error:
        raise RunnerError(
            f"no NVIDIA driver ({error}): install it (JetPack brings it; in a container "
            "start with --gpus all or --runtime nvidia), or use the runner 'onnx'"
        ) from None
