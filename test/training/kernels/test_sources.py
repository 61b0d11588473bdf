"""Kernels and programs fit each other for any number of classes."""

from __future__ import annotations

import pytest
import torch

from training.filters import spatial_features
from training.filters.lattice import _build

pytest.importorskip("triton")

from seg_perception.runtime.kernel_programs import MEMSET, evaluate, plan
from training.kernels.programs import VERTICES, programs
from training.kernels.sources import MAX_CLASSES, kernel_sources


@pytest.mark.parametrize("classes", [1, 2, 19, 150, MAX_CLASSES])
def test_block_sizes_are_powers_of_two(classes: int) -> None:
    for name, source in kernel_sources(classes).items():
        for constant, size in source.constants.items():
            if constant not in {"CORNERS", "D"}:
                assert size & (size - 1) == 0, (name, constant)


@pytest.mark.parametrize(("classes", "storage"), [(0, "float32"), (257, "float32"), (3, "int8")])
def test_refuses(classes: int, storage: str) -> None:
    with pytest.raises(ValueError, match=r"classes|storage"):
        kernel_sources(classes, storage)


def test_types_are_given_for_every_argument() -> None:
    for source in kernel_sources(19).values():
        assert len(source.arguments) == len(source.function.arg_names) - len(source.constants)


def test_every_kernel_is_launched_by_some_program() -> None:
    sources = kernel_sources(19)
    launched = {
        step.kernel
        for program in programs(sources, "float32").values()
        for step in (*program.before, *program.each, *program.after)
    }
    assert launched - {MEMSET} == sources.keys()


SHAPES = {"scores": (19, 1024, 2048), "image": (3, 1024, 2048)} | dict.fromkeys(
    ("spatial_weight", "bilateral_weight", "compatibility"), (19, 19)
)
DENSE = {"sxy_spatial": 3.0, "sxy": 80.0, "srgb": 13.0, "iterations": 5}


def test_workspace_of_a_large_frame_fits_a_jetson() -> None:
    made = plan(programs(kernel_sources(19), "float32")["MeanField"], SHAPES, DENSE)
    assert made.workspace_bytes < 700e6
    assert len([launch for launch in made.launches if launch.kernel == "lattice_blur"]) == 9 * 6


@pytest.mark.parametrize("sxy", [0.7, 1.0, 3.0, 8.0, 50.0])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300), (37, 53), (120, 160)])
def test_spatial_lattice_has_room_for_every_vertex(height: int, width: int, sxy: float) -> None:
    features = spatial_features(torch.zeros(1, 1, height, width), sxy)
    points = features[0].flatten(1).T
    needed = len(_build(points).lower.T)
    assert needed <= evaluate(VERTICES["spatial"], {"H": height, "W": width, "sxy_spatial": sxy})
