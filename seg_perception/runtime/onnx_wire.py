"""ONNX models as they lie on disk, in protobuf's wire format: read and written directly.

The vehicle does not carry the `onnx` package. https://protobuf.dev/programming-guides/encoding;
the field numbers are those of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

MODEL_GRAPH, MODEL_FUNCTION = 7, 25
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT, GRAPH_VALUE_INFO = 1, 5, 11, 12, 13
NODE_INPUT, NODE_OUTPUT, NODE_NAME, NODE_OP_TYPE, NODE_ATTRIBUTE, NODE_DOMAIN = 1, 2, 3, 4, 5, 7
ATTRIBUTE_NAME, ATTRIBUTE_INT, ATTRIBUTE_STRING, ATTRIBUTE_TYPE = 1, 3, 4, 20
ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS = 6, 11
FUNCTION_NAME, FUNCTION_DOMAIN = 1, 10
TENSOR_DIMS, TENSOR_DATA_TYPE, TENSOR_NAME, TENSOR_RAW_DATA = 1, 2, 8, 9
VALUE_NAME, VALUE_TYPE = 1, 2
TYPE_TENSOR, TENSOR_TYPE_ELEMENT = 1, 1

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
