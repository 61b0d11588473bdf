"""Eight-bit convolutions by explicit Q/DQ pairs, calibrated on frames.

The file says which tensors are rounded to eight bits and with which scale (ONNX `QuantizeLinear`
and `DequantizeLinear` around a convolution). TensorRT, strongly typed, makes eight-bit convolutions
of that; ONNX Runtime computes the same rounding. Weights are symmetric with a scale for each output
channel, activations symmetric with one scale a tensor, as TensorRT wants both.

Only convolutions inside the unary network are rounded. Its first (three channels of raw image) and
its last (the scores themselves), those on a map of one pixel, the refiners and the solve for the
code stay as they are: they take little of the time, and their errors would go straight into the
answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx.utils
import onnxruntime
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from training.errors import TrainingError

OPSET = 19
"""First with float8, and with scales of float16, which `seg_perception.runtime.onnx_tensorrt`
makes of those here."""

UNARY = "/unary/"
"""How the names begin that the tracer gives to the unary network's nodes."""

SAMPLED = 8192
"""Values that are looked at of each tensor in each frame."""

CUTS = np.linspace(0.1, 1.0, 46)
"""Tried as the largest magnitude that is kept, as fractions of the largest there is."""


@dataclass(frozen=True)
class Format:
    """Eight-bit numbers.

    Attributes:
        type: of ONNX.
        largest: magnitude.
        uniform: whether they are evenly spaced, so that cutting off rare large values makes all
            others finer. Floating point is as fine for small values in any case.
    """

    type: int
    largest: float
    uniform: bool

    def scale(self, magnitude: NDArray[np.float32]) -> NDArray[np.float32]:
        """With which `magnitude` becomes the largest number: one that float16 holds exactly."""
        wanted = np.where(magnitude > 0, magnitude, 1.0) / self.largest
        # A scale is stored in float32 and, where an engine computes in float16, there too.
        return np.maximum(wanted.astype(np.float16), np.float16(2**-24)).astype(np.float32)


FORMATS = {
    "int8": Format(TensorProto.INT8, 127.0, uniform=True),
    "fp8": Format(TensorProto.FLOAT8E4M3FN, 448.0, uniform=False),
}
"""By the name of the precision; fp8 is E4M3 (Micikevicius et al. 2022, FP8 Formats for Deep
Learning)."""


def quantise(
    model: onnx.ModelProto, precision: str, images: Iterable[NDArray[np.uint8]]
) -> onnx.ModelProto:
    """Round the convolutions of the unary network to eight bits.

    Args:
        model: as `training.export.onnx_file.to_onnx` writes it, with float32 weights.
        precision: a key of `FORMATS`.
        images: to calibrate on, each [H, W, 3] of the graph's size.

    Raises:
        KeyError: no such precision.
        TrainingError: there are no images, or no convolutions that could be rounded.
    """
    form = FORMATS[precision]
    convolutions = _inner_convolutions(model.graph)
    maps = _sampled(model, sorted({node.input[0] for node in convolutions}), images)
    scales = {name: form.scale(_magnitude(values, form)) for name, values in maps.items()}
    rounded = [node for node in convolutions if node.input[0] in scales]
    if not rounded:
        raise TrainingError("the unary network has no convolution between its first and its last")
    quantised = _with_pairs(model, {node.output[0] for node in rounded}, scales, form)
    onnx.checker.check_model(quantised, full_check=True)
    return quantised


def _inner_convolutions(graph: onnx.GraphProto) -> list[NodeProto]:
    """Convolutions of the unary network that have another before them and one behind them."""
    # A map's size, of which another may be made, carries nothing of its values.
    nodes = [n for n in graph.node if n.name.startswith(UNARY) and n.op_type != "Shape"]
    behind, before = set[str](), set[str]()
    for node in nodes:
        if _is_convolution(node) or not behind.isdisjoint(node.input):
            behind.update(node.output)
    for node in reversed(nodes):
        if _is_convolution(node) or not before.isdisjoint(node.output):
            before.update(node.input)
    return [
        node
        for node in nodes
        if _is_convolution(node) and node.input[0] in behind and node.output[0] in before
    ]


def _is_convolution(node: NodeProto) -> bool:
    return bool(node.op_type == "Conv")


def _sampled(
    model: onnx.ModelProto, names: Sequence[str], images: Iterable[NDArray[np.uint8]]
) -> dict[str, NDArray[np.float32]]:
    """Magnitudes of a tensor on all images, evenly spread over it; none of maps of one pixel."""
    known = onnx.shape_inference.infer_shapes(model)
    looked_at = onnx.utils.Extractor(known).extract_model(["image"], list(names))
    session = onnxruntime.InferenceSession(looked_at.SerializeToString())
    found: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    for image in images:
        maps = session.run(list(names), {"image": image[None]})
        for name, values in zip(names, maps, strict=True):
            if values[0, 0].size > 1:
                magnitudes = np.abs(values).ravel()
                found[name].append(magnitudes[:: max(1, magnitudes.size // SAMPLED)])
    if not any(found.values()):
        raise TrainingError("there is nothing to calibrate on: give at least one frame")
    return {name: np.concatenate(values) for name, values in found.items() if values}


def _magnitude(values: NDArray[np.float32], form: Format) -> NDArray[np.float32]:
    """The largest magnitude worth keeping: that with the least squared error of rounding."""
    largest = values.max()
    if not form.uniform:
        return np.asarray(largest)
    steps = largest * CUTS / form.largest
    errors = [
        np.mean((np.minimum(np.rint(values / step), form.largest) * step - values) ** 2)
        for step in np.maximum(steps, np.finfo(np.float32).tiny)
    ]
    return np.asarray(largest * CUTS[int(np.argmin(errors))], np.float32)


def _with_pairs(
    model: onnx.ModelProto,
    outputs: Set[str],
    scales: Mapping[str, NDArray[np.float32]],
    form: Format,
) -> onnx.ModelProto:
    """The model with rounded inputs and weights of the convolutions that give `outputs`."""
    quantised = onnx.ModelProto()
    quantised.CopyFrom(model)
    for entry in quantised.opset_import:
        entry.version = OPSET if not entry.domain else entry.version
    graph = quantised.graph
    weights = {weight.name: weight for weight in graph.initializer}
    nodes, made = list(graph.node), set[str]()
    del graph.node[:]
    for node in nodes:
        if not outputs.isdisjoint(node.output):
            for i, name in enumerate(node.input[:2]):
                if name not in made:
                    made.add(name)
                    pair = _Pair(graph, name, form)
                    if name in weights:
                        pair.round_weight(numpy_helper.to_array(weights[name]))
                        graph.initializer.remove(weights[name])
                    else:
                        pair.round_activation(scales[name])
                node.input[i] = rounded(name)
        graph.node.append(node)
    return quantised


def rounded(name: str) -> str:
    """Name of a tensor after rounding to eight bits and back."""
    return f"{name}.rounded"


@dataclass(frozen=True)
class _Pair:
    """Writes what rounds a tensor to the end of a graph; scales and zeros stand beside it."""

    graph: onnx.GraphProto
    name: str
    form: Format

    def round_activation(self, scale: NDArray[np.float32]) -> None:
        inputs = [f"{self.name}.eight_bits", *self._grid(scale)]
        self._node("QuantizeLinear", [self.name, *inputs[1:]], inputs[0])
        self._node("DequantizeLinear", inputs, rounded(self.name))

    def round_weight(self, weight: NDArray[np.float32]) -> None:
        """Store it in eight bits, float32 [O, ...] with a scale for each of the O."""
        scale = self.form.scale(np.abs(weight).reshape(len(weight), -1).max(axis=1))
        steps = weight / scale.reshape(-1, *[1] * (weight.ndim - 1))
        stored = np.rint(steps) if self.form.uniform else steps
        limited = np.clip(stored, -self.form.largest, self.form.largest)
        inputs = [self._constant("eight_bits", self._eight_bits(limited)), *self._grid(scale)]
        self._node("DequantizeLinear", inputs, rounded(self.name), axis=0)

    def _grid(self, scale: NDArray[np.float32]) -> tuple[str, str]:
        """Scale and zero point, which alone says which kind of eight bits is meant."""
        zero = self._eight_bits(np.zeros_like(scale))
        return self._constant("scale", scale), self._constant("zero", zero)

    def _eight_bits(self, values: NDArray[Any]) -> NDArray[Any]:
        return values.astype(helper.tensor_dtype_to_np_dtype(self.form.type))

    def _constant(self, what: str, values: NDArray[Any]) -> str:
        name = f"{self.name}.{what}"
        self.graph.initializer.append(numpy_helper.from_array(values, name))
        return name

    def _node(self, kind: str, inputs: Sequence[str], output: str, **attributes: int) -> None:
        self.graph.node.append(helper.make_node(kind, inputs, [output], output, **attributes))
