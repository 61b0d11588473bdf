"""Cut outputs, and the nodes that only they need, out of a serialised ONNX model.

ONNX Runtime executes every node of a graph, also those that no requested output depends on
(`RunOptions.only_execute_path_to_fetches` works in its training builds only, onnxruntime #16013).
So the outputs that only the evaluation asks for are cut out before the vehicle's session is made.
"""

from __future__ import annotations

from collections.abc import Collection

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
    texts,
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


def _pruned_graph(graph: memoryview, outputs: Collection[str]) -> bytes:
    kept: list[memoryview] = []
    needed = set(outputs)
    # Backwards, because the consumers of a node's values stand behind it.
    for field in reversed(list(fields(graph))):
        if field.number == GRAPH_OUTPUT and _names(field.payload, VALUE_NAME).isdisjoint(outputs):
            continue
        if field.number == GRAPH_NODE:
            if _names(field.payload, NODE_OUTPUT).isdisjoint(needed):
                continue
            needed |= names_read(field.payload)
        kept.append(field.whole)
    return b"".join(reversed(kept))


def _names(message: memoryview, number: int) -> set[str]:
    # An empty name stands for an optional value left out, which connects nothing.
    return set(texts(message, number)) - {""}
