"""The bytes of an ONNX model's constants, without the onnx package: the runtime on a board has none."""

from __future__ import annotations

from edgekit.errors import ArtifactError
from edgekit.profiling.wire import fields, packed, parts, tensor_bytes

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
            for graph in parts(memoryview(model), _GRAPH_IN_MODEL)
            for tensor in (
                *parts(graph, _INITIALIZER_IN_GRAPH),
                *parts(graph, _NODE_IN_GRAPH, _ATTRIBUTE_IN_NODE, _TENSOR_IN_ATTRIBUTE),
            )
        ]
        return sum(_stored_bytes(tensor) for tensor in tensors)
    except (IndexError, KeyError, ValueError) as error:
        raise ArtifactError(
            problem="The model in the bundle is no ONNX model.", found=str(error), fix="Compile the bundle again."
        ) from error


def _stored_bytes(tensor: memoryview) -> int:
    dims, kind = [], 0
    for number, value in fields(tensor):
        if number == _TYPE_IN_TENSOR and isinstance(value, int):
            kind = value
        elif number == _DIMS_IN_TENSOR:
            dims += [value] if isinstance(value, int) else list(packed(value))
    return tensor_bytes(dims, kind)
