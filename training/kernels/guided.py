"""The colour guided filter (He, Sun, Tang 2013) with count-normalised borders, in two box passes.

A block owns a strip of `COLUMNS` x `ROWS` pixels and marches down it: the box is a running sum of
row sums, so that a pixel costs 2 (2 r + 1) taps instead of (2 r + 1)^2. Nothing is summed in an
order that depends on the launch: the same input gives the same bits.

With n = 1 / (pixels in the window) the filter is ``F = n Q`` with Q symmetric (both passes divide
by the count once, and Q takes the first division only), so its adjoint is ``Q n``: the same two
kernels serve the backward pass.
"""

from __future__ import annotations

import triton
import triton.language as tl

MID_GREY = tl.constexpr(127.5)
"""Taken off the guide: covariances of numbers around zero lose fewer digits."""


@triton.jit
def _guide_pixel(guide, at, inside, pixels):
    red = tl.load(guide + at, mask=inside, other=0.0) - MID_GREY
    green = tl.load(guide + pixels + at, mask=inside, other=0.0) - MID_GREY
    blue = tl.load(guide + 2 * pixels + at, mask=inside, other=0.0) - MID_GREY
    return red, green, blue


@triton.jit
def guided_stats(
    guide,
    stats,
    height,
    width,
    radius,
    eps,
    COLUMNS: tl.constexpr,
):
    """Local mean and inverse covariance of the guide, one row of pixels a block.

    Arrays:
        guide: float32 [3, H, W], 0-255.
        stats: float32 [10, H, W]: 1 / count; mean - `MID_GREY` (3); inverse of covariance +
            eps (rr, rg, rb, gg, gb, bb).
    """
    x = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    y = tl.program_id(1)
    pixels = height * width
    here = y * width + x
    ok = x < width
    # Around the window's centre numbers are small, and their covariance keeps its digits.
    red_0, green_0, blue_0 = _guide_pixel(guide, here, ok, pixels)
    count = tl.zeros([COLUMNS], tl.float32)
    r, g, b = count, count, count
    rr, rg, rb, gg, gb, bb = count, count, count, count, count, count
    for row in range(tl.maximum(y - radius, 0), tl.minimum(y + radius + 1, height)):
        for shift in range(-radius, radius + 1):
            column = x + shift
            inside = (column >= 0) & (column < width)
            red, green, blue = _guide_pixel(guide, row * width + column, inside, pixels)
            one = inside.to(tl.float32)
            red, green, blue = (red - red_0) * one, (green - green_0) * one, (blue - blue_0) * one
            count += one
            r, g, b = r + red, g + green, b + blue
            rr, rg, rb = rr + red * red, rg + red * green, rb + red * blue
            gg, gb, bb = gg + green * green, gb + green * blue, bb + blue * blue
    n = 1.0 / tl.maximum(count, 1.0)
    r, g, b = r * n, g * n, b * n
    rr, rg, rb = rr * n - r * r + eps, rg * n - r * g, rb * n - r * b
    gg, gb, bb = gg * n - g * g + eps, gb * n - g * b, bb * n - b * b + eps
    # The inverse by L D L^T, which loses fewer digits than cofactors where colours lie in a plane.
    l_g, l_b = rg / rr, rb / rr
    d_g = gg - l_g * rg
    l_gb = (gb - l_b * rg) / d_g
    d_b = bb - l_b * rb - l_gb * l_gb * d_g
    m_b = l_g * l_gb - l_b
    out = stats + here
    tl.store(out, n, mask=ok)
    tl.store(out + pixels, r + red_0, mask=ok)
    tl.store(out + 2 * pixels, g + green_0, mask=ok)
    tl.store(out + 3 * pixels, b + blue_0, mask=ok)
    tl.store(out + 4 * pixels, 1.0 / rr + l_g * l_g / d_g + m_b * m_b / d_b, mask=ok)
    tl.store(out + 5 * pixels, -l_g / d_g - m_b * l_gb / d_b, mask=ok)
    tl.store(out + 6 * pixels, m_b / d_b, mask=ok)
    tl.store(out + 7 * pixels, 1.0 / d_g + l_gb * l_gb / d_b, mask=ok)
    tl.store(out + 8 * pixels, -l_gb / d_b, mask=ok)
    tl.store(out + 9 * pixels, 1.0 / d_b, mask=ok)


@triton.jit
def _stat(stats, index, at, ok, pixels):
    return tl.load(stats + index * pixels + at, mask=ok, other=0.0)[None, :]


@triton.jit
def _solve_taps(message, guide, c, x, y, classes, height, width, radius):
    """Sums over one row of the window: message, message x guide (3); each [c, x]."""
    pixels = height * width
    p = tl.zeros([c.shape[0], x.shape[0]], tl.float32)
    pr, pg, pb = p, p, p
    row = tl.zeros_like(x) + y
    for shift in range(-radius, radius + 1):
        column = x + shift
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        at = row * width + column
        red, green, blue = _guide_pixel(guide, at, inside, pixels)
        mask = inside[None, :] & (c < classes)[:, None]
        tap = tl.load(message + c[:, None] * pixels + at[None, :], mask=mask, other=0.0)
        tap = tap.to(tl.float32)
        p += tap
        pr += tap * red[None, :]
        pg += tap * green[None, :]
        pb += tap * blue[None, :]
    return p, pr, pg, pb


@triton.jit
def guided_solve(
    message,
    guide,
    stats,
    coefficients,
    classes,
    height,
    width,
    radius,
    COLUMNS: tl.constexpr,
    ROWS: tl.constexpr,
    CLASSES: tl.constexpr,
):
    """First box pass: the linear model of each window, message = a . guide + b.

    Arrays:
        message: storage dtype [C, H, W].
        guide: float32 [3, H, W].
        stats: of `guided_stats`.
        coefficients: storage dtype [4, C, H, W], written: a (3), b.
    """
    x = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    top = tl.program_id(1) * ROWS
    c = tl.program_id(2) * CLASSES + tl.arange(0, CLASSES)
    pixels = height * width
    p = tl.zeros([CLASSES, COLUMNS], tl.float32)
    pr, pg, pb = p, p, p
    for y in range(top - radius, top + radius):
        q, qr, qg, qb = _solve_taps(message, guide, c, x, y, classes, height, width, radius)
        p, pr, pg, pb = p + q, pr + qr, pg + qg, pb + qb
    for y in range(top, tl.minimum(top + ROWS, height)):
        q, qr, qg, qb = _solve_taps(
            message, guide, c, x, y + radius, classes, height, width, radius
        )
        p, pr, pg, pb = p + q, pr + qr, pg + qg, pb + qb

        at = y * width + x
        ok = x < width
        n = _stat(stats, 0, at, ok, pixels)
        r, g, b = (
            _stat(stats, 1, at, ok, pixels),
            _stat(stats, 2, at, ok, pixels),
            _stat(stats, 3, at, ok, pixels),
        )
        s_rr, s_rg, s_rb = (
            _stat(stats, 4, at, ok, pixels),
            _stat(stats, 5, at, ok, pixels),
            _stat(stats, 6, at, ok, pixels),
        )
        s_gg, s_gb, s_bb = (
            _stat(stats, 7, at, ok, pixels),
            _stat(stats, 8, at, ok, pixels),
            _stat(stats, 9, at, ok, pixels),
        )
        mean = p * n
        dr, dg, db = pr * n - r * mean, pg * n - g * mean, pb * n - b * mean
        ar = s_rr * dr + s_rg * dg + s_rb * db
        ag = s_rg * dr + s_gg * dg + s_gb * db
        ab = s_rb * dr + s_gb * dg + s_bb * db
        constant = mean - ar * r - ag * g - ab * b

        out = coefficients + c[:, None] * pixels + at[None, :]
        mask = ok[None, :] & (c < classes)[:, None]
        plane = classes * pixels
        tl.store(out, ar, mask=mask)
        tl.store(out + plane, ag, mask=mask)
        tl.store(out + 2 * plane, ab, mask=mask)
        tl.store(out + 3 * plane, constant, mask=mask)

        q, qr, qg, qb = _solve_taps(
            message, guide, c, x, y - radius, classes, height, width, radius
        )
        p, pr, pg, pb = p - q, pr - qr, pg - qg, pb - qb


@triton.jit
def _update_taps(coefficients, c, x, y, classes, height, width, radius):
    """Sums over one row of the window: the four coefficients; each [c, x]."""
    pixels = height * width
    plane = classes * pixels
    r = tl.zeros([c.shape[0], x.shape[0]], tl.float32)
    g, b, constant = r, r, r
    row = tl.zeros_like(x) + y
    for shift in range(-radius, radius + 1):
        column = x + shift
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        mask = inside[None, :] & (c < classes)[:, None]
        tap = coefficients + c[:, None] * pixels + (row * width + column)[None, :]
        r += tl.load(tap, mask=mask, other=0.0).to(tl.float32)
        g += tl.load(tap + plane, mask=mask, other=0.0).to(tl.float32)
        b += tl.load(tap + 2 * plane, mask=mask, other=0.0).to(tl.float32)
        constant += tl.load(tap + 3 * plane, mask=mask, other=0.0).to(tl.float32)
    return r, g, b, constant


@triton.jit
def guided_update(
    coefficients,
    guide,
    stats,
    unary,
    scores,
    classes,
    height,
    width,
    radius,
    COLUMNS: tl.constexpr,
    ROWS: tl.constexpr,
    CLASSES: tl.constexpr,
):
    """Second box pass and the mean-field update: unary - (mean a . guide + mean b).

    Arrays:
        coefficients: of `guided_solve`.
        guide: float32 [3, H, W].
        stats: of `guided_stats`.
        unary: float32 [C, H, W].
        scores: float32 [C, H, W], written.
    """
    x = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    top = tl.program_id(1) * ROWS
    c = tl.program_id(2) * CLASSES + tl.arange(0, CLASSES)
    pixels = height * width
    r = tl.zeros([CLASSES, COLUMNS], tl.float32)
    g, b, constant = r, r, r
    for y in range(top - radius, top + radius):
        dr, dg, db, dc = _update_taps(coefficients, c, x, y, classes, height, width, radius)
        r, g, b, constant = r + dr, g + dg, b + db, constant + dc
    for y in range(top, tl.minimum(top + ROWS, height)):
        dr, dg, db, dc = _update_taps(
            coefficients, c, x, y + radius, classes, height, width, radius
        )
        r, g, b, constant = r + dr, g + dg, b + db, constant + dc

        at = y * width + x
        ok = x < width
        n = _stat(stats, 0, at, ok, pixels)
        red, green, blue = _guide_pixel(guide, at, ok, pixels)
        filtered = n * (r * red[None, :] + g * green[None, :] + b * blue[None, :] + constant)
        here = c[:, None] * pixels + at[None, :]
        mask = ok[None, :] & (c < classes)[:, None]
        before = tl.load(unary + here, mask=mask, other=0.0)
        tl.store(scores + here, before - filtered, mask=mask)

        dr, dg, db, dc = _update_taps(
            coefficients, c, x, y - radius, classes, height, width, radius
        )
        r, g, b, constant = r - dr, g - dg, b - db, constant - dc
