"""Cut outputs, and the nodes that only they need, out of a serialised ONNX model.

ONNX Runtime executes every node of a graph, also those that no requested output depends on
(`RunOptions.only_execute_path_to_fetches` works in its training builds only, onnxruntime #16013).
So the outputs that only the evaluation asks for are cut out before the vehicle's session is made.
This reads protobuf's wire format directly, because the vehicle does not carry the `onnx` package:
https://protobuf.dev/programming-guides/encoding; the field numbers are those of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_OUTPUT = 1, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_ATTRIBUTE = 1, 2, 5
_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS = 6, 11
_VALUE_NAME = 1

_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class _Field:
    number: int
    whole: memoryview
    payload: memoryview


def keep_outputs(model: bytes, outputs: Collection[str]) -> bytes:
    """The model with only these outputs, and only the nodes that they need.

    Args:
        model: a serialised ModelProto; its nodes stand in topological order, as ONNX demands.
        outputs: names of the graph outputs to keep.

    Raises:
        ValueError: `model` is not in protobuf's wire format.
    """
    parts: list[bytes | memoryview] = []
    for field in _fields(memoryview(model)):
        if field.number == _MODEL_GRAPH:
            graph = _pruned_graph(field.payload, outputs)
            parts += [_key(_MODEL_GRAPH), _varint_bytes(len(graph)), graph]
        else:
            parts.append(field.whole)
    return b"".join(parts)


def _pruned_graph(graph: memoryview, outputs: Collection[str]) -> bytes:
    kept: list[memoryview] = []
    needed = set(outputs)
    # Backwards, because the consumers of a node's values stand behind it.
    for field in reversed(list(_fields(graph))):
        if field.number == _GRAPH_OUTPUT and _names(field.payload, _VALUE_NAME).isdisjoint(outputs):
            continue
        if field.number == _GRAPH_NODE:
            if _names(field.payload, _NODE_OUTPUT).isdisjoint(needed):
                continue
            needed |= _names_read(field.payload)
        kept.append(field.whole)
    return b"".join(reversed(kept))


def _names_read(node: memoryview) -> set[str]:
    """Values that a node reads, those of its subgraphs included."""
    names = _names(node, _NODE_INPUT)
    for attribute in _payloads(node, _NODE_ATTRIBUTE):
        for number in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
            for graph in _payloads(attribute, number):
                for inner in _payloads(graph, _GRAPH_NODE):
                    names |= _names_read(inner)
    return names


def _payloads(message: memoryview, number: int) -> Iterator[memoryview]:
    return (field.payload for field in _fields(message) if field.number == number)


def _names(message: memoryview, number: int) -> set[str]:
    # An empty name stands for an optional value left out, which connects nothing.
    return {str(payload, "utf-8") for payload in _payloads(message, number)} - {""}


def _fields(message: memoryview) -> Iterator[_Field]:
    position = 0
    while position < len(message):
        start = position
        key, position = _varint(message, position)
        kind = key & 7
        end = position
        if kind == _VARINT:
            _, end = _varint(message, position)
        elif kind == _LENGTH_DELIMITED:
            length, position = _varint(message, position)
            end = position + length
        elif kind in (_FIXED64, _FIXED32):
            end = position + (8 if kind == _FIXED64 else 4)
        else:
            raise ValueError(f"unknown wire type {kind} at byte {start}")
        if end > len(message):
            raise ValueError(f"truncated at byte {len(message)} of at least {end}")
        yield _Field(key >> 3, message[start:end], message[position:end])
        position = end


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(message):
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError(f"truncated at byte {position}")


def _varint_bytes(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _key(number: int) -> bytes:
    return _varint_bytes(number << 3 | _LENGTH_DELIMITED)
