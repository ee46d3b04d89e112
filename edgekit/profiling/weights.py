"""The bytes of an ONNX model's constants, without the onnx package: the runtime on a board has none."""

from __future__ import annotations

import math
from collections.abc import Iterator

from edgekit.errors import ArtifactError

_BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 16: 16}
_BITS |= {17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4}
"""ONNX element type (TensorProto.DataType) to its size."""

_GRAPH_IN_MODEL, _NODE_IN_GRAPH, _INITIALIZER_IN_GRAPH = 7, 1, 5
_ATTRIBUTE_IN_NODE, _TENSOR_IN_ATTRIBUTE = 5, 5
_DIMS_IN_TENSOR, _TYPE_IN_TENSOR = 1, 2


def weight_bytes(model: bytes) -> int:
    """Return the bytes of all constant tensors of an ONNX model, without the onnx package: a board has none.

    Raises:
        ArtifactError: This is no ONNX model.
    """
    try:
        tensors = [
            tensor
            for graph in _parts(memoryview(model), _GRAPH_IN_MODEL)
            for tensor in (
                *_parts(graph, _INITIALIZER_IN_GRAPH),
                *_parts(graph, _NODE_IN_GRAPH, _ATTRIBUTE_IN_NODE, _TENSOR_IN_ATTRIBUTE),
            )
        ]
        return sum(_tensor_bytes(tensor) for tensor in tensors)
    except (IndexError, KeyError, ValueError) as error:
        raise ArtifactError(
            problem="The model in the bundle is no ONNX model.", found=str(error), fix="Compile the bundle again."
        ) from error


def _tensor_bytes(tensor: memoryview) -> int:
    dims, kind = [], 0
    for number, value in _fields(tensor):
        if number == _TYPE_IN_TENSOR and isinstance(value, int):
            kind = value
        elif number == _DIMS_IN_TENSOR:
            dims += [value] if isinstance(value, int) else list(_packed(value))
    return -(-math.prod(dims) * _BITS.get(kind, 0) // 8)


def _parts(message: memoryview, *path: int) -> Iterator[memoryview]:
    """Yield the messages at a path of field numbers."""
    for number, value in _fields(message):
        if number == path[0] and isinstance(value, memoryview):
            if len(path) == 1:
                yield value
            else:
                yield from _parts(value, *path[1:])


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield (field number, value) of a protobuf message (protobuf.dev, Encoding)."""
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


def _packed(values: memoryview) -> Iterator[int]:
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
