"""Rewrite a bundle's ONNX model, in memory, into the form that TensorRT takes.

What it computes stays the same but for rounding, which is tested in ONNX Runtime:

- Operators with a plugin: the attribute `plugin_namespace` is set and the function body dropped.
  TensorRT up to 10.6 prefers a function to a plugin, 10.7 to 10.14 the plugin, and from 10.15 on
  the plugin only if the node names its namespace; this form leaves all of them one way.
- uint8: TensorRT has it only at the borders of a network, to and from floating point. So uint8 is
  float32 inside, converted where it enters and where it leaves.
- Weights that the file stores as float16 with a Cast behind become float32 weights, so that the
  parser sees weights, not computed tensors.
- Inputs that count the steps of a loop (`constants`) become constants: TensorRT would take them
  from the CPU's memory while the engine runs, which no CUDA graph can replay.
- Precision: TensorRT 11 takes it from the types in the graph alone ("strongly typed"), so float16
  is written there: casts around convolutions and what may follow them (`_FOLLOWERS`), wherever
  nothing of evidence or code arrives. The solve for the code stays float32, as do the plugins.
  Eight-bit convolutions keep their Q/DQ pairs, with scales of float16, so that nothing stands
  between a pair and its convolution; scales that float16 does not hold exactly would change.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from seg_perception.runtime.onnx_prune import names_read
from seg_perception.runtime.onnx_wire import (
    ATTRIBUTE_INT,
    ATTRIBUTE_NAME,
    ATTRIBUTE_STRING,
    ATTRIBUTE_TYPE,
    FUNCTION_DOMAIN,
    FUNCTION_NAME,
    GRAPH_INITIALIZER,
    GRAPH_INPUT,
    GRAPH_NODE,
    GRAPH_OUTPUT,
    GRAPH_VALUE_INFO,
    INT_ATTRIBUTE,
    MODEL_FUNCTION,
    MODEL_GRAPH,
    NODE_ATTRIBUTE,
    NODE_DOMAIN,
    NODE_INPUT,
    NODE_OP_TYPE,
    NODE_OUTPUT,
    STRING_ATTRIBUTE,
    TENSOR_DATA_TYPE,
    TENSOR_DIMS,
    TENSOR_NAME,
    TENSOR_RAW_DATA,
    VALUE_NAME,
    delimited,
    fields,
    integer,
    number_attributes,
    payloads,
    tensor_type,
    text,
    texts,
    varint,
)

DOMAIN = "seg_perception"
"""ONNX domain of our operators."""

_FLOAT, _UINT8, _INT32, _INT64, _FLOAT16 = 1, 2, 6, 7, 10  # TensorProto.DataType
_NUMPY = {_FLOAT: "<f4", _FLOAT16: "<f2"}

_SEEDS = ("Conv", "ConvTranspose", "DequantizeLinear")
_FOLLOWERS = (
    "Relu",
    "LeakyRelu",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "Add",
    "Concat",
    "Resize",
    "QuantizeLinear",
)
"""Operators whose inputs and output are all of one type (see `_typed_inputs`), and which float16
does not harm. One that has a float16 input joins in."""

_TYPED_INPUTS = {
    "Resize": slice(1),  # not the size
    "QuantizeLinear": slice(2),  # value and scale
    "DequantizeLinear": slice(1, 2),  # the scale, whose type is the result's
}
"""Of operators whose other inputs keep their type."""


@dataclass(frozen=True)
class _Node:
    """A NodeProto.

    Attributes:
        inputs: names, "" for one that is left out.
        outputs: names.
        op_type: operator.
        domain: of the operator.
        rest: everything else, encoded.
        inner: names that subgraphs read.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    op_type: str
    domain: str
    rest: bytes
    inner: frozenset[str] = frozenset()

    @staticmethod
    def parse(node: memoryview) -> _Node:
        rest = [f.whole for f in fields(node) if f.number not in (NODE_INPUT, NODE_OUTPUT)]
        return _Node(
            texts(node, NODE_INPUT),
            texts(node, NODE_OUTPUT),
            text(node, NODE_OP_TYPE),
            text(node, NODE_DOMAIN),
            b"".join(rest),
            frozenset(names_read(node)) - {*texts(node, NODE_INPUT)},
        )

    @staticmethod
    def cast(source: str, target: str, type_: int) -> _Node:
        attribute = (
            delimited(ATTRIBUTE_NAME, "to")
            + varint(ATTRIBUTE_INT, type_)
            + varint(ATTRIBUTE_TYPE, INT_ATTRIBUTE)
        )
        rest = delimited(NODE_OP_TYPE, "Cast") + delimited(NODE_ATTRIBUTE, attribute)
        return _Node((source,), (target,), "Cast", "", rest)

    @property
    def reads(self) -> frozenset[str]:
        """Names of all values it needs."""
        return self.inner.union(self.inputs)

    @property
    def cast_to(self) -> int:
        """Type that a Cast gives; 0 for all other nodes."""
        if self.op_type != "Cast":
            return 0
        return int(number_attributes(memoryview(self.rest)).get("to", 0))

    def renamed(self, names: Mapping[str, str]) -> _Node:
        """With other inputs."""
        return replace(self, inputs=tuple(names.get(name, name) for name in self.inputs))

    def encode(self) -> bytes:
        parts = [delimited(NODE_INPUT, name) for name in self.inputs]
        parts += [delimited(NODE_OUTPUT, name) for name in self.outputs]
        return b"".join([*parts, self.rest])


@dataclass(frozen=True)
class _Graph:
    """A GraphProto: nodes; weights, inputs and outputs by name; and all else, encoded."""

    nodes: tuple[_Node, ...]
    weights: Mapping[str, memoryview]
    inputs: Mapping[str, memoryview]
    outputs: Mapping[str, memoryview]
    rest: bytes

    @staticmethod
    def parse(graph: memoryview) -> _Graph:
        # value_info is left out, since types change
        taken = (GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT, GRAPH_VALUE_INFO)
        return _Graph(
            tuple(_Node.parse(node) for node in payloads(graph, GRAPH_NODE)),
            {text(weight, TENSOR_NAME): weight for weight in payloads(graph, GRAPH_INITIALIZER)},
            {text(value, VALUE_NAME): value for value in payloads(graph, GRAPH_INPUT)},
            {text(value, VALUE_NAME): value for value in payloads(graph, GRAPH_OUTPUT)},
            b"".join(field.whole for field in fields(graph) if field.number not in taken),
        )

    def encode(self) -> bytes:
        nodes = (delimited(GRAPH_NODE, node.encode()) for node in self.nodes)
        weights = (delimited(GRAPH_INITIALIZER, weight) for weight in self.weights.values())
        inputs = (delimited(GRAPH_INPUT, value) for value in self.inputs.values())
        outputs = (delimited(GRAPH_OUTPUT, value) for value in self.outputs.values())
        return b"".join([*nodes, self.rest, *weights, *inputs, *outputs])


def for_tensorrt(
    model: bytes,
    *,
    plugins: Collection[str] = (),
    namespace: str = "",
    constants: Mapping[str, NDArray[np.int64]] | None = None,
    half: bool = False,
) -> bytes:
    """The model as TensorRT's parser should see it.

    Args:
        model: a serialised ModelProto.
        plugins: operators of `DOMAIN` that plugins execute; all others keep their function.
        namespace: of the plugins.
        constants: values of inputs that are to be none any more.
        half: convolutions in float16.

    Raises:
        ValueError: `model` is not in protobuf's wire format.
    """
    parts: list[bytes | memoryview] = []
    for field in fields(memoryview(model)):
        if field.number == MODEL_FUNCTION and _is_replaced(field.payload, plugins):
            continue
        if field.number != MODEL_GRAPH:
            parts.append(field.whole)
            continue
        graph = _with_plugins(_Graph.parse(field.payload), plugins, namespace)
        graph = _with_constants(graph, constants or {})
        graph = _with_whole_weights(_with_uint8_at_the_borders(graph))
        parts.append(delimited(MODEL_GRAPH, (_halved(graph) if half else graph).encode()))
    return b"".join(parts)


def custom_operators(model: bytes) -> set[str]:
    """Names of the operators of `DOMAIN` in the model's graph."""
    return {
        node.op_type
        for graph in payloads(memoryview(model), MODEL_GRAPH)
        for node in map(_Node.parse, payloads(graph, GRAPH_NODE))
        if node.domain == DOMAIN
    }


def _is_replaced(function: memoryview, plugins: Collection[str]) -> bool:
    return text(function, FUNCTION_DOMAIN) == DOMAIN and text(function, FUNCTION_NAME) in plugins


def _with_plugins(graph: _Graph, plugins: Collection[str], namespace: str) -> _Graph:
    attribute = (
        delimited(ATTRIBUTE_NAME, "plugin_namespace")
        + delimited(ATTRIBUTE_STRING, namespace)
        + varint(ATTRIBUTE_TYPE, STRING_ATTRIBUTE)
    )
    nodes = (
        replace(node, rest=node.rest + delimited(NODE_ATTRIBUTE, attribute))
        if node.domain == DOMAIN and node.op_type in plugins
        else node
        for node in graph.nodes
    )
    return replace(graph, nodes=tuple(nodes))


def _with_constants(graph: _Graph, constants: Mapping[str, NDArray[np.int64]]) -> _Graph:
    fixed = {
        name: memoryview(
            b"".join(varint(TENSOR_DIMS, size) for size in value.shape)
            + varint(TENSOR_DATA_TYPE, _INT64)
            + delimited(TENSOR_NAME, name)
            + delimited(TENSOR_RAW_DATA, value.astype("<i8").tobytes())
        )
        for name, value in constants.items()
        if name in graph.inputs
    }
    inputs = {name: value for name, value in graph.inputs.items() if name not in fixed}
    return replace(graph, inputs=inputs, weights={**graph.weights, **fixed})


def _with_uint8_at_the_borders(graph: _Graph) -> _Graph:
    """Float32 with the same whole numbers wherever uint8 stood, but for inputs and outputs."""
    entering = [name for name, value in graph.inputs.items() if _is_uint8(value)]
    leaving = [name for name, value in graph.outputs.items() if _is_uint8(value)]
    names = {name: f"{name}.float" for name in (*entering, *leaving)}
    nodes = [_Node.cast(name, names[name], _FLOAT) for name in entering]
    for node in graph.nodes:
        node = replace(
            node.renamed(names), outputs=tuple(names.get(name, name) for name in node.outputs)
        )
        if node.cast_to == _UINT8:
            (target,) = node.outputs
            # By way of int32, which cuts off what follows the point, as uint8 would.
            nodes.append(_Node.cast(node.inputs[0], f"{target}.whole", _INT32))
            node = _Node.cast(f"{target}.whole", target, _FLOAT)
        nodes.append(node)
    nodes += [_Node.cast(names[name], name, _UINT8) for name in leaving]
    return replace(graph, nodes=tuple(nodes))


def _is_uint8(value: memoryview) -> bool:
    return tensor_type(value).element == _UINT8


def _with_whole_weights(graph: _Graph) -> _Graph:
    weights, nodes = dict(graph.weights), []
    for node in graph.nodes:
        stored = graph.weights.get(node.inputs[0]) if node.cast_to == _FLOAT else None
        if stored is None or not _convertible(stored):
            nodes.append(node)
        else:
            weights[node.outputs[0]] = _converted(stored, node.outputs[0], _FLOAT)
    return _without_unread(replace(graph, nodes=tuple(nodes), weights=weights))


def _halved(graph: _Graph) -> _Graph:
    """Convolutions and what follows them in float16, with casts where that begins and ends."""
    half = _half_nodes(graph)
    # As float16, by another name.
    there = {name for node in half for name in _typed_outputs(node)}
    weights, nodes = dict(graph.weights), list[_Node]()
    for node in graph.nodes:
        if node not in half:
            nodes.append(node)
            continue
        typed = {name: _half(name) for name in _typed_inputs(node)}
        results = _typed_outputs(node)
        for name in sorted(typed.keys() - there - {""}):
            if name in weights and _convertible(weights[name]):
                weights[typed[name]] = _converted(weights[name], typed[name], _FLOAT16)
            else:
                nodes.append(_Node.cast(name, typed[name], _FLOAT16))
        there |= typed.keys()
        outputs = tuple(map(_half, results)) or node.outputs
        nodes.append(replace(node.renamed(typed), outputs=outputs))
        nodes += [_Node.cast(_half(name), name, _FLOAT) for name in results]
    return _without_unread(replace(graph, nodes=tuple(nodes), weights=weights))


def _half_nodes(graph: _Graph) -> set[_Node]:
    corrected = {name for name in graph.inputs if name != "image"}
    half, made = set[_Node](), set[str]()
    for node in graph.nodes:
        if not corrected.isdisjoint(node.reads):
            corrected.update(node.outputs)
        elif node.op_type in _SEEDS or (
            node.op_type in _FOLLOWERS and not made.isdisjoint(_typed_inputs(node))
        ):
            half.add(node)
            made.update(_typed_outputs(node))
    return half


def _without_unread(graph: _Graph) -> _Graph:
    """Casts and weights that nobody reads (any more) go."""
    read = set(graph.outputs).union(*(node.reads for node in graph.nodes))
    nodes = [n for n in graph.nodes if n.op_type != "Cast" or not read.isdisjoint(n.outputs)]
    weights = {name: weight for name, weight in graph.weights.items() if name in read}
    return replace(graph, nodes=tuple(nodes), weights=weights)


def _typed_inputs(node: _Node) -> tuple[str, ...]:
    return node.inputs[_TYPED_INPUTS.get(node.op_type, slice(None))]


def _typed_outputs(node: _Node) -> tuple[str, ...]:
    return () if node.op_type == "QuantizeLinear" else node.outputs


def _half(name: str) -> str:
    return f"{name}.float16" if name else name


def _convertible(weight: memoryview) -> bool:
    stored_raw = any(True for _ in payloads(weight, TENSOR_RAW_DATA))
    return stored_raw and integer(weight, TENSOR_DATA_TYPE) in _NUMPY


def _converted(weight: memoryview, name: str, type_: int) -> memoryview:
    (raw,) = payloads(weight, TENSOR_RAW_DATA)
    array = np.frombuffer(raw, _NUMPY[integer(weight, TENSOR_DATA_TYPE)]).astype(_NUMPY[type_])
    replaced = (TENSOR_DATA_TYPE, TENSOR_NAME, TENSOR_RAW_DATA)
    rest = [field.whole for field in fields(weight) if field.number not in replaced]
    parts = [varint(TENSOR_DATA_TYPE, type_), delimited(TENSOR_NAME, name)]
    parts.append(delimited(TENSOR_RAW_DATA, array.tobytes()))
    return memoryview(b"".join([*rest, *parts]))
