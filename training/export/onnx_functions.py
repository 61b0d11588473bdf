"""Our custom operators as ONNX functions: bodies of standard operators, which any runtime has.

A bundle's graph holds one node for each such refiner (domain ``seg_perception``). ONNX Runtime
inlines the body; TensorRT puts our plugin of the same name in its place. A body is written for the
attributes and the size of its node: it belongs to one model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx

from training.export.onnx_body import Body, Value, concatenate
from training.export.onnx_lattice import OnnxLattice
from training.filters.guided import MID_GREY
from training.filters.ridge import Ridge


def guided_crf(attributes: Mapping[str, Any], shape: tuple[int, int, int]) -> onnx.FunctionProto:
    """``GuidedCrf(scores [1, C, h, w], guide [1, 3, h, w], weights [C, C])``.

    See `training.refiners.guided_crf`.
    """
    b = Body()
    names = ("scores", "guide", "weights")
    unary, guide, weights = (Value(b, name) for name in names)
    radius = int(attributes["radius"])
    carrier = _GuidedFilter(guide - MID_GREY, radius, float(attributes["eps"]))
    scores = unary
    for _ in range(int(attributes["iterations"])):
        message = (weights @ _softmax(scores).reshape(0, 0, -1)).like(unary)
        scores = unary - carrier.apply(message)
    return b.function("GuidedCrf", names, tuple(attributes), scores)


class _GuidedFilter:
    """See `training.filters.guided.TorchGuidedFilter`; guide float [1, 3, h, w], centred."""

    def __init__(self, guide: Value, radius: int, eps: float) -> None:
        self.radius = radius
        self.guide = [guide.part(i, i + 1, axis=1) for i in range(3)]
        self.mean = [_box(channel, radius) for channel in self.guide]
        self.ridge = Ridge([self._covariance(i, j) for i in range(3) for j in range(i, 3)], eps)

    def apply(self, maps: Value) -> Value:
        """Filter maps [1, C, h, w]."""
        centre = _box(maps, self.radius)
        covariance = [
            _box(maps * channel, self.radius) - centre * mean
            for channel, mean in zip(self.guide, self.mean, strict=True)
        ]
        slopes = self.ridge.solve(*covariance)
        offset = centre - _dot(slopes, self.mean)
        carried = _dot([_box(slope, self.radius) for slope in slopes], self.guide)
        return carried + _box(offset, self.radius)

    def _covariance(self, i: int, j: int) -> Value:
        return _box(self.guide[i] * self.guide[j], self.radius) - self.mean[i] * self.mean[j]


def mean_field(attributes: Mapping[str, Any], shape: tuple[int, int, int]) -> onnx.FunctionProto:
    """``MeanField(scores, image, spatial_weight, bilateral_weight, compatibility)``.

    Shapes [1, C, H, W], [1, 3, H, W] and [C, C]; see `training.refiners.mean_field`. Pixels are
    rows in here, [N, C]: what is gathered and scattered is then contiguous.
    """
    b = Body()
    names = ("scores", "image", "spatial_weight", "bilateral_weight", "compatibility")
    scores, image, *matrices = (Value(b, name) for name in names)
    classes, height, width = shape
    place, pixels = _positions(b, (height, width)), height * width
    looks = [place / float(attributes["sxy"]), _pixels(image) / float(attributes["srgb"])]
    spatial = OnnxLattice(place / float(attributes["sxy_spatial"]), pixels, 2, classes)
    bilateral = OnnxLattice(concatenate(*looks, axis=1), pixels, 5, classes)
    spatial_weight, bilateral_weight, compatibility = (m.transpose(1, 0) for m in matrices)
    unary = state = _pixels(scores)
    for _ in range(int(attributes["iterations"])):
        probs = b.op("Softmax", state, axis=1)
        messages = spatial.apply(probs) @ spatial_weight + bilateral.apply(probs) @ bilateral_weight
        state = unary - messages @ compatibility
    return b.function("MeanField", names, tuple(attributes), state.transpose(1, 0).like(scores))


FUNCTIONS: Mapping[str, Callable[[Mapping[str, Any], tuple[int, int, int]], onnx.FunctionProto]] = {
    "GuidedCrf": guided_crf,
    "MeanField": mean_field,
}
"""By the operator's name: a body for a node's attributes and the (C, h, w) of its scores."""


def _softmax(scores: Value) -> Value:
    """Over the classes (axis 1), spelt out: ONNX Runtime transposes for a softmax there."""
    odds = scores.body.op("Exp", scores - scores.reduce("Max", 1))
    return odds / odds.reduce("Sum", 1)


def _dot(left: Sequence[Value], right: Sequence[Value]) -> Value:
    first, *rest = (a * b for a, b in zip(left, right, strict=True))
    for product in rest:
        first = first + product
    return first


def _box(maps: Value, radius: int) -> Value:
    """Mean over the window of (2 radius + 1)^2 pixels, of those that exist.

    At once: rows and then columns take ONNX Runtime a third longer, up to radius 7 at least.
    """
    kernel, pads = [2 * radius + 1] * 2, [radius] * 4
    return maps.body.op("AveragePool", maps, kernel_shape=kernel, pads=pads, count_include_pad=0)


def _pixels(maps: Value) -> Value:
    """Maps [1, D, H, W] as rows [H W, D]."""
    flat = maps.reshape(0, 0, -1)
    return maps.body.op("Squeeze", flat, [0]).transpose(1, 0)


def _positions(body: Body, size: tuple[int, int]) -> Value:
    """Column and row of every pixel, float [H W, 2]; counted, not stored."""
    height, width = size
    rows, columns = (body.op("Range", 0, end, 1) for end in size)
    grid = [
        body.op("Expand", columns.reshape(1, -1), [height, width]),
        body.op("Expand", rows.reshape(-1, 1), [height, width]),
    ]
    return concatenate(*(axis.reshape(-1, 1) for axis in grid), axis=1).floats()
