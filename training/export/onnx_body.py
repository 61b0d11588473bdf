"""ONNX functions written as arithmetic on values, for graphs that no tracer would give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

DOMAIN = "seg_perception"
OPSET = 18


class Body:
    """Nodes of a function under construction, in the order of their execution."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []

    def op(self, kind: str, *inputs: Any, **attributes: Any) -> Value:
        """A node with one output; whatever is no `Value` becomes a constant."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, outputs: int, *inputs: Any, **attributes: Any) -> list[Value]:
        """A node with several outputs."""
        names = [self.value(x).name for x in inputs]
        made = [Value(self, f"v{len(self.nodes)}_{i}") for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, names, [v.name for v in made], **attributes))
        return made

    def value(self, x: Any) -> Value:
        """A constant: integers become int64, other numbers float32."""
        if isinstance(x, Value):
            return x
        array = np.asarray(x)
        array = array.astype(np.int64 if array.dtype.kind in "iu" else np.float32)
        made = Value(self, f"v{len(self.nodes)}")
        tensor = numpy_helper.from_array(array)
        self.nodes.append(helper.make_node("Constant", [], [made.name], value=tensor))
        return made

    def function(
        self, name: str, inputs: Sequence[str], attributes: Sequence[str], output: Value
    ) -> onnx.FunctionProto:
        """The finished function of our domain, with one output."""
        self.nodes.append(helper.make_node("Identity", [output.name], ["refined"]))
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_function(
            DOMAIN, name, inputs, ["refined"], self.nodes, opsets, list(attributes)
        )


class Value:
    """One array of a `Body`; operators and methods mean what they mean in numpy."""

    def __init__(self, body: Body, name: str) -> None:
        self.body, self.name = body, name

    def __add__(self, other: Any) -> Value:
        return self.body.op("Add", self, other)

    def __sub__(self, other: Any) -> Value:
        return self.body.op("Sub", self, other)

    def __mul__(self, other: Any) -> Value:
        return self.body.op("Mul", self, other)

    def __truediv__(self, other: Any) -> Value:
        """Of integers, rounds towards zero."""
        return self.body.op("Div", self, other)

    def __mod__(self, other: Any) -> Value:
        return self.body.op("Mod", self, other)

    def __matmul__(self, other: Any) -> Value:
        return self.body.op("MatMul", self, other)

    def __gt__(self, other: Any) -> Value:
        return self.body.op("Greater", self, other)

    def reshape(self, *shape: int) -> Value:
        """-1 is inferred, 0 keeps a dimension."""
        return self.body.op("Reshape", self, shape)

    def transpose(self, *axes: int) -> Value:
        """Axes in another order."""
        return self.body.op("Transpose", self, perm=axes)

    def take(self, index: Any, axis: int = 0) -> Value:
        """Items along one axis by their numbers."""
        return self.body.op("Gather", self, index, axis=axis)

    def part(self, start: int, end: int, axis: int = 0) -> Value:
        """``[start:end]`` along one axis."""
        return self.body.op("Slice", self, [start], [end], [axis])

    def reduce(self, kind: str, axis: int) -> Value:
        """Along one axis, which stays with length 1; kind: "Sum", "Min" or "Max"."""
        return self.body.op(f"Reduce{kind}", self, [axis], keepdims=1)

    def cumsum(self, axis: int = 0) -> Value:
        """Sums of all up to and with each."""
        return self.body.op("CumSum", self, axis)

    def integers(self) -> Value:
        """As int64."""
        return self.body.op("Cast", self, to=onnx.TensorProto.INT64)

    def floats(self) -> Value:
        """As float32."""
        return self.body.op("Cast", self, to=onnx.TensorProto.FLOAT)

    def like(self, other: Value) -> Value:
        """Reshaped to the shape of `other`."""
        return self.body.op("Reshape", self, self.body.op("Shape", other))

    def length(self, axis: int = 0) -> Value:
        """int64 [1], the size of one axis."""
        return self.body.op("Shape", self, start=axis, end=axis + 1)

    def scatter(self, index: Value, rows: Value) -> Value:
        """A copy with row ``index[i]`` replaced by ``rows[i]``; no index twice."""
        return self.body.op("ScatterND", self, index.reshape(-1, 1), rows)


def concatenate(*values: Value, axis: int = 0) -> Value:
    """As numpy's."""
    return values[0].body.op("Concat", *values, axis=axis)


def filled(body: Body, shape: Sequence[Value | int], number: float | int) -> Value:
    """A constant array whose size may depend on data: float32, or int64 for an integer."""
    sizes = [body.value([n]) if isinstance(n, int) else n for n in shape]
    dtype = np.int64 if isinstance(number, int) else np.float32
    tensor = numpy_helper.from_array(np.array([number], dtype))
    return body.op("ConstantOfShape", concatenate(*sizes), value=tensor)
