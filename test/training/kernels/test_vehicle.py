"""What the vehicle's launcher launches is what the kernels take: both, in Triton's interpreter."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from seg_perception.runtime.kernel_programs import (
    FORMAT_VERSION,
    PTX,
    Binary,
    Kernel,
    KernelFile,
    Number,
    plan,
)
from seg_perception.runtime.plugins.kernels import Kernels
from seg_perception.runtime.plugins.launcher import Launcher

pytest.importorskip("triton")

from training.kernels.launch import launch_source, run_program
from training.kernels.programs import programs
from training.kernels.sources import Source, kernel_sources

CLASSES, H, W = 3, 4, 5
GUIDED: dict[str, Number] = {"radius": 1, "eps": 1.0, "iterations": 2}
MEAN_FIELD: dict[str, Number] = {"sxy_spatial": 2.3, "sxy": 4.1, "srgb": 17.3, "iterations": 3}


class InterpreterDriver:
    """A `seg_perception.runtime.cuda.Driver` whose device is this process's memory."""

    def __init__(self, sources: Mapping[str, Source], memory: Sequence[Tensor]) -> None:
        self.sources = sources
        self.memory = [tensor.view(-1).view(torch.uint8) for tensor in memory]
        self.entries: list[str] = []

    def context(self) -> int:
        return 1

    def architecture(self) -> str:
        return "sm_80"

    def load(self, image: bytes) -> int:
        return 1

    def function(self, module: int, entry: str, shared_bytes: int) -> int:
        self.entries.append(entry)
        return len(self.entries) - 1

    def launch(
        self,
        function: int,
        grid: tuple[int, int, int],
        threads: int,
        shared_bytes: int,
        stream: int,
        arguments: ctypes.Array[Any],
    ) -> None:
        source = self.sources[self.entries[function]]
        values = [
            self._argument(address, argument.type)
            for address, argument in zip(arguments, source.arguments, strict=False)
        ]
        assert threads == 32 * source.warps
        launch_source(source, grid, *values)

    def memset(self, address: int, value: int, size: int, stream: int) -> None:
        self._bytes(address)[:size] = value

    def _argument(self, address: int, kind: str) -> Any:
        if not kind.endswith("*"):
            numbers = {"int32": ctypes.c_int32, "float32": ctypes.c_float}
            return numbers[kind].from_address(address).value
        found = self._bytes(ctypes.c_void_p.from_address(address).value or 0)
        dtype = getattr(torch, kind.rstrip("*"))
        return found[: len(found) // dtype.itemsize * dtype.itemsize].view(dtype)

    def _bytes(self, address: int) -> Tensor:
        for piece in self.memory:
            if 0 <= address - piece.data_ptr() < len(piece):
                return piece[address - piece.data_ptr() :]
        raise AssertionError(f"address {address:#x} is in no array")


def kernels_of(sources: Mapping[str, Source]) -> Kernels:
    """As if compiled, with the kernels' names for binaries."""
    described = {
        name: Kernel(
            name,
            32 * source.warps,
            source.arguments,
            dict(source.constants),
            {PTX: Binary(name, hashlib.sha256(name.encode()).hexdigest(), 0, 0, 0)},
        )
        for name, source in sources.items()
    }
    made = programs(sources, "float32")
    file = KernelFile(FORMAT_VERSION, "triton", CLASSES, "float32", described, made)
    return Kernels(file, str.encode, "")


@pytest.mark.parametrize(
    ("name", "matrices", "attributes"),
    [
        ("GuidedCrf", ("weights",), GUIDED),
        ("MeanField", ("spatial_weight", "bilateral_weight", "compatibility"), MEAN_FIELD),
    ],
)
def test_launcher_computes_the_operator(
    name: str, matrices: tuple[str, ...], attributes: dict[str, Number]
) -> None:
    torch.manual_seed(0)
    image = "guide" if name == "GuidedCrf" else "image"
    inputs = {"scores": torch.randn(CLASSES, H, W), image: 255 * torch.rand(3, H, W)}
    inputs |= {matrix: torch.randn(CLASSES, CLASSES) for matrix in matrices}
    kernels = kernels_of(kernel_sources(CLASSES))
    shapes = {key: tuple(value.shape) for key, value in inputs.items()}
    size = plan(kernels.file.programs[name], shapes, attributes).workspace_bytes
    refined = torch.empty(CLASSES, H, W)
    workspace = torch.full((size,), 0x7F, dtype=torch.uint8)  # nothing may count on zeros
    driver = InterpreterDriver(kernel_sources(CLASSES), [*inputs.values(), refined, workspace])
    launcher = Launcher(kernels, name, shapes, attributes, driver)
    launcher.launch(
        [value.data_ptr() for value in inputs.values()],
        [refined.data_ptr()],
        workspace.data_ptr(),
        0,
    )
    expected = run_program(name, inputs, attributes)["refined"]
    assert torch.allclose(refined, expected, atol=1e-5)
