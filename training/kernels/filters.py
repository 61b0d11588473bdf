"""The kernels as linear filters with autograd, for training on a GPU (`training.filters`).

Both filters are ``D K`` with ``D = 1 / (K 1)``; what autograd applies is the adjoint ``K^T D``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
import triton
from torch import Tensor

from seg_perception.runtime.kernel_programs import power_of_two
from training.filters.guided import check_guide
from training.filters.protocol import check_fits
from training.kernels import lattice
from training.kernels.launch import launch_source
from training.kernels.sources import Source, kernel_sources


class KernelGuidedFilter:
    """`training.filters.TorchGuidedFilter` without a mask, as kernels. Deterministic."""

    def __init__(self, guide: Tensor, radius: int, eps: float) -> None:
        """Compute the statistics of the guide.

        Args:
            guide: float32 [B, 3, H, W], 0-255.
            radius: of the windows, pixels.
            eps: ridge, squared grey levels, > 0.
        """
        check_guide(guide, eps)
        self._images = [_GuidedImage.of(image.contiguous(), radius, eps) for image in guide]
        self._size = (len(guide), *guide.shape[-2:])

    def apply(self, x: Tensor) -> Tensor:
        """See `training.filters.LinearFilter.apply`; computed in float32."""
        check_fits(x, *self._size)
        return _apply(x, self._images)


class KernelLatticeFilter:
    """`training.filters.TorchLatticeFilter` without a mask, as kernels.

    Sums are atomic: the last bits differ from run to run.
    """

    def __init__(self, features: Tensor) -> None:
        """Build the lattice of every image.

        Args:
            features: float32 [B, D, H, W], in standard deviations, D from 2 to 5.

        Raises:
            ValueError: another number of features, or they reach too far for the lattice.
        """
        if not fits_a_key(features):
            raise ValueError(
                f"{features.shape[1]} features up to {_reach(features):.0f} standard deviations "
                "altogether do not fit into a key: raise the standard deviations or use "
                "TorchLatticeFilter"
            )
        self._images = [_LatticeImage.of(image.contiguous()) for image in features]
        self._size = (len(features), *features.shape[-2:])

    def apply(self, x: Tensor) -> Tensor:
        """See `training.filters.LinearFilter.apply`; computed in float32."""
        check_fits(x, *self._size)
        return _apply(x, self._images)


def fits_a_key(features: Tensor) -> bool:
    """Whether a lattice vertex of these features [B, D, H, W] has a key of its own."""
    d = features.shape[1]
    # A coordinate is at most 5 times the features' sum, and has 60 // d bits of the key.
    return 2 <= d <= 5 and 5 * _reach(features) <= 2 ** (60 // d - 1) - d


def _reach(features: Tensor) -> float:
    return float(features.abs().amax((0, 2, 3)).sum())


class _Image(Protocol):
    """The filter of one image."""

    def forward(self, x: Tensor) -> Tensor:
        """float32 [C, H, W] -> the same shape."""

    def adjoint(self, gradient: Tensor) -> Tensor:
        """Its transpose."""


class _Filtered(torch.autograd.Function):
    """``y = F x``, whose gradient is ``F^T g``, whose gradient is ``F h`` again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, image: _Image, transposed: bool) -> Tensor:
        ctx.image, ctx.transposed = image, transposed
        planes = x.detach().contiguous()
        return image.adjoint(planes) if transposed else image.forward(planes)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _Filtered.apply(gradient, ctx.image, not ctx.transposed), None, None


def _apply(x: Tensor, images: list[Any]) -> Tensor:
    pairs = zip(x.float(), images, strict=True)
    filtered = torch.stack([_Filtered.apply(one, image, False) for one, image in pairs])
    return filtered.to(x.dtype)


@dataclass(frozen=True)
class _GuidedImage:
    guide: Tensor
    stats: Tensor
    radius: int

    @staticmethod
    def of(guide: Tensor, radius: int, eps: float) -> _GuidedImage:
        _, height, width = guide.shape
        stats = guide.new_empty(10, height, width)
        source = kernel_sources(1)["guided_stats"]
        grid = (triton.cdiv(width, source.constants["COLUMNS"]), height, 1)
        launch_source(source, grid, guide, stats, height, width, radius, eps)
        return _GuidedImage(guide, stats, radius)

    def forward(self, x: Tensor) -> Tensor:
        sources, shape = kernel_sources(len(x)), tuple(x.shape)
        coefficients, nothing = x.new_empty(4, *shape), torch.zeros_like(x)
        filtered = torch.empty_like(x)
        block = sources["guided_solve"].constants
        grid = (
            triton.cdiv(shape[2], block["COLUMNS"]),
            triton.cdiv(shape[1], block["ROWS"]),
            triton.cdiv(shape[0], block["CLASSES"]),
        )
        common = (*shape, self.radius)
        launch_source(
            sources["guided_solve"], grid, -x, self.guide, self.stats, coefficients, *common
        )
        # The update subtracts the message.
        launch_source(
            sources["guided_update"],
            grid,
            coefficients,
            self.guide,
            self.stats,
            nothing,
            filtered,
            *common,
        )
        return filtered

    def adjoint(self, gradient: Tensor) -> Tensor:
        # F = n Q with Q symmetric, see training/kernels/guided.py.
        n = self.stats[0]
        return self.forward(gradient * n) / n


@dataclass(frozen=True)
class _LatticeImage:
    """Attributes as in training/kernels/lattice.py; capacity is the number of vertices."""

    corner: Tensor
    share: Tensor
    neighbour: Tensor
    count: Tensor
    inverse: Tensor

    @staticmethod
    def of(features: Tensor) -> _LatticeImage:
        d, height, width = features.shape
        corners, pixels = d + 1, height * width
        corner = features.new_empty(corners, pixels, dtype=torch.int32)
        share = features.new_empty(corners, pixels)
        slots = power_of_two(2 * corners * pixels)
        table = torch.full((slots,), -1, dtype=torch.int64, device=features.device)
        lanes = triton.next_power_of_2(corners)
        lattice.lattice_build_features[_blocks(pixels, 128)](
            features, table, corner, share, pixels, slots, D=d, WIDTH=lanes, PIXELS=128
        )
        vertex, key, count = _number(table, corners * pixels)
        neighbour = _neighbours(table, vertex, key, count, d)
        made = _LatticeImage(corner, share, neighbour, count, share.new_ones(pixels))
        return made._normalised(vertex)

    def _normalised(self, vertex: Tensor) -> _LatticeImage:
        corners, pixels = self.corner.shape
        ones = self.share.new_zeros(len(self.neighbour[0, 0]), 1)
        block = {"CORNERS": corners, "PIXELS": 256}
        grid = _blocks(pixels, 256)
        lattice.lattice_index[grid](self.corner, self.share, vertex, ones, pixels, **block)
        ones = self._blurred(ones, range(corners))
        lattice.lattice_inverse[grid](ones, self.corner, self.share, self.inverse, pixels, **block)
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self._filter(x, range(len(self.corner))) * self.inverse.view(x.shape[1:])

    def adjoint(self, gradient: Tensor) -> Tensor:
        scaled = gradient * self.inverse.view(gradient.shape[1:])
        return self._filter(scaled, range(len(self.corner))[::-1])

    def _filter(self, x: Tensor, axes: range) -> Tensor:
        """Splat, blur, slice, of [C, H, W]."""
        corners, pixels = self.corner.shape
        channels = len(x)
        values = x.new_zeros(self.neighbour.shape[2], channels)
        width = min(32, triton.next_power_of_2(channels))
        block = {"CORNERS": corners, "PIXELS": 32, "CHANNELS": width}
        grid = (*_blocks(pixels, 32), triton.cdiv(channels, width))
        lattice.lattice_splat[grid](x, self.corner, self.share, values, channels, pixels, **block)
        values, result = self._blurred(values, axes), torch.empty_like(x)
        lattice.lattice_slice[grid](
            values, self.corner, self.share, result, channels, pixels, **block
        )
        return result

    def _blurred(self, values: Tensor, axes: range) -> Tensor:
        capacity, channels = values.shape
        block = _lattice_source(channels).constants
        for axis in axes:
            blurred = torch.empty_like(values)
            lattice.lattice_blur[_blocks(capacity, block["VERTICES"])](
                values, blurred, self.neighbour, self.count, axis, capacity, channels, **block
            )
            values = blurred
        return values


def _lattice_source(channels: int) -> Source:
    return kernel_sources(channels)["lattice_blur"]


def _number(table: Tensor, capacity: int) -> tuple[Tensor, Tensor, Tensor]:
    """Vertex of each slot, key of each vertex, their count, for which it waits for the GPU."""
    slots = len(table)
    vertex = torch.empty(slots, dtype=torch.int32, device=table.device)
    key = table.new_empty(capacity)
    count = torch.zeros(1, dtype=torch.int32, device=table.device)
    lattice.lattice_number[_blocks(slots, 1024)](
        table, vertex, key, count, slots, capacity, SLOTS=1024
    )
    return vertex, key[: int(count)].clone(), count


def _neighbours(table: Tensor, vertex: Tensor, key: Tensor, count: Tensor, d: int) -> Tensor:
    """Of every vertex along every axis, int32 [d + 1, 2, vertices]; -1 = none."""
    capacity = len(key)
    neighbour = torch.empty(d + 1, 2, capacity, dtype=torch.int32, device=key.device)
    lattice.lattice_neighbours[_blocks(capacity, 128)](
        table, vertex, key, count, neighbour, len(table), capacity, D=d, VERTICES=128
    )
    return neighbour


def _blocks(size: int, block: int) -> tuple[int]:
    return (triton.cdiv(size, block),)
