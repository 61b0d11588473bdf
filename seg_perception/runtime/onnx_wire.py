"""ONNX models as they lie on disk, in protobuf's wire format: read and written directly.

The vehicle does not carry the `onnx` package. https://protobuf.dev/programming-guides/encoding;
the field numbers are those of onnx.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

MODEL_GRAPH, MODEL_FUNCTION = 7, 25
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT, GRAPH_VALUE_INFO = 1, 5, 11, 12, 13
NODE_INPUT, NODE_OUTPUT, NODE_NAME, NODE_OP_TYPE, NODE_ATTRIBUTE, NODE_DOMAIN = 1, 2, 3, 4, 5, 7
ATTRIBUTE_NAME, ATTRIBUTE_FLOAT, ATTRIBUTE_INT, ATTRIBUTE_STRING, ATTRIBUTE_TYPE = 1, 2, 3, 4, 20
ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS = 6, 11
FUNCTION_NAME, FUNCTION_DOMAIN = 1, 10
TENSOR_DIMS, TENSOR_DATA_TYPE, TENSOR_NAME, TENSOR_RAW_DATA = 1, 2, 8, 9
VALUE_NAME, VALUE_TYPE = 1, 2
TYPE_TENSOR, TENSOR_TYPE_ELEMENT, TENSOR_TYPE_SHAPE = 1, 1, 2
SHAPE_DIMENSION, DIMENSION_SIZE = 1, 1
FLOAT_ATTRIBUTE, INT_ATTRIBUTE, STRING_ATTRIBUTE = 1, 2, 3  # AttributeProto.AttributeType

_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class Field:
    """One field of a message.

    Attributes:
        number: which field.
        whole: with its key.
        payload: content of a message, string or bytes; anything else as encoded.
    """

    number: int
    whole: memoryview
    payload: memoryview


@dataclass(frozen=True)
class TensorType:
    """What a ValueInfoProto says of a tensor.

    Attributes:
        element: TensorProto.DataType, e.g. 1 = float32; 0 = not said.
        shape: None for a size that is not said, or for all of them.
    """

    element: int
    shape: tuple[int | None, ...] | None


def fields(message: memoryview) -> Iterator[Field]:
    """The fields of a message in order.

    Raises:
        ValueError: it is not in protobuf's wire format.
    """
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
        yield Field(key >> 3, message[start:end], message[position:end])
        position = end


def payloads(message: memoryview, number: int) -> Iterator[memoryview]:
    """The content of every field of this number, in order."""
    return (field.payload for field in fields(message) if field.number == number)


def texts(message: memoryview, number: int) -> tuple[str, ...]:
    """The strings in the fields of this number, in order."""
    return tuple(str(payload, "utf-8") for payload in payloads(message, number))


def text(message: memoryview, number: int) -> str:
    """The string in a field; "" where the field is left out."""
    return "".join(texts(message, number)[-1:])


def integer(message: memoryview, number: int) -> int:
    """The unsigned integer in a field; 0 where the field is left out."""
    value = 0
    for payload in payloads(message, number):
        value, _ = _varint(payload, 0)
    return value


def floating(message: memoryview, number: int) -> float:
    """The float32 in a field; 0 where the field is left out.

    Raises:
        ValueError: it holds something else.
    """
    value = 0.0
    for payload in payloads(message, number):
        if len(payload) != struct.calcsize("<f"):
            raise ValueError(f"{len(payload)} bytes where a float32 belongs")
        (value,) = struct.unpack("<f", payload)
    return value


def number_attributes(node: memoryview) -> dict[str, float | int]:
    """The numbers (>= 0 if whole) among the attributes of a NodeProto, by name."""
    found: dict[str, float | int] = {}
    for attribute in payloads(node, NODE_ATTRIBUTE):
        kind = integer(attribute, ATTRIBUTE_TYPE)
        if kind == INT_ATTRIBUTE:
            found[text(attribute, ATTRIBUTE_NAME)] = integer(attribute, ATTRIBUTE_INT)
        elif kind == FLOAT_ATTRIBUTE:
            found[text(attribute, ATTRIBUTE_NAME)] = floating(attribute, ATTRIBUTE_FLOAT)
    return found


def tensor_type(value: memoryview) -> TensorType:
    """The type in a ValueInfoProto of a tensor."""
    element, shape = 0, None
    for type_ in payloads(value, VALUE_TYPE):
        for tensor in payloads(type_, TYPE_TENSOR):
            element = integer(tensor, TENSOR_TYPE_ELEMENT)
            for sizes in payloads(tensor, TENSOR_TYPE_SHAPE):
                dimensions = payloads(sizes, SHAPE_DIMENSION)
                shape = tuple(integer(size, DIMENSION_SIZE) or None for size in dimensions)
    return TensorType(element, shape)


def tensor_value(name: str, type_: TensorType) -> bytes:
    """A ValueInfoProto of a tensor."""
    tensor = varint(TENSOR_TYPE_ELEMENT, type_.element)
    if type_.shape is not None:
        sizes = (b"" if size is None else varint(DIMENSION_SIZE, size) for size in type_.shape)
        shape = b"".join(delimited(SHAPE_DIMENSION, size) for size in sizes)
        tensor += delimited(TENSOR_TYPE_SHAPE, shape)
    return delimited(VALUE_NAME, name) + delimited(VALUE_TYPE, delimited(TYPE_TENSOR, tensor))


def delimited(number: int, payload: bytes | memoryview | str) -> bytes:
    """A field that holds a message, string or bytes."""
    content = payload.encode() if isinstance(payload, str) else bytes(payload)
    return _varint_bytes(number << 3 | _LENGTH_DELIMITED) + _varint_bytes(len(content)) + content


def varint(number: int, value: int) -> bytes:
    """A field that holds an unsigned integer."""
    return _varint_bytes(number << 3 | _VARINT) + _varint_bytes(value)


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
