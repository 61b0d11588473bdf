"""Kernels of a bundle as the tests need them: what they do is told, the binaries are only bytes.

The programs have the inputs, outputs and attributes of the real ones (docs/kernels.md), and few,
simple steps.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from seg_perception.runtime.kernel_programs import (
    MEMSET,
    PTX,
    Argument,
    Binary,
    Kernel,
    KernelFile,
    Limit,
    Program,
    Scratch,
    Step,
    Tensor,
)
from seg_perception.runtime.plugins.kernels import Kernels

CLASSES = 5
ARCHITECTURES = ("sm_87", "sm_90")


def kernel(name: str, *arguments: str) -> Kernel:
    """A kernel of 128 threads; arguments as "name type"."""
    return Kernel(
        entry=f"{name}_entry",
        threads=128,
        arguments=tuple(Argument(*argument.split()) for argument in arguments),
        constants={},
        binaries={
            target: Binary(f"{name}.{target}", _sha256(f"{name}.{target}"), 1024, 40, 0)
            for target in (*ARCHITECTURES, PTX)
        },
    )


def image_of(file: str) -> bytes:
    """The "binary" of that name."""
    return f"code of {file}".encode()


def _sha256(file: str) -> str:
    return hashlib.sha256(image_of(file)).hexdigest()


KERNELS = {
    "stats": kernel("stats", "guide float32*", "stats float32*", "size int32", "eps float32"),
    "solve": kernel("solve", "scores float32*", "stats float32*", "out float32*", "radius int32"),
    "blur": kernel("blur", "scores float32*", "table int32*", "out float32*", "sigma float32"),
}
CHW = ("C", "H", "W")
GUIDED_CRF = Program(
    inputs=(
        Tensor("scores", "float32", CHW),
        Tensor("guide", "float32", ("3", "H", "W")),
        Tensor("weights", "float32", ("C", "C")),
    ),
    outputs=(Tensor("refined", "float32", CHW),),
    attributes=("radius", "eps", "iterations"),
    workspace=(Scratch("stats", "float32", "10 * H * W"), Scratch("now", "float32", "C * H * W")),
    before=(Step("stats", ("ceil_div(H * W, 128)", "1", "1"), ("guide", "stats", "H * W", "eps")),),
    repeat="iterations - 1",
    each=(Step("solve", ("H", "C", "1"), ("scores", "stats", "now", "radius")),),
    after=(Step("solve", ("H", "C", "1"), ("now", "stats", "refined", "radius")),),
)
MEAN_FIELD = Program(
    inputs=(
        Tensor("scores", "float32", CHW),
        Tensor("image", "float32", ("3", "H", "W")),
        *(
            Tensor(name, "float32", ("C", "C"))
            for name in ("spatial_weight", "bilateral_weight", "compatibility")
        ),
    ),
    outputs=(Tensor("refined", "float32", CHW),),
    attributes=("sxy_spatial", "sxy", "srgb", "iterations"),
    workspace=(Scratch("table", "int32", "power_of_two(6 * H * W)"),),
    before=(Step(MEMSET, (), ("table", "255")),),
    repeat="iterations",
    each=(Step("blur", ("H * W", "1", "1"), ("scores", "table", "refined", "1 / sxy")),),
    after=(),
    limits=(Limit("W / sxy", 100, "raise sxy, or export without kernels"),),
)
FILE = KernelFile(
    format_version=1,
    compiler="none",
    classes=CLASSES,
    storage="float32",
    kernels=KERNELS,
    programs={"GuidedCrf": GUIDED_CRF, "MeanField": MEAN_FIELD},
)


def tiny_kernels(file: KernelFile = FILE) -> Kernels:
    """Kernels that no GPU was asked about; a digest of their own."""
    return Kernels(file, image_of, _sha256(file.to_json()))


@dataclass
class RecordingDriver:
    """A `Driver` without a GPU: remembers what it was asked to do, arguments by value.

    Attributes:
        kernels: whose launches these are; tells how to read the arguments.
        gpu: architecture it claims.
        loaded: images, in order.
        done: (what, grid, stream, arguments); "memset" with no grid.
    """

    kernels: Mapping[str, Kernel] = field(default_factory=lambda: KERNELS)
    gpu: str = "sm_87"
    loaded: list[bytes] = field(default_factory=list)
    done: list[tuple[str, tuple[int, ...], int, tuple[Any, ...]]] = field(default_factory=list)
    _names: list[str] = field(default_factory=list)

    def context(self) -> int:
        return 1

    def architecture(self) -> str:
        return self.gpu

    def load(self, image: bytes) -> int:
        self.loaded.append(image)
        return len(self.loaded)

    def function(self, module: int, entry: str, shared_bytes: int) -> int:
        self._names.append(entry.removesuffix("_entry"))
        return len(self._names)

    def launch(
        self,
        function: int,
        grid: tuple[int, int, int],
        threads: int,
        shared_bytes: int,
        stream: int,
        arguments: ctypes.Array[Any],
    ) -> None:
        name = self._names[function - 1]
        declared = self.kernels[name].arguments
        assert (threads, shared_bytes) == (128, 1024)
        assert len(arguments) == len(declared) + 2
        values = tuple(
            _read(address, argument.type)
            for address, argument in zip(arguments, declared, strict=False)
        )
        hidden = [_read(address, "void*") for address in arguments[len(declared) :]]
        assert hidden == [0, 0]
        self.done.append((name, grid, stream, values))

    def memset(self, address: int, value: int, size: int, stream: int) -> None:
        self.done.append((MEMSET, (), stream, (address, value, size)))


def _read(address: int | None, type_: str) -> Any:
    kinds = {"int32": ctypes.c_int32, "float32": ctypes.c_float}
    kind = kinds.get(type_, ctypes.c_void_p)
    assert address is not None
    return kind.from_address(address).value or 0
