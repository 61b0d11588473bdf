"""The permutohedral lattice (Adams, Baek, Davis 2010): build by hashing, splat, blur, slice.

A pixel's features lie in a simplex of d + 1 lattice points, its *corners*, with *shares* that add
up to 1. Corners are kept in a hash table of packed integer keys (open addressing, linear probing,
compare-and-swap), whose occupied slots are then numbered: *vertices* 0 .. count - 1. One lattice
serves a frame: every iteration, and the backward pass with the axes of the blur reversed.

What depends on the order of atomic operations: the numbers of the vertices, and the last bits of
what is splat (float32 atomics). Which vertices there are does not, unless the table overflows:
corners that find no place are left out, of the normalisation too.
"""

from __future__ import annotations

import triton
import triton.language as tl

EMPTY = tl.constexpr(-1)
NO_KEY = tl.constexpr(-2)
"""Never in the table: a compare-and-swap with it changes nothing."""

PROBES = tl.constexpr(64)
"""Slots tried for a key before it is given up; the table is at most half full otherwise."""

HASH = tl.constexpr(0x2545F4914F6CDD1D)
"""Odd, so that multiplication by it permutes the integers (Vigna 2016)."""


@triton.jit
def _home(key, slots):
    """First slot to look for a key in; slots is a power of two."""
    mixed = (key ^ (key >> 29)) * HASH
    return ((mixed >> 32) & (slots - 1)).to(tl.int32)


@triton.jit
def _insert(table, key, wanted, slots):
    """Slot of each key, taken if it was free; -1 where none was found or wanted."""
    slot = _home(key, slots)
    pending = wanted
    tries = 0
    while (tl.max(pending.to(tl.int32), 0) > 0) & (tries < PROBES):
        found = tl.load(table + slot, mask=pending, other=0, volatile=True)
        free = pending & (found == EMPTY)
        # compare-and-swap takes no mask; few blocks meet a free slot once the table has filled.
        if tl.max(free.to(tl.int32), 0) > 0:
            expected = tl.where(free, EMPTY, NO_KEY).to(tl.int64)
            swapped = tl.atomic_cas(table + slot, expected, key)
            found = tl.where(free, tl.where(swapped == EMPTY, key, swapped), found)
        pending = pending & (found != key)
        slot = tl.where(pending, (slot + 1) & (slots - 1), slot)
        tries += 1
    return tl.where(wanted & (pending == 0), slot, -1)


@triton.jit
def _find(table, key, wanted, slots):
    """Slot of each key, -1 where it is not in the table."""
    slot = _home(key, slots)
    pending = wanted
    hit = wanted & (wanted == 0)
    tries = 0
    while (tl.max(pending.to(tl.int32), 0) > 0) & (tries < PROBES):
        found = tl.load(table + slot, mask=pending, other=0)
        hit = hit | (pending & (found == key))
        pending = pending & (found != key) & (found != EMPTY)
        slot = tl.where(pending, (slot + 1) & (slots - 1), slot)
        tries += 1
    return tl.where(hit, slot, -1)


@triton.jit
def _store_corners(
    scaled, p, ok, table, corner, share, pixels, slots, D: tl.constexpr, WIDTH: tl.constexpr
):
    """Embed scaled features [p, WIDTH] (feature j in column j + 1), insert and store the corners.

    Follows Adams et al., section 3; all columns beyond d + 1 are zero.
    """
    BITS: tl.constexpr = 60 // D
    axis = tl.arange(0, WIDTH)[None, :]
    elevated = tl.sum(scaled, 1)[:, None] - tl.cumsum(scaled, 1) - axis * scaled
    elevated = tl.where(axis <= D, elevated, 0.0)
    down = tl.floor(elevated / (D + 1)) * (D + 1)
    nearest = tl.where(down + (D + 1) - elevated < elevated - down, down + (D + 1), down)
    nearest = nearest.to(tl.int32)
    rest = elevated - nearest
    surplus = tl.sum(nearest, 1)[:, None] // (D + 1)

    compared = tl.where(axis <= D, rest, -1e30)
    this, other = compared[:, :, None], compared[:, None, :]
    i, j = tl.arange(0, WIDTH)[None, :, None], tl.arange(0, WIDTH)[None, None, :]
    before = (other > this) | ((other == this) & (j < i))
    rank = tl.sum(before.to(tl.int32), 2) + surplus
    wrap = tl.where(rank < 0, D + 1, tl.where(rank > D, -(D + 1), 0))
    wrap = tl.where(axis <= D, wrap, 0)
    rank, nearest = rank + wrap, nearest + wrap

    part = tl.where(axis <= D, (elevated - nearest) / (D + 1), 0.0)
    lift = tl.full([1, WIDTH], 1, tl.int64) << (axis * BITS)
    lift = tl.where(axis < D, lift, 0)
    for k in range(D + 1):
        behind = rank == tl.where(k == 0, 0, D + 1 - k)
        ahead = tl.where(rank == D - k, part, 0.0) - tl.where(behind, part, 0.0)
        amount = tl.sum(ahead, 1) + tl.where(k == 0, 1.0, 0.0)
        coordinate = nearest + tl.where(rank <= D - k, k, k - (D + 1))
        key = tl.sum((coordinate + (1 << (BITS - 1))).to(tl.int64) * lift, 1)
        slot = _insert(table, key, ok, slots)
        tl.store(corner + k * pixels + p, slot, mask=ok)
        tl.store(share + k * pixels + p, amount, mask=ok)


@triton.jit
def _column_scale(axis, D: tl.constexpr):
    """What makes the blur of every axis a Gaussian of standard deviation 1 in feature space."""
    spread = tl.sqrt(2.0 / 3.0) * (D + 1)
    return spread / tl.sqrt(tl.maximum(axis * (axis + 1), 1) * 1.0)


@triton.jit
def lattice_build_bilateral(
    image,
    table,
    corner,
    share,
    height,
    width,
    slots,
    per_pixel,
    per_level,
    PIXELS: tl.constexpr,
):
    """Corners of every pixel by position and colour, d = 5.

    Arrays:
        image: float32 [3, H, W], 0-255.
        table: int64 [slots], `EMPTY` before.
        corner, share: int32, float32 [6, N], written; corner is a slot.
        per_pixel, per_level: 1 / standard deviation, in pixels and in levels of 255.
    """
    p = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    pixels = height * width
    ok = p < pixels
    axis = tl.arange(0, 8)[None, :]
    colored = (axis >= 3) & (axis <= 5)
    at = image + (axis - 3) * pixels + p[:, None]
    feature = tl.load(at, mask=ok[:, None] & colored, other=0.0) * per_level
    feature += tl.where(axis == 1, (p % width)[:, None] * per_pixel, 0.0)
    feature += tl.where(axis == 2, (p // width)[:, None] * per_pixel, 0.0)
    scaled = feature * _column_scale(axis, 5)
    _store_corners(scaled, p, ok, table, corner, share, pixels, slots, 5, 8)


@triton.jit
def lattice_build_spatial(
    table, corner, share, height, width, slots, per_pixel, PIXELS: tl.constexpr
):
    """Corners of every pixel by position, d = 2: as `lattice_build_bilateral`, 3 of them."""
    p = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    pixels = height * width
    axis = tl.arange(0, 4)[None, :]
    feature = tl.where(axis == 1, (p % width)[:, None] * per_pixel, 0.0)
    feature += tl.where(axis == 2, (p // width)[:, None] * per_pixel, 0.0)
    scaled = feature * _column_scale(axis, 2)
    _store_corners(scaled, p, p < pixels, table, corner, share, pixels, slots, 2, 4)


@triton.jit
def lattice_build_features(
    features,
    table,
    corner,
    share,
    pixels,
    slots,
    D: tl.constexpr,
    WIDTH: tl.constexpr,
    PIXELS: tl.constexpr,
):
    """As `lattice_build_bilateral`, of any features float32 [D, N] in standard deviations."""
    p = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    ok = p < pixels
    axis = tl.arange(0, WIDTH)[None, :]
    mask = ok[:, None] & (axis >= 1) & (axis <= D)
    feature = tl.load(features + (axis - 1) * pixels + p[:, None], mask=mask, other=0.0)
    scaled = feature * _column_scale(axis, D)
    _store_corners(scaled, p, ok, table, corner, share, pixels, slots, D, WIDTH)


@triton.jit
def lattice_number(table, vertex, key, count, slots, capacity, SLOTS: tl.constexpr):
    """Number the occupied slots.

    Arrays:
        table: int64 [slots].
        vertex: int32 [slots], written: number of the vertex, -1 for an empty slot.
        key: int64 [capacity], written: key of each vertex.
        count: int32 [1], zero before; it may come to exceed capacity.
    """
    slot = tl.program_id(0) * SLOTS + tl.arange(0, SLOTS)
    found = tl.load(table + slot, mask=slot < slots, other=EMPTY)
    taken = found != EMPTY
    number = tl.cumsum(taken.to(tl.int32), 0)
    number += tl.atomic_add(count, tl.sum(taken.to(tl.int32), 0)) - 1
    taken = taken & (number < capacity)
    tl.store(vertex + slot, tl.where(taken, number, -1), mask=slot < slots)
    tl.store(key + number, found, mask=taken)


@triton.jit
def lattice_neighbours(
    table, vertex, key, count, neighbour, slots, capacity, D: tl.constexpr, VERTICES: tl.constexpr
):
    """The two neighbours of every vertex along every axis.

    Arrays:
        neighbour: int32 [d + 1, 2, capacity], written; -1 where there is none.
    """
    BITS: tl.constexpr = 60 // D
    ones = tl.full([1], 0, tl.int64)
    for i in tl.static_range(D):
        ones += 1 << (BITS * i)
    vertices = tl.minimum(tl.load(count), capacity)
    for first in range(tl.program_id(0) * VERTICES, vertices, tl.num_programs(0) * VERTICES):
        v = first + tl.arange(0, VERTICES)
        ok = v < vertices
        here = tl.load(key + v, mask=ok, other=0)
        for axis in range(D + 1):
            # One coordinate goes the other way; the last one is in no key.
            bent = tl.where(axis < D, tl.full([1], D + 1, tl.int64) << (BITS * axis), 0)
            for side in range(2):
                there = here + (ones - bent) * (2 * side - 1)
                slot = _find(table, there, ok, slots)
                number = tl.load(vertex + slot, mask=slot >= 0, other=-1)
                tl.store(neighbour + (2 * axis + side) * capacity + v, number, mask=ok)


@triton.jit
def lattice_index(corner, share, vertex, ones, pixels, CORNERS: tl.constexpr, PIXELS: tl.constexpr):
    """Corners from slots to vertices (in place), and their shares splat into `ones`.

    Arrays:
        corner, share: of the build, [d + 1, N].
        vertex: of `lattice_number`.
        ones: float32 [capacity], zero before.
    """
    p = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    for k in range(CORNERS):
        at = k * pixels + p
        slot = tl.load(corner + at, mask=p < pixels, other=-1)
        v = tl.load(vertex + slot, mask=slot >= 0, other=-1)
        tl.store(corner + at, v, mask=p < pixels)
        amount = tl.load(share + at, mask=p < pixels, other=0.0)
        tl.atomic_add(ones + v, amount, mask=v >= 0, sem="relaxed")


@triton.jit
def lattice_blur(
    values,
    blurred,
    neighbour,
    count,
    axis,
    capacity,
    channels,
    VERTICES: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """(1/2, 1, 1/2) along one axis.

    Arrays:
        values, blurred: float32 [capacity, channels], channels <= CHANNELS.
        neighbour: of `lattice_neighbours`.
    """
    vertices = tl.minimum(tl.load(count), capacity)
    c = tl.arange(0, CHANNELS)[None, :]
    for first in range(tl.program_id(0) * VERTICES, vertices, tl.num_programs(0) * VERTICES):
        v = first + tl.arange(0, VERTICES)
        ok = v < vertices
        before = tl.load(neighbour + 2 * axis * capacity + v, mask=ok, other=-1)[:, None]
        after = tl.load(neighbour + (2 * axis + 1) * capacity + v, mask=ok, other=-1)[:, None]
        mask = ok[:, None] & (c < channels)
        here = v[:, None] * channels + c
        sides = tl.load(values + before * channels + c, mask=mask & (before >= 0), other=0.0)
        sides += tl.load(values + after * channels + c, mask=mask & (after >= 0), other=0.0)
        middle = tl.load(values + here, mask=mask, other=0.0)
        tl.store(blurred + here, middle + 0.5 * sides, mask=mask)


@triton.jit
def lattice_clear(values, count, capacity, channels, BLOCK: tl.constexpr):
    """Zero the values of the vertices that there are."""
    end = tl.minimum(tl.load(count), capacity) * channels
    for first in range(tl.program_id(0) * BLOCK, end, tl.num_programs(0) * BLOCK):
        at = first + tl.arange(0, BLOCK)
        tl.store(values + at, tl.zeros([BLOCK], tl.float32), mask=at < end)


@triton.jit
def lattice_inverse(
    ones, corner, share, inverse, pixels, CORNERS: tl.constexpr, PIXELS: tl.constexpr
):
    """1 / (K 1) of every pixel: what makes the filter an average.

    Arrays:
        ones: blurred, float32 [capacity].
        corner, share: of `lattice_index`.
        inverse: float32 [N], written; 0 for a pixel without any corner.
    """
    p = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    total = tl.zeros([PIXELS], tl.float32)
    for k in range(CORNERS):
        v = tl.load(corner + k * pixels + p, mask=p < pixels, other=-1)
        amount = tl.load(share + k * pixels + p, mask=p < pixels, other=0.0)
        total += amount * tl.load(ones + v, mask=v >= 0, other=0.0)
    tl.store(
        inverse + p,
        tl.where(total > 0, 1.0 / tl.where(total > 0, total, 1.0), 0.0),
        mask=p < pixels,
    )


@triton.jit
def sliced(values, corner, share, p, c, channels, pixels, CORNERS: tl.constexpr):
    """Values of the channels c at the pixels p, float32 [p, c], not normalised."""
    total = tl.zeros([p.shape[0], c.shape[0]], tl.float32)
    for k in range(CORNERS):
        v = tl.load(corner + k * pixels + p, mask=p < pixels, other=-1)[:, None]
        amount = tl.load(share + k * pixels + p, mask=p < pixels, other=0.0)[:, None]
        mask = (v >= 0) & (c < channels)[None, :]
        total += amount * tl.load(values + v * channels + c[None, :], mask=mask, other=0.0)
    return total


@triton.jit
def splat(q, values, corner, share, p, c, channels, pixels, CORNERS: tl.constexpr):
    """Add q, float32 [p, c], to the values of the pixels' corners."""
    for k in range(CORNERS):
        v = tl.load(corner + k * pixels + p, mask=p < pixels, other=-1)[:, None]
        amount = tl.load(share + k * pixels + p, mask=p < pixels, other=0.0)[:, None]
        mask = (v >= 0) & (c < channels)[None, :]
        tl.atomic_add(values + v * channels + c[None, :], amount * q, mask=mask, sem="relaxed")


@triton.jit
def lattice_splat(
    x,
    corner,
    share,
    values,
    channels,
    pixels,
    CORNERS: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Splat maps float32 [channels, N] into values float32 [capacity, channels], zero before."""
    p = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    mask = (c < channels)[:, None] & (p < pixels)[None, :]
    q = tl.trans(tl.load(x + c[:, None] * pixels + p[None, :], mask=mask, other=0.0))
    splat(q, values, corner, share, p, c, channels, pixels, CORNERS)


@triton.jit
def lattice_slice(
    values,
    corner,
    share,
    x,
    channels,
    pixels,
    CORNERS: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Slice values float32 [capacity, channels] into maps float32 [channels, N], written."""
    p = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    total = sliced(values, corner, share, p, c, channels, pixels, CORNERS)
    mask = (c < channels)[:, None] & (p < pixels)[None, :]
    tl.store(x + c[:, None] * pixels + p[None, :], tl.trans(total), mask=mask)
