"""One mean-field iteration in one pass over the pixels: slice, message, softmax, splat."""

from __future__ import annotations

import triton
import triton.language as tl

from training.kernels.lattice import splat


@triton.jit
def _received(
    values, corner, share, inverse, weights, p, classes, pixels,
    CORNERS: tl.constexpr, WIDTH: tl.constexpr, CLASSES: tl.constexpr,
):  # fmt: skip
    """What one lattice says to the pixels p: weights @ (K q / K 1), float32 [to, p]."""
    k = tl.arange(0, WIDTH)[:, None]
    mask = (k < CORNERS) & (p < pixels)[None, :]
    v = tl.load(corner + k * pixels + p[None, :], mask=mask, other=-1)
    amount = tl.load(share + k * pixels + p[None, :], mask=mask, other=0.0)
    scale = tl.load(inverse + p, mask=p < pixels, other=0.0)
    to = tl.arange(0, CLASSES)
    total = tl.zeros([CLASSES, p.shape[0]], tl.float32)
    for c in range(classes):
        held = tl.load(values + v * classes + c, mask=v >= 0, other=0.0)
        q = tl.sum(amount * held, 0) * scale
        w = tl.load(weights + to * classes + c, mask=to < classes, other=0.0)
        total += w[:, None] * q[None, :]
    return total


@triton.jit
def _unary(scores, p, to, classes, pixels):
    """Scores [to, p]; -inf for classes that are not there, 0 for such pixels."""
    known = (to < classes)[:, None]
    mask = known & (p < pixels)[None, :]
    s = tl.load(scores + to[:, None] * pixels + p[None, :], mask=mask, other=0.0)
    return tl.where(known, s, float("-inf"))


@triton.jit
def _softmax(s):
    """[to, p] -> [p, to]: a vertex holds its classes side by side."""
    odds = tl.exp(s - tl.max(s, 0)[None, :])
    return tl.trans(odds / tl.sum(odds, 0)[None, :])


@triton.jit
def mean_field_splat(
    scores,
    corner_s, share_s, values_s,
    corner_b, share_b, values_b,
    classes, pixels,
    CLASSES: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    """Splat softmax(scores) into the spatial and the bilateral lattice.

    Arrays:
        scores: float32 [C, N].
        values_s, values_b: float32 [capacity, C], zero before.
    """
    p = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    to = tl.arange(0, CLASSES)
    q = _softmax(_unary(scores, p, to, classes, pixels))
    splat(q, values_s, corner_s, share_s, p, to, classes, pixels, 3)
    splat(q, values_b, corner_b, share_b, p, to, classes, pixels, 6)


@triton.jit
def _updated(
    unary,
    corner_s, share_s, inverse_s, values_s, weights_s,
    corner_b, share_b, inverse_b, values_b, weights_b,
    p, classes, pixels,
    CLASSES: tl.constexpr,
):  # fmt: skip
    """Scores [to, p] after one iteration."""
    s = _unary(unary, p, tl.arange(0, CLASSES), classes, pixels)
    s -= _received(
        values_s, corner_s, share_s, inverse_s, weights_s, p, classes, pixels, 3, 4, CLASSES
    )
    s -= _received(
        values_b, corner_b, share_b, inverse_b, weights_b, p, classes, pixels, 6, 8, CLASSES
    )
    return s


@triton.jit
def mean_field_update(
    unary,
    corner_s, share_s, inverse_s, values_s, weights_s, next_s,
    corner_b, share_b, inverse_b, values_b, weights_b, next_b,
    classes, pixels,
    CLASSES: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    """Scores are unary - sum of weights @ (K q / K 1); their softmax is splat into next.

    Arrays:
        unary: float32 [C, N].
        values_s, values_b: blurred, float32 [capacity, C].
        weights_s, weights_b: compatibility @ kernel weight, float32 [C, C].
        next_s, next_b: float32 [capacity, C], zero before.
    """
    p = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    s = _updated(
        unary,
        corner_s, share_s, inverse_s, values_s, weights_s,
        corner_b, share_b, inverse_b, values_b, weights_b,
        p, classes, pixels, CLASSES,
    )  # fmt: skip
    q = _softmax(s)
    to = tl.arange(0, CLASSES)
    splat(q, next_s, corner_s, share_s, p, to, classes, pixels, 3)
    splat(q, next_b, corner_b, share_b, p, to, classes, pixels, 6)


@triton.jit
def mean_field_scores(
    unary,
    corner_s, share_s, inverse_s, values_s, weights_s,
    corner_b, share_b, inverse_b, values_b, weights_b,
    scores,
    classes, pixels,
    CLASSES: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    """The last iteration: as `mean_field_update`, but the scores, float32 [C, N], are written."""
    p = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    to = tl.arange(0, CLASSES)
    s = _updated(
        unary,
        corner_s, share_s, inverse_s, values_s, weights_s,
        corner_b, share_b, inverse_b, values_b, weights_b,
        p, classes, pixels, CLASSES,
    )  # fmt: skip
    mask = (to < classes)[:, None] & (p < pixels)[None, :]
    tl.store(scores + to[:, None] * pixels + p[None, :], s, mask=mask)
