"""Gaussian filtering in feature space by the permutohedral lattice (Adams, Baek and Davis 2010).

Pixels are points in a space of D features (position, colour), measured in standard deviations.
Every point lies in one simplex of the lattice and shares its values between the D + 1 vertices
(*splat*), vertices exchange values along the D + 1 axes (*blur*), points read them back (*slice*).

Each vertex has D + 1 coordinates that sum to zero and leave the same remainder r modulo D + 1; it
is held as the quotients of the first D of them and r, packed into one integer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from training.filters.protocol import check_fits, mask_like

KEY_LIMIT = 2**62


class TorchLatticeFilter:
    """``y = (K v x) / (K v)`` with the lattice's approximate Gaussian ``K``, in plain torch.

    Differentiable in `x` only: features count as constants, as in paper 002.
    """

    def __init__(self, features: Tensor, valid: Tensor | None = None):
        """Build the lattice of every image of the batch.

        Args:
            features: float [B, D, H, W], in standard deviations of the Gaussian.
            valid: bool [B, 1, H, W], False on padding; None = all valid.

        Raises:
            ValueError: the features reach too far for the lattice.
        """
        self._size = (len(features), *features.shape[-2:])
        mask = mask_like(features, valid).flatten(1) > 0
        points = features.detach().flatten(2).transpose(1, 2)
        self._inside = mask.flatten().nonzero().squeeze(1)
        self._lattice = _join([_build(points[i, mask[i]]) for i in range(len(mask))])
        self._norm = self._lattice.filter(points.new_ones(len(self._inside), 1))

    def apply(self, x: Tensor) -> Tensor:
        """See `LinearFilter.apply`."""
        check_fits(x, *self._size)
        rows = x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
        filtered = self._lattice.filter(rows[self._inside]) / self._norm
        everywhere = torch.zeros_like(rows).index_copy(0, self._inside, filtered)
        return everywhere.unflatten(0, self._size).permute(0, 3, 1, 2)


def spatial_features(like: Tensor, sxy: float) -> Tensor:
    """Pixel positions in units of `sxy` pixels: [B, 2, H, W] for `like` [B, *, H, W]."""
    height, width = like.shape[-2:]
    y = torch.arange(height, dtype=like.dtype, device=like.device) / sxy
    x = torch.arange(width, dtype=like.dtype, device=like.device) / sxy
    return torch.stack(torch.meshgrid(x, y, indexing="xy")).expand(len(like), -1, -1, -1)


def bilateral_features(image: Tensor, sxy: float, srgb: float) -> Tensor:
    """Positions in units of `sxy` pixels and colours in units of `srgb` levels.

    Args:
        image: float [B, 3, H, W], 0-255.
        sxy: standard deviation over the image plane, pixels.
        srgb: standard deviation over each colour, levels of 0-255.

    Returns:
        float [B, 5, H, W].
    """
    return torch.cat([spatial_features(image, sxy), image / srgb], 1)


@dataclass(frozen=True)
class _Lattice:
    """Points [N] and vertices [M] with their links.

    Attributes:
        vertex: int64 [N, D + 1], the vertices of each point's simplex.
        weight: float [N, D + 1], barycentric coordinates in it.
        lower: int64 [D + 1, M], each vertex's neighbour along each axis; M where there is none.
        upper: int64 [D + 1, M], the neighbour on the other side.
    """

    vertex: Tensor
    weight: Tensor
    lower: Tensor
    upper: Tensor

    def filter(self, rows: Tensor) -> Tensor:
        """Splat, blur and slice: [N, C] -> [N, C]."""
        shares = self.weight.unsqueeze(2) * rows.unsqueeze(1)
        values = rows.new_zeros(self.lower.shape[1], rows.shape[1])
        values = values.index_add(0, self.vertex.flatten(), shares.flatten(0, 1))
        nothing = values.new_zeros(1, rows.shape[1])
        for lower, upper in zip(self.lower, self.upper, strict=True):
            padded = torch.cat([values, nothing])
            values = values + 0.5 * (padded[lower] + padded[upper])
        return (self.weight.unsqueeze(2) * values[self.vertex]).sum(1)


def _join(lattices: list[_Lattice]) -> _Lattice:
    """One lattice of all points: the vertices of the images stand side by side, unconnected."""
    counts = [lattice.lower.shape[1] for lattice in lattices]
    total, shifts = sum(counts), [sum(counts[:i]) for i in range(len(counts))]

    def moved(links: Tensor, shift: int, count: int) -> Tensor:
        return torch.where(links == count, total, links + shift)

    parts = list(zip(lattices, shifts, counts, strict=True))
    return _Lattice(
        torch.cat([one.vertex + shift for one, shift, _ in parts]),
        torch.cat([one.weight for one in lattices]),
        torch.cat([moved(one.lower, shift, count) for one, shift, count in parts], 1),
        torch.cat([moved(one.upper, shift, count) for one, shift, count in parts], 1),
    )


def _build(points: Tensor) -> _Lattice:
    """The lattice of points [N, D]; N may be 0."""
    quotient, rank, weight = _simplices(points)
    if not len(points):
        none = quotient.T
        return _Lattice(quotient, weight, none, none)
    n_axes = quotient.shape[1]
    remainder = torch.arange(n_axes, device=points.device)
    corner = quotient[:, None, :-1] - (rank[:, None, :-1] > n_axes - 1 - remainder[:, None]).long()
    units = _units(corner)
    keys = ((corner - corner.amin((0, 1)) + 1) * units[:-1]).sum(2) * n_axes + remainder
    vertices, vertex = keys.unique(return_inverse=True)
    lower, upper = _neighbours(vertices, units * n_axes)
    return _Lattice(vertex, weight, lower, upper)


def _simplices(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where points lie (page 5 to 10 of the paper).

    Args:
        points: float [N, D].

    Returns:
        The quotients int64 [N, D + 1] of the vertex of remainder 0, the rank int64 [N, D + 1] of
        each coordinate's distance from it, and the barycentric coordinates float [N, D + 1].
    """
    n_axes = points.shape[1] + 1
    elevated = points @ _elevation(points).T
    quotient = (elevated / n_axes).round()
    order = (elevated - n_axes * quotient).argsort(dim=1, descending=True, stable=True)
    rank = order.argsort(1) + quotient.sum(1, keepdim=True).long()
    wrap = (rank < 0).long() - (rank >= n_axes).long()
    rank, quotient = rank + n_axes * wrap, quotient + wrap
    offset = (elevated / n_axes - quotient).gather(1, rank.argsort(1))
    weight = (offset.roll(1, 1) - offset).flip(1).roll(1, 1)
    first = torch.arange(n_axes, device=points.device) == 0
    return quotient.long(), rank, weight + first.to(weight)


def _elevation(points: Tensor) -> Tensor:
    """The matrix [D + 1, D] onto the hyperplane of the lattice, scaled for unit variance."""
    n = points.shape[1]
    rows = [
        [1.0 if row <= column else -row if row == column + 1 else 0.0 for column in range(n)]
        for row in range(n + 1)
    ]
    spread = [math.sqrt(2 / 3) * (n + 1) / math.sqrt((i + 1) * (i + 2)) for i in range(n)]
    return points.new_tensor(rows) * points.new_tensor(spread)


def _units(corner: Tensor) -> Tensor:
    """What one step along each coordinate adds to a packed key, [D + 1]; the last is implied."""
    spans = (corner.amax((0, 1)) - corner.amin((0, 1)) + 3).tolist()
    if math.prod(spans) * (len(spans) + 1) > KEY_LIMIT:
        raise ValueError(
            f"the features reach over {spans} lattice cells, more than fit into one key: "
            "raise the standard deviations that they are divided by"
        )
    units = [math.prod(spans[:i]) for i in range(len(spans))]
    return corner.new_tensor([*units, 0])


def _neighbours(vertices: Tensor, units: Tensor) -> tuple[Tensor, Tensor]:
    """The two neighbours of sorted packed keys [M] along each axis: int64 [D + 1, M], M = none."""
    n_axes, step = len(units), units[:, None] - 1
    carry = n_axes - units.sum()
    remainder = vertices % n_axes
    lower = vertices + step + torch.where(remainder == 0, carry, 0)
    upper = vertices - step - torch.where(remainder == n_axes - 1, carry, 0)
    return _find(lower, vertices), _find(upper, vertices)


def _find(keys: Tensor, vertices: Tensor) -> Tensor:
    """Where `keys` stand in the sorted `vertices` [M]; M where they do not."""
    place = torch.searchsorted(vertices, keys)
    found = vertices[place.clamp(max=len(vertices) - 1)] == keys
    return torch.where(found, place, len(vertices))
