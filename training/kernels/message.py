"""What a class tells the others: softmax of the scores, then a [C, C] matrix."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def softmax_message(
    scores,
    weights,
    message,
    classes,
    pixels,
    CLASSES: tl.constexpr,
    PIXELS: tl.constexpr,
):
    """Message M softmax(s) of every pixel.

    The guided filter is the same for every class, so it commutes with M: applied before it, M
    costs one pass over the pixels and leaves the filter's passes independent of each other.

    The product is a sum of outer products, class by class, that a thread keeps in registers:
    `tl.dot` in float32 took 255 registers and spilled (cuobjdump, sm_87 and sm_90, 19 classes).

    Arrays:
        scores: float32 [C, N].
        weights: float32 [C, C], row = to, column = from.
        message: storage dtype [C, N], written.
    """
    p = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    ok = p < pixels
    to = tl.arange(0, CLASSES)
    highest = tl.full([PIXELS], float("-inf"), tl.float32)
    for c in range(classes):
        highest = tl.maximum(highest, tl.load(scores + c * pixels + p, mask=ok, other=0.0))
    total = tl.zeros([PIXELS], tl.float32)
    sent = tl.zeros([CLASSES, PIXELS], tl.float32)
    for c in range(classes):
        odds = tl.exp(tl.load(scores + c * pixels + p, mask=ok, other=0.0) - highest)
        total += odds
        w = tl.load(weights + to * classes + c, mask=to < classes, other=0.0)
        sent += w[:, None] * odds[None, :]
    mask = (to < classes)[:, None] & ok[None, :]
    tl.store(message + to[:, None] * pixels + p[None, :], sent / total[None, :], mask=mask)


@triton.jit
def message_matrix(left, right, product, classes, ROWS: tl.constexpr, CLASSES: tl.constexpr):
    """Product of two float32 [C, C] matrices, `ROWS` rows a block."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, CLASSES)
    total = tl.zeros([ROWS, CLASSES], tl.float32)
    for c in range(classes):
        a = tl.load(left + row * classes + c, mask=row < classes, other=0.0)
        b = tl.load(right + c * classes + column, mask=column < classes, other=0.0)
        total += a[:, None] * b[None, :]
    at = row[:, None] * classes + column[None, :]
    tl.store(product + at, total, mask=(row < classes)[:, None] & (column < classes)[None, :])
