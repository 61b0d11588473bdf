"""Run a program of docs/kernels.md on torch tensors: on a GPU, or in Triton's interpreter.

It walks through the very plan that the vehicle's plugins walk through, with kernels that Triton
compiles here and now instead of ahead of time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from seg_perception.runtime.kernel_programs import MEMSET, Number, Plan, Program, evaluate, plan
from training.kernels.programs import programs
from training.kernels.sources import Source, kernel_sources


@dataclass(frozen=True)
class Prepared:
    """A program with its arrays, which every run uses again.

    Attributes:
        plan: the launches.
        sources: the kernels by name.
        arrays: every array by name; `outputs` among them.
        outputs: what a run leaves.
    """

    plan: Plan
    sources: Mapping[str, Source]
    arrays: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]

    def run(self) -> None:
        """Launch everything, on the current stream; nothing is allocated."""
        for step in range(len(self.plan.launches)):
            self.run_step(step)

    def run_step(self, step: int) -> None:
        """Launch one step of the plan."""
        launch = self.plan.launches[step]
        arguments = [self.arrays[a] if isinstance(a, str) else a for a in launch.arguments]
        if launch.kernel == MEMSET:
            array, byte = arguments
            array.view(torch.uint8).fill_(byte)
        else:
            launch_source(self.sources[launch.kernel], launch.grid, *arguments)


def run_program(
    name: str,
    inputs: Mapping[str, Tensor],
    attributes: Mapping[str, Number],
    storage: str = "float32",
) -> Mapping[str, Tensor]:
    """Prepare a program, run it, and give its outputs by name; arguments of `prepare_program`."""
    prepared = prepare_program(name, inputs, attributes, storage)
    prepared.run()
    return prepared.outputs


def prepare_program(
    name: str,
    inputs: Mapping[str, Tensor],
    attributes: Mapping[str, Number],
    storage: str = "float32",
) -> Prepared:
    """Plan a program and allocate its workspace and outputs.

    Args:
        name: `GuidedCrf`, `MeanField`, `Describe` or `NormaliseImage`.
        inputs: by name, without the batch, on one device.
        attributes: see docs/kernels.md.
        storage: dtype of the large intermediate arrays.

    Raises:
        BundleError: inputs or attributes do not fit the program.
    """
    classes = len(inputs["scores"]) if "scores" in inputs else 1
    return prepare(*_sources_and_program(name, classes, storage), inputs, attributes)


def prepare(
    sources: Mapping[str, Source],
    program: Program,
    inputs: Mapping[str, Tensor],
    attributes: Mapping[str, Number],
) -> Prepared:
    """As `prepare_program`, for a program of these kernels."""
    device = next(iter(inputs.values())).device
    shapes = {key: tuple(value.shape) for key, value in inputs.items()}
    made = plan(program, shapes, attributes)
    outputs = _outputs(program, shapes, attributes, device)
    workspace = torch.empty(made.workspace_bytes, dtype=torch.uint8, device=device)
    arrays = {key: value.contiguous() for key, value in inputs.items()}
    arrays |= outputs | _scratch(program, made, workspace)
    return Prepared(made, sources, arrays, outputs)


def launch_source(source: Source, grid: tuple[int, int, int], *arguments: Tensor | Number) -> None:
    """Launch one kernel with its block sizes."""
    source.function[grid](*arguments, **source.constants, num_warps=source.warps)


@cache
def _sources_and_program(
    name: str, classes: int, storage: str
) -> tuple[dict[str, Source], Program]:
    sources = kernel_sources(classes, storage)
    return sources, programs(sources, storage)[name]


def _outputs(
    program: Program,
    shapes: Mapping[str, tuple[int, ...]],
    attributes: Mapping[str, Number],
    device: torch.device,
) -> dict[str, Tensor]:
    sizes = dict(attributes)
    for tensor in program.inputs:
        sizes |= zip(tensor.shape, shapes[tensor.name], strict=True)
    return {
        tensor.name: torch.empty(
            [int(evaluate(size, sizes)) for size in tensor.shape],
            dtype=getattr(torch, tensor.dtype),
            device=device,
        )
        for tensor in program.outputs
    }


def _scratch(program: Program, made: Plan, workspace: Tensor) -> dict[str, Tensor]:
    found = {}
    for array in program.workspace:
        start = made.offsets[array.name]
        piece = workspace[start : start + made.sizes[array.name]]
        found[array.name] = piece.view(getattr(torch, array.dtype))
    return found
