"""The same filters in numpy, for machines without a compiler: slower, equal within rounding."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import FilterError
from seg_perception.filters.native import TOO_FAR

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]

KEY_LIMIT = 2**62


class PortableBox:
    """`BoxFilter` in numpy."""

    def __init__(self, height: int, width: int, radius: int, valid: NDArray[np.bool_] | None):
        self._radius = radius
        self._before = _mask_as_numbers(valid, height, width)
        self._after = self._before / np.maximum(window_sum(self._before, radius), 1.0)

    def apply(self, x: Floats, transposed: bool) -> Floats:
        """Filter planes [..., H, W]."""
        before, after = self._before, self._after
        if transposed:
            before, after = after, before
        return window_sum(x * before, self._radius) * after


class PortableGuided:
    """`GuidedFilter` in numpy."""

    def __init__(self, box: PortableBox, guide: Floats, eps: float):
        """Compute the windows' statistics.

        Args:
            box: the windows.
            guide: [3, H, W], centred on grey.
            eps: ridge on the covariance.
        """
        self._box, self._guide = box, guide.astype(np.float64)
        self._mean = box.apply(self._guide, transposed=False)
        products = box.apply(self._guide[:, None] * self._guide, transposed=False)
        covariance = products - self._mean[:, None] * self._mean + eps * np.eye(3)[..., None, None]
        self._inverse = np.linalg.inv(covariance.transpose(2, 3, 0, 1)).transpose(2, 3, 0, 1)

    def apply(self, x: Floats, transposed: bool) -> Floats:
        """Filter planes [C, H, W]. The adjoint is the same with that of the box."""
        mean_x = self._box.apply(x, transposed)
        mean_ix = self._box.apply(self._guide[:, None] * x, transposed)
        covariance = mean_ix - self._mean[:, None] * mean_x
        a = np.einsum("ijhw,jchw->ichw", self._inverse, covariance)
        b = mean_x - np.einsum("ihw,ichw->chw", self._mean, a)
        a, b = self._box.apply(a, transposed), self._box.apply(b, transposed)
        return np.asarray(np.einsum("ihw,ichw->chw", self._guide, a) + b)


class PortableLattice:
    """`PermutohedralLattice` in numpy; training/filters/lattice.py has the derivation."""

    def __init__(self, features: Floats, valid: NDArray[np.bool_] | None, symmetric: bool):
        """Build it.

        Args:
            features: [D, H, W], in standard deviations.
            valid: bool [H, W] or None.
            symmetric: divide by the root of the norm on both sides.
        """
        size = features.shape[1:]
        self._inside = np.flatnonzero(_mask_as_numbers(valid, *size))
        self._links = _build(features.reshape(len(features), -1).T[self._inside])
        norm = self._links.filter(np.ones((len(self._inside), 1)), reverse=False)
        self._before = 1.0 / np.sqrt(norm) if symmetric else np.ones_like(norm)
        self._after = 1.0 / np.sqrt(norm) if symmetric else 1.0 / norm

    @property
    def n_vertices(self) -> int:
        """M."""
        return int(self._links.lower.shape[1])

    def apply(self, x: Floats, transposed: bool) -> Floats:
        """Filter planes [C, H, W]."""
        before, after = self._before, self._after
        if transposed:
            before, after = after, before
        y = np.zeros((len(x), math.prod(x.shape[1:])))
        rows = x.reshape(len(x), -1)[:, self._inside].T
        y[:, self._inside] = (self._links.filter(rows * before, transposed) * after).T
        return y.reshape(x.shape)


def window_sum(x: Floats, radius: int) -> Floats:
    """Sum over the square window around every pixel of [..., H, W], clipped at the borders."""
    return _line_sum(_line_sum(x, -1, radius), -2, radius)


def _line_sum(x: Floats, axis: int, radius: int) -> Floats:
    length = x.shape[axis]
    zero = np.zeros_like(x.take([0], axis), np.float64)
    sums = np.concatenate([zero, x.cumsum(axis, np.float64)], axis)
    centre = np.arange(length)
    upper, lower = np.minimum(centre + radius + 1, length), np.maximum(centre - radius, 0)
    return np.asarray(sums.take(upper, axis) - sums.take(lower, axis))


def _mask_as_numbers(valid: NDArray[np.bool_] | None, height: int, width: int) -> Floats:
    return np.ones((height, width)) if valid is None else valid.astype(np.float64)


@dataclass(frozen=True, eq=False)
class _Links:
    """Points [N] and vertices [M]: see `_Lattice` of training/filters/lattice.py."""

    vertex: Ints
    weight: Floats
    lower: Ints
    upper: Ints

    def filter(self, rows: Floats, reverse: bool) -> Floats:
        """Splat, blur and slice: [N, C] -> [N, C]."""
        count = self.lower.shape[1]
        values = np.stack([self._splat(column, count) for column in rows.T], axis=1)
        order = slice(None, None, -1 if reverse else 1)
        for lower, upper in zip(self.lower[order], self.upper[order], strict=True):
            padded = np.concatenate([values, np.zeros((1, values.shape[1]))])
            values = values + 0.5 * (padded[lower] + padded[upper])
        corners = range(self.vertex.shape[1])
        return np.asarray(sum(self.weight[:, k, None] * values[self.vertex[:, k]] for k in corners))

    def _splat(self, column: Floats, count: int) -> Floats:
        shares = (self.weight * column[:, None]).ravel()
        return np.asarray(np.bincount(self.vertex.ravel(), shares, minlength=count), np.float64)


def _build(points: Floats) -> _Links:
    """The lattice of points [N, D]; N may be 0."""
    quotient, rank, weight = _simplices(points.astype(np.float64))
    if not len(points):
        return _Links(quotient, weight, quotient.T, quotient.T)
    n_axes = quotient.shape[1]
    remainder = np.arange(n_axes)
    corner = quotient[:, None, :-1] - (rank[:, None, :-1] > n_axes - 1 - remainder[:, None])
    lowest = corner.min(axis=(0, 1))
    spans = [int(span) for span in corner.max(axis=(0, 1)) - lowest + 3]
    if math.prod(spans) * n_axes > KEY_LIMIT:
        raise FilterError(TOO_FAR)
    units = n_axes * np.array([*(math.prod(spans[:i]) for i in range(len(spans))), 0])
    keys = ((corner - lowest + 1) * units[:-1]).sum(axis=2) + remainder
    vertices, vertex = np.unique(keys, return_inverse=True)
    step, carry = units[:, None] - 1, n_axes - units.sum()
    modulo = vertices % n_axes
    lower = vertices + step + np.where(modulo == 0, carry, 0)
    upper = vertices - step - np.where(modulo == n_axes - 1, carry, 0)
    return _Links(
        vertex.reshape(keys.shape), weight, _find(lower, vertices), _find(upper, vertices)
    )


def _simplices(points: Floats) -> tuple[Ints, Ints, Floats]:
    """Quotients and ranks int64 [N, D + 1] and barycentric coordinates [N, D + 1] of points."""
    n_axes = points.shape[1] + 1
    elevated = points @ _elevation(points.shape[1]).T
    nearest = np.rint(elevated / n_axes)
    if np.abs(nearest).max(initial=0.0) > KEY_LIMIT:
        raise FilterError(TOO_FAR)
    order = np.argsort(n_axes * nearest - elevated, axis=1, kind="stable")
    rank = order.argsort(axis=1) + nearest.sum(axis=1, keepdims=True).astype(np.int64)
    wrap = (rank < 0).astype(np.int64) - (rank >= n_axes)
    rank, quotient = rank + n_axes * wrap, nearest.astype(np.int64) + wrap
    offset = np.take_along_axis(elevated / n_axes - quotient, rank.argsort(axis=1), axis=1)
    weight = np.roll((np.roll(offset, 1, axis=1) - offset)[:, ::-1], 1, axis=1)
    weight[:, 0] += 1.0
    return quotient, rank, weight


def _elevation(n_features: int) -> Floats:
    """The matrix [D + 1, D] onto the lattice's hyperplane, scaled for unit variance."""
    n = n_features
    rows = np.triu(np.ones((n + 1, n))) - np.diag(np.arange(1.0, n + 1), -1)[:, :n]
    i = np.arange(n)
    return np.asarray(rows * math.sqrt(2 / 3) * (n + 1) / np.sqrt((i + 1.0) * (i + 2)))


def _find(keys: Ints, vertices: Ints) -> Ints:
    """Where `keys` stand in the sorted `vertices` [M]; M where they do not."""
    place = np.searchsorted(vertices, keys)
    found = vertices[np.minimum(place, len(vertices) - 1)] == keys
    return np.where(found, place, len(vertices))
