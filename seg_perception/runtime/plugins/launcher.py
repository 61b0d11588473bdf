"""Launches one program of a bundle's kernels: all that `enqueue` does.

Everything that can be known before is worked out when the shapes are: the plan, the loaded
functions, and the arrays of arguments that `cuLaunchKernel` takes. What remains for each frame is
to write down where the tensors lie this time, and to launch.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seg_perception.runtime.cuda import Driver
from seg_perception.runtime.kernel_programs import MEMSET, Launch, Number, Plan, plan
from seg_perception.runtime.plugins.kernels import Function, Kernels

_HIDDEN_POINTERS = 2
"""Triton's own trailing arguments, global and profile scratch: null (docs/kernels.md)."""

_BY_VALUE: Mapping[str, Any] = {"int32": ctypes.c_int32, "float32": ctypes.c_float}


@dataclass(frozen=True)
class _Launch:
    function: Function
    grid: tuple[int, int, int]
    values: tuple[Any, ...]
    addresses: ctypes.Array[Any]  # of the values

    def go(self, driver: Driver, stream: int) -> None:
        function = self.function
        driver.launch(
            function.handle,
            self.grid,
            function.threads,
            function.shared_bytes,
            stream,
            self.addresses,
        )


@dataclass(frozen=True)
class _Memset:
    address: ctypes.c_void_p
    byte: int
    size: int

    def go(self, driver: Driver, stream: int) -> None:
        driver.memset(self.address.value or 0, self.byte, self.size, stream)


class Launcher:
    """One operator of the model, with its shapes; launch from one thread at a time.

    Loads the kernels into the current context. Launching only launches: no allocation on the GPU,
    no synchronisation, nothing that a stream capture would refuse.

    Args:
        kernels: of the bundle.
        program: name of the operator.
        shapes: of every input by name, without the batch.
        attributes: of the operator.
        driver: launches.

    Attributes:
        workspace_bytes: scratch memory that a launch needs.

    Raises:
        BundleError: the shapes are not those of the operator, or a kernel cannot be read.
        RunnerError: the driver refuses a kernel.
    """

    def __init__(
        self,
        kernels: Kernels,
        program: str,
        shapes: Mapping[str, Sequence[int]],
        attributes: Mapping[str, Number],
        driver: Driver,
    ) -> None:
        self._driver = driver
        described = kernels.file.programs[program]
        planned = plan(described, shapes, attributes)
        self.workspace_bytes = planned.workspace_bytes
        tensors = [array.name for array in (*described.inputs, *described.outputs)]
        # The kernels read addresses from here, so that a launch costs no new arguments.
        where = {name: ctypes.c_void_p() for name in (*tensors, *planned.offsets)}
        self._tensors = [where[name] for name in tensors]
        self._scratch = [(where[name], offset) for name, offset in planned.offsets.items()]
        self._steps = [
            _memset(launch, planned, where)
            if launch.kernel == MEMSET
            else _bind(launch, kernels, where, driver)
            for launch in planned.launches
        ]

    def launch(
        self, inputs: Sequence[int], outputs: Sequence[int], workspace: int, stream: int
    ) -> None:
        """Launch everything in order; tensors as the program lists them.

        Args:
            inputs: device addresses of the inputs.
            outputs: device addresses of the outputs.
            workspace: device address of `workspace_bytes` bytes.
            stream: CUstream.

        Raises:
            RunnerError: the driver refuses a launch.
        """
        for slot, address in zip(self._tensors, (*inputs, *outputs), strict=True):
            slot.value = address
        for slot, offset in self._scratch:
            slot.value = workspace + offset
        for step in self._steps:
            step.go(self._driver, stream)


def _memset(launch: Launch, planned: Plan, where: Mapping[str, ctypes.c_void_p]) -> _Memset:
    array, byte = (str(argument) for argument in launch.arguments)
    return _Memset(where[array], int(byte), planned.sizes[array])


def _bind(
    launch: Launch, kernels: Kernels, where: Mapping[str, ctypes.c_void_p], driver: Driver
) -> _Launch:
    declared = kernels.file.kernels[launch.kernel].arguments
    values: list[Any] = [
        where[value] if isinstance(value, str) else _BY_VALUE[argument.type](value)
        for value, argument in zip(launch.arguments, declared, strict=True)
    ]
    values += [ctypes.c_void_p() for _ in range(_HIDDEN_POINTERS)]
    addresses = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
    function = kernels.function(launch.kernel, driver)
    return _Launch(function, launch.grid, tuple(values), addresses)
