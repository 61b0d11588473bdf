"""The permutohedral lattice of `training.filters.lattice` in ONNX operators.

A pixel lies in a simplex of D + 1 vertices and shares its value among them (splat); the vertices
are blurred along D + 1 axes; the pixel collects from its vertices again (slice).
"""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import onnx
from numpy.typing import NDArray

from training.export.onnx_body import Value, concatenate, filled

BLOCK = 8


class OnnxLattice:
    """A filter ``x -> K x / K 1`` over N pixels.

    Pixels of one simplex are gathered into blocks of `BLOCK`, empty places having weight 0: splat
    and slice are then products of small matrices, and fewer rows remain to be scattered.
    ``ScatterND`` with `reduction="add"` would scatter them faster, but loses sums where two threads
    meet (ONNX Runtime 1.31, seen with 4 threads); ``ScatterElements`` does not.

    Args:
        features: float [N, D], in standard deviations.
        pixels: N.
        dimensions: D.
        classes: C, the columns of what is filtered.
    """

    def __init__(self, features: Value, pixels: int, dimensions: int, classes: int) -> None:
        self.body, self.axes, self.pixels = features.body, dimensions + 1, pixels
        self.classes = classes
        self._indices: dict[int, Value] = {}
        elevated = self.body.value(elevation(dimensions)) @ features.transpose(1, 0)
        quotient, rank = self._simplices(elevated)
        weight = self._weights(elevated / float(self.axes) - quotient, rank)
        quotient, rank = quotient.integers(), rank.integers()
        self.low, self.units = self._packing(quotient)
        simplex, first = self._fill_blocks(self._simplex_keys(quotient, rank), weight)
        self._link(quotient.take(first, axis=1), rank.take(first, axis=1), simplex)
        ones = filled(self.body, [pixels, 1], 1.0)
        self.after = self.body.op("Reciprocal", self._filter(ones, 1))

    def apply(self, rows: Value) -> Value:
        """Filter rows [N, C]."""
        return self._filter(rows, self.classes) * self.after

    def _simplices(self, elevated: Value) -> tuple[Value, Value]:
        """Quotients and ranks of all pixels, whole floats [D + 1, N]."""
        quotient = self.body.op("Round", elevated / float(self.axes))
        rest = elevated - quotient * float(self.axes)
        rows = [rest.part(i, i + 1) for i in range(self.axes)]
        above: list[list[Value]] = [[] for _ in rows]
        for i, j in combinations(range(self.axes), 2):
            behind = (rows[j] > rows[i]).floats()
            above[i].append(behind)
            above[j].append(behind * -1.0 + 1.0)
        rank = concatenate(*(self.body.op("Sum", *ranks) for ranks in above))
        rank = rank + quotient.reduce("Sum", 0)
        last = float(self.axes) - 0.5
        wrap = (self.body.value(-0.5) > rank).floats() - (rank > last).floats()
        return quotient + wrap, rank + wrap * float(self.axes)

    def _weights(self, offset: Value, rank: Value) -> Value:
        """Barycentric coordinates float [N, D + 1]."""
        ordered = self.body.op("ScatterElements", offset, rank.integers(), offset, axis=0)
        after = ordered.take(np.arange(self.axes)[::-1])
        before = ordered.take(np.roll(np.arange(self.axes), -1)[::-1])
        first = np.eye(self.axes, 1, dtype=np.float32)
        return (after - before + first).transpose(1, 0)

    def _packing(self, quotient: Value) -> tuple[Value, list[Value]]:
        """Below what no quotient lies [D, 1], and what a step in each adds to a packed key."""
        first = quotient.part(0, self.axes - 1)
        low = first.reduce("Min", 1) - 2
        spans = first.reduce("Max", 1) - low + 2
        units = [self.body.value([[1]])]
        for i in range(self.axes - 2):
            units.append(units[-1] * spans.part(i, i + 1))
        return low, units

    def _keys(self, quotient: Value) -> Value:
        """Packed quotients [D + 1, M] -> int64 [1, M]."""
        away = quotient.part(0, self.axes - 1) - self.low
        return (away * concatenate(*self.units)).reduce("Sum", 0)

    def _simplex_keys(self, quotient: Value, rank: Value) -> Value:
        """A number for each pixel's simplex, int64 [N]."""
        digits = self.axes ** np.arange(self.axes)[:, None]
        order = (rank * digits).reduce("Sum", 0)
        return (self._keys(quotient) * self.axes**self.axes + order).reshape(-1)

    def _fill_blocks(self, keys: Value, weight: Value) -> tuple[Value, Value]:
        """Lay pixels out in blocks of one simplex; the simplex of each block, and a pixel of each.

        Returns:
            int64 [blocks], and int64 [simplexes].
        """
        b = self.body
        keys, order = b.ops("TopK", 2, keys, [self.pixels], largest=0, axis=0)
        same = b.op("Equal", keys.part(1, self.pixels), keys.part(0, self.pixels - 1))
        begins = concatenate(b.value([1]), b.op("Not", same).integers())
        group = begins.cumsum() - 1
        pixel = b.op("Range", 0, self.pixels, 1)
        start = b.op("Compress", pixel, b.op("Cast", begins, to=onnx.TensorProto.BOOL))
        size = concatenate(start.part(1, self.pixels), b.value([self.pixels])) - start
        blocks = (size + (BLOCK - 1)) / BLOCK
        until = blocks.cumsum()
        ahead = ((until - blocks) * BLOCK - start).take(group)
        slot = ahead + pixel
        slots = until.part(-1, 2**31) * BLOCK
        laid = filled(b, [slots, self.axes], 0.0).scatter(slot, weight.take(order))
        self.slice_weight = laid.reshape(-1, BLOCK, self.axes)
        self.splat_weight = self._transposed(laid).reshape(-1, self.axes, BLOCK)
        self.slot_pixel = filled(b, [slots], 0).scatter(slot, order).reshape(-1, BLOCK)
        self.pixel_slot = filled(b, [self.pixels], 0).scatter(order, slot)
        simplex = filled(b, [until.part(-1, 2**31)], 0).scatter(until - blocks, begins.take(start))
        return simplex.cumsum() - 1, order.take(start)

    def _transposed(self, slots: Value) -> Value:
        """Slots [blocks BLOCK, D + 1] as blocks of [D + 1, BLOCK].

        By gathering: ONNX Runtime's Transpose takes 25 times as long for blocks this small, and
        before a product it is fused to something slow.
        """
        swapped = np.arange(BLOCK * self.axes).reshape(BLOCK, self.axes).T
        return slots.reshape(-1, swapped.size).take(swapped.ravel(), axis=1)

    def _link(self, quotient: Value, rank: Value, simplex: Value) -> None:
        """Number the vertices of simplexes [D + 1, S], and find their neighbours."""
        b = self.body
        remainder = np.arange(self.axes)
        keys = []
        for r in remainder:
            corner = quotient - (rank > self.axes - 1 - r).integers()
            keys.append(self._keys(corner) * self.axes + r)
        packed = concatenate(*keys).transpose(1, 0)
        vertices, _, vertex, _ = b.ops("Unique", 4, packed.reshape(-1), sorted=1)
        vertex = b.op("Cast", vertex, to=onnx.TensorProto.INT32)  # half the traffic of the default
        self.block_vertex = vertex.reshape(-1, self.axes).take(simplex)
        self.links = self._neighbours(vertices)
        self.n_vertices = vertices.length()

    def _neighbours(self, vertices: Value) -> list[tuple[Value, Value]]:
        """Along each axis, the two neighbours of sorted keys [V]: int64 [V], V = none."""
        count = vertices.length()
        rest = vertices % self.axes
        steps = [unit.reshape(-1) * self.axes - 1 for unit in self.units] + [self.body.value([-1])]
        carry = sum(self.units[1:], self.units[0]).reshape(-1) * -self.axes + self.axes
        wrapped = self.body.op("Where", self.body.op("Equal", rest, 0), carry, 0)
        links = []
        for step in steps:
            lower = self._find(vertices + step + wrapped, vertices)
            nobody = self.body.op("Expand", count, count + 1)
            own = self.body.op("Range", 0, self.body.op("Squeeze", count), 1)
            upper = nobody.scatter(lower, own).part(0, -1)
            links.append((lower, upper))
        return links

    def _find(self, keys: Value, vertices: Value) -> Value:
        """Where keys [V] stand in the sorted vertices [V], by bisection; V where they do not."""
        b = self.body
        rounds = math.ceil(math.log2(self.axes * self.pixels + 1))
        beyond = filled(b, [1 << rounds], np.iinfo(np.int64).max)
        table = concatenate(vertices, beyond)
        place = keys * 0
        for step in (1 << i for i in reversed(range(rounds))):
            ahead = place + step
            reached = b.op("LessOrEqual", table.take(ahead), keys)
            place = b.op("Where", reached, ahead, place)
        found = b.op("Equal", table.take(place), keys)
        return b.op("Where", found, place, vertices.length())

    def _filter(self, rows: Value, columns: int) -> Value:
        """Splat, blur and slice: [N, columns] -> the same shape."""
        b = self.body
        shares = (self.splat_weight @ rows.take(self.slot_pixel)).reshape(-1, columns)
        index = self._index(columns)
        values = filled(b, [self.n_vertices, columns], 0.0)
        values = b.op("ScatterElements", values, index, shares, axis=0, reduction="add")
        nothing = filled(b, [1, columns], 0.0)
        for lower, upper in self.links:
            padded = concatenate(values, nothing)
            values = values + (padded.take(lower) + padded.take(upper)) * 0.5
        slots = self.slice_weight @ values.take(self.block_vertex)
        return slots.reshape(-1, columns).take(self.pixel_slot)

    def _index(self, columns: int) -> Value:
        """Where each number of the shares is added, int64 [blocks (D + 1), columns]."""
        if columns not in self._indices:
            flat = self.block_vertex.reshape(-1, 1)
            shape = concatenate(flat.length(), self.body.value([columns]))
            self._indices[columns] = self.body.op("Expand", flat, shape)
        return self._indices[columns]


def elevation(dimensions: int) -> NDArray[np.float32]:
    """The matrix [D + 1, D] onto the lattice's hyperplane, scaled for unit variance."""
    row, column = np.mgrid[: dimensions + 1, :dimensions]
    basis = np.where(row <= column, 1.0, np.where(row == column + 1, -row, 0.0))
    axis = np.arange(1, dimensions + 1)
    spread = math.sqrt(2 / 3) * (dimensions + 1) / np.sqrt(axis * (axis + 1))
    return (basis * spread).astype(np.float32)
