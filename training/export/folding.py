"""Everything that follows from fixed shapes and weights, worked out at export.

The tracer writes a shape as arithmetic (Shape, Gather, Concat, ...). ONNX Runtime folds that each
time it loads the model; TensorRT's parser and the plugins had better see constants from the start.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import onnx
import onnxruntime
from onnx import NodeProto, helper, numpy_helper


def fold_constants(model: onnx.ModelProto) -> None:
    """Replace, in place, every node of the main graph whose outputs are always the same.

    Args:
        model: with fixed shapes, in float32.
    """
    before = math.inf
    while len(model.graph.node) < before:  # what became known may make more shapes known
        before = len(model.graph.node)
        _fold_once(model)


def _fold_once(model: onnx.ModelProto) -> None:
    graph, shapes = model.graph, _fixed_shapes(model)
    known = {weight.name for weight in graph.initializer}
    folded, kept = list[NodeProto](), list[NodeProto]()
    for node in graph.node:
        if node.op_type == "Shape" and not node.attribute and node.input[0] in shapes:
            shape = numpy_helper.from_array(np.array(shapes[node.input[0]], np.int64))
            node = helper.make_node("Constant", [], node.output, node.name, value=shape)
        if _is_plain(node) and known.issuperset(filter(None, node.input)):
            folded.append(node)
            known.update(node.output)
        else:
            kept.append(node)
    read = {output.name for output in graph.output}.union(*map(set, map(_reads, kept)))
    wanted = [name for node in folded for name in node.output if name in read]
    weights = _computed(model, folded, wanted) if wanted else []
    weights += [weight for weight in graph.initializer if weight.name in read]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(weights)


def _fixed_shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    return {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*inferred.value_info, *inferred.input)
        if value.type.tensor_type.HasField("shape")
        and all(d.HasField("dim_value") for d in value.type.tensor_type.shape.dim)
    }


def _is_plain(node: NodeProto) -> bool:
    """Whether it is a standard operator without a graph inside."""
    return not node.domain and not any(_inner(node))


def _inner(node: NodeProto) -> Iterator[onnx.GraphProto]:
    return (entry.g for entry in node.attribute if entry.type == onnx.AttributeProto.GRAPH)


def _reads(node: NodeProto) -> Iterator[str]:
    """Names that a node needs, those inside its graphs included."""
    yield from node.input
    for graph in _inner(node):
        yield from (output.name for output in graph.output)
        for inner in graph.node:
            yield from _reads(inner)


def _computed(
    model: onnx.ModelProto, nodes: list[NodeProto], names: list[str]
) -> list[onnx.TensorProto]:
    """The values of these names, which need nothing but these nodes and weights."""
    part = onnx.ModelProto()
    part.CopyFrom(model)
    del part.graph.node[:], part.graph.input[:], part.graph.output[:], part.functions[:]
    part.graph.node.extend(nodes)
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(part.SerializeToString(), options)
    values = session.run(names, {})
    return [numpy_helper.from_array(v, name) for name, v in zip(names, values, strict=True)]
