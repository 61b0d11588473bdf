"""Cut outputs, and the nodes that only they need, out of a serialised ONNX model.

ONNX Runtime executes every node of a graph, also those that no requested output depends on
(`RunOptions.only_execute_path_to_fetches` works in its training builds only, onnxruntime #16013).
So the outputs that only the evaluation asks for are cut out before the vehicle's session is made.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from seg_perception.runtime.onnx_wire import (
    ATTRIBUTE_GRAPH,
    ATTRIBUTE_GRAPHS,
    GRAPH_NODE,
    GRAPH_OUTPUT,
    MODEL_GRAPH,
    NODE_ATTRIBUTE,
    NODE_INPUT,
    NODE_OUTPUT,
    VALUE_NAME,
    delimited,
    fields,
    payloads,
    text,
    texts,
)


@dataclass(frozen=True)
class Node:
    """A NodeProto and the values that connect it.

    Attributes:
        encoded: as it stands in the graph.
        reads: names of the values it needs, those of its subgraphs included.
        makes: names of the values it gives.
    """

    encoded: memoryview
    reads: frozenset[str]
    makes: frozenset[str]

    @staticmethod
    def parse(encoded: memoryview) -> Node:
        """Of a NodeProto."""
        return Node(
            encoded, frozenset(names_read(encoded)), frozenset(_names(encoded, NODE_OUTPUT))
        )


def keep_outputs(model: bytes, outputs: Collection[str]) -> bytes:
    """The model with only these outputs, and only the nodes that they need.

    Args:
        model: a serialised ModelProto; its nodes stand in topological order, as ONNX demands.
        outputs: names of the graph outputs to keep.

    Raises:
        ValueError: `model` is not in protobuf's wire format.
    """
    return b"".join(
        delimited(MODEL_GRAPH, _pruned_graph(field.payload, outputs))
        if field.number == MODEL_GRAPH
        else field.whole
        for field in fields(memoryview(model))
    )


def names_read(node: memoryview) -> set[str]:
    """Values that a node reads, those of its subgraphs included."""
    names = _names(node, NODE_INPUT)
    for attribute in payloads(node, NODE_ATTRIBUTE):
        for number in (ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS):
            for graph in payloads(attribute, number):
                for inner in payloads(graph, GRAPH_NODE):
                    names |= names_read(inner)
    return names


def needed_nodes(
    nodes: Iterable[Node], outputs: Collection[str], given: Collection[str] = ()
) -> tuple[list[Node], set[str]]:
    """The nodes that make some values.

    Args:
        nodes: in topological order.
        outputs: names of the values.
        given: names of values that are there already.

    Returns:
        The nodes, in order, and the names of all values that they read or that are outputs.
    """
    kept: list[Node] = []
    read = set(outputs)
    missing = read.difference(given)
    # Backwards, because the consumers of a node's values stand behind it.
    for node in reversed(list(nodes)):
        if not node.makes.isdisjoint(missing):
            kept.append(node)
            read |= node.reads
            missing |= node.reads.difference(given)
    return kept[::-1], read


def _pruned_graph(graph: memoryview, outputs: Collection[str]) -> bytes:
    nodes, _ = needed_nodes(map(Node.parse, payloads(graph, GRAPH_NODE)), outputs)
    parts: list[bytes | memoryview] = [delimited(GRAPH_NODE, node.encoded) for node in nodes]
    for field in fields(graph):
        if field.number == GRAPH_NODE:
            continue
        if field.number == GRAPH_OUTPUT and text(field.payload, VALUE_NAME) not in outputs:
            continue
        parts.append(field.whole)
    return b"".join(parts)


def _names(message: memoryview, number: int) -> set[str]:
    # An empty name stands for an optional value left out, which connects nothing.
    return set(texts(message, number)) - {""}
