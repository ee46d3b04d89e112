"""Reading protobuf messages, and so ONNX models, without a package for it: the runtime on a board has none."""

from __future__ import annotations

import math
from collections.abc import Iterator

ELEMENT_BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 16: 16}
ELEMENT_BITS |= {17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4}
"""ONNX element type (TensorProto.DataType) to its size."""


def tensor_bytes(dims: list[int], kind: int) -> int:
    """Return what a tensor of that shape and ONNX element type takes; 0 for a type without a size."""
    return -(-math.prod(dims) * ELEMENT_BITS.get(kind, 0) // 8)


def parts(message: memoryview, *path: int) -> Iterator[memoryview]:
    """Yield the messages at a path of field numbers."""
    for number, value in fields(message):
        if number == path[0] and isinstance(value, memoryview):
            if len(path) == 1:
                yield value
            else:
                yield from parts(value, *path[1:])


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield (field number, value) of a message (protobuf.dev, Encoding).

    Raises:
        IndexError, KeyError, ValueError: This is none.
    """
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        wire = key & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if wire == 2:
            size, at = _varint(message, at)
        else:
            size = {1: 8, 5: 4}[wire]
        if at + size > len(message):
            raise ValueError("it ends too early")  # noqa: EM101
        yield key >> 3, message[at : at + size]
        at += size


def packed(values: memoryview) -> Iterator[int]:
    """Yield the whole numbers of a packed list."""
    at = 0
    while at < len(values):
        value, at = _varint(values, at)
        yield value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
