"""One matrix out of a MATLAB file (version 5), as the Semantic Boundaries Dataset stores labels.

The format is MathWorks' "MAT-File Format", chapter 1. Only what such a label file holds is read: a
struct with matrices of numbers among its fields, compressed or not.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import DatasetError

HEADER_BYTES = 128
MATRIX, COMPRESSED = 14, 15
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"}
STRUCT_CLASS = 2


def read_matlab(path: Path, variable: str, field: str) -> NDArray[Any]:
    """A matrix that is a field of a 1x1 struct.

    Args:
        path: of the `.mat` file.
        variable: name of the struct.
        field: name of the field.

    Raises:
        DatasetError: the file is not of this format, or does not hold this.
    """
    try:
        data = path.read_bytes()
        order = {b"IM": "<", b"MI": ">"}[data[HEADER_BYTES - 2 : HEADER_BYTES]]
        for kind, content in _elements(data[HEADER_BYTES:], order):
            if kind == COMPRESSED:
                ((kind, content),) = _elements(zlib.decompress(content), order)
            if kind == MATRIX and (found := _field(content, order, variable, field)) is not None:
                return found
    except (OSError, KeyError, ValueError, IndexError, struct.error, zlib.error) as error:
        raise DatasetError(
            f"{path} cannot be read as a MATLAB file ({error!r}); copy it again"
        ) from error
    raise DatasetError(f"{path} holds no {variable}.{field}; copy it again")


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and content of the elements that follow each other."""
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        if kind >> 16:  # a small element: size and type share a word, the content is the next
            yield kind & 0xFFFF, data[at + 4 : at + 4 + (kind >> 16)]
            at += 8
            continue
        content = data[at + 8 : at + 8 + size]
        if len(content) < size:
            raise ValueError(f"{size} bytes promised, {len(content)} there")
        yield kind, content
        at += 8 + size + (-size % 8 if kind != COMPRESSED else 0)


def _field(content: bytes, order: str, variable: str, field: str) -> NDArray[Any] | None:
    """The field of a struct of that name; None for other variables."""
    flags, _, (_, name), *rest = list(_elements(content, order))
    kind = struct.unpack_from(f"{order}I", flags[1])[0] & 0xFF
    if name.decode("ascii") != variable or kind != STRUCT_CLASS:
        return None
    (_, length), (_, names), *fields = rest
    (width,) = struct.unpack_from(f"{order}i", length)
    known = [
        names[i : i + width].rstrip(b"\0").decode("ascii") for i in range(0, len(names), width)
    ]
    return _matrix(fields[known.index(field)][1], order)


def _matrix(content: bytes, order: str) -> NDArray[Any]:
    """A matrix of numbers, whose columns are stored one after the other."""
    _, (_, shape), _, (kind, numbers) = list(_elements(content, order))[:4]
    dimensions = np.frombuffer(shape, f"{order}i4")
    return np.frombuffer(numbers, f"{order}{NUMBERS[kind]}").reshape(dimensions, order="F")
