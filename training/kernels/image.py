"""The two ends of a frame: uint8 pixels to normalised planes, scores to uint8 maps."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def image_moments(image, moments, pixels, PIXELS: tl.constexpr):
    """Sums and sums of squares of an image's channels; exact, so in any order the same.

    Arrays:
        image: uint8 [H, W, 3].
        moments: int64 [6], zero before: sums (3), sums of squares (3).
    """
    p = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    for channel in tl.static_range(3):
        value = tl.load(image + 3 * p + channel, mask=p < pixels, other=0).to(tl.int32)
        tl.atomic_add(moments + channel, tl.sum(value, 0).to(tl.int64))
        tl.atomic_add(moments + 3 + channel, tl.sum(value * value, 0).to(tl.int64))


@triton.jit
def normalise_image(image, moments, normalised, pixels, PIXELS: tl.constexpr):
    """Zero mean a channel and unit contrast, as `training.networks.unet.normalise_image`.

    Arrays:
        image: uint8 [H, W, 3].
        moments: of `image_moments`.
        normalised: float32 [3, H, W], written.
    """
    p = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    # The variance is a difference of large integers: exact in int64, lossy in float32.
    scatter = tl.zeros([1], tl.int64)
    for channel in tl.static_range(3):
        total = tl.load(moments + channel)
        scatter += tl.load(moments + 3 + channel) * pixels - total * total
    n = pixels * 1.0
    variance = scatter.to(tl.float32) / (3.0 * n * n)
    contrast = 1.0 / tl.sqrt(variance + 1.0)
    for channel in tl.static_range(3):
        mean = tl.load(moments + channel).to(tl.float32) / n
        value = tl.load(image + 3 * p + channel, mask=p < pixels, other=0).to(tl.float32)
        tl.store(normalised + channel * pixels + p, (value - mean) * contrast, mask=p < pixels)


@triton.jit
def _corner(index, size, fine_size):
    """Lower neighbour, upper neighbour and its share, with half-pixel centres."""
    at = (index.to(tl.float32) + 0.5) * (size * 1.0 / fine_size) - 0.5
    at = tl.maximum(at, 0.0)
    low = tl.minimum(at.to(tl.int32), size - 1)
    return low, tl.minimum(low + 1, size - 1), at - low.to(tl.float32)


@triton.jit
def _bilinear(plane, above, below, left, right, down, across, width):
    top = tl.load(plane + above * width + left) * (1.0 - across)
    top += tl.load(plane + above * width + right) * across
    bottom = tl.load(plane + below * width + left) * (1.0 - across)
    bottom += tl.load(plane + below * width + right) * across
    return top * (1.0 - down) + bottom * down


@triton.jit
def _as_byte(fraction):
    return tl.minimum(tl.maximum(fraction * 255.0 + 0.5, 0.0), 255.0).to(tl.uint8)


@triton.jit
def upsample_argmax(
    scores,
    labels,
    confidence,
    entropy,
    classes,
    height,
    width,
    fine_height,
    fine_width,
    PIXELS: tl.constexpr,
):
    """Scores at the image's size, and what is told of them: see `training.export.graph.describe`.

    Two walks over the classes (the highest score, then the sums below it) instead of a map of
    scores at full size; the second finds its taps in the cache.

    Arrays:
        scores: float32 [C, h, w].
        labels, confidence, entropy: uint8 [H, W], written.
    """
    p = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    ok = p < fine_height * fine_width
    p = tl.where(ok, p, 0)
    above, below, down = _corner(p // fine_width, height, fine_height)
    left, right, across = _corner(p % fine_width, width, fine_width)
    highest = tl.full([PIXELS], float("-inf"), tl.float32)
    best = tl.zeros([PIXELS], tl.int32)
    for c in range(classes):
        s = _bilinear(scores + c * height * width, above, below, left, right, down, across, width)
        best = tl.where(s > highest, c, best)
        highest = tl.maximum(highest, s)
    total = tl.zeros([PIXELS], tl.float32)
    weighted = tl.zeros([PIXELS], tl.float32)
    for c in range(classes):
        s = _bilinear(scores + c * height * width, above, below, left, right, down, across, width)
        odds = tl.exp(s - highest)
        total += odds
        weighted += (s - highest) * odds
    surprise = tl.log(total) - weighted / total
    # One class: 0 / 0, and there is no surprise.
    most = tl.maximum(tl.log(classes * 1.0), 1e-6)
    tl.store(labels + p, best.to(tl.uint8), mask=ok)
    tl.store(confidence + p, _as_byte(1.0 / total), mask=ok)
    tl.store(entropy + p, _as_byte(surprise / most), mask=ok)
