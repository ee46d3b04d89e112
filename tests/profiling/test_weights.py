from __future__ import annotations

import numpy as np
import pytest

from edgekit.errors import ArtifactError
from edgekit.profiling.weights import weight_bytes

onnx = pytest.importorskip("onnx", reason="onnx comes with the extra 'calibrate'")


def model_with(initializers: list[object], nodes: tuple[object, ...] = ()) -> bytes:
    graph = onnx.helper.make_graph(
        list(nodes),
        "weights",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 4, 4])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        initializer=initializers,
    )
    data: bytes = onnx.helper.make_model(graph).SerializeToString()
    return data


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "int8", "uint8", "int32", "int64", "bool"])
@pytest.mark.parametrize("shape", [(), (0, 3), (300, 7), (2, 3, 5, 7)])
def test_raw_tensors_count_as_numpy_counts_them(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.zeros(shape, dtype)
    assert weight_bytes(model_with([onnx.numpy_helper.from_array(array, "w")])) == array.nbytes


def test_tensors_without_raw_data_count_as_well() -> None:
    listed = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [3, 5], np.ones(15))
    nibbles = onnx.helper.make_tensor("n", onnx.TensorProto.INT4, [5], np.ones(5, np.int8))
    assert weight_bytes(model_with([listed, nibbles])) == 60 + 3


def test_constants_within_nodes_count_as_well() -> None:
    value = onnx.numpy_helper.from_array(np.zeros((4, 4), np.float32))
    constant = onnx.helper.make_node("Constant", [], ["c"], value=value)
    other = onnx.helper.make_node("Conv", ["x", "c"], ["y"], kernel_shape=[3, 3], auto_pad="SAME_UPPER")
    assert weight_bytes(model_with([], (constant, other))) == 64


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"\x07" * 40, lambda data: b"no"])
def test_what_is_no_model_is_refused(damage: object) -> None:
    assert callable(damage)
    data = model_with([onnx.numpy_helper.from_array(np.zeros((30, 30), np.float32), "w")])
    with pytest.raises(ArtifactError, match="no ONNX model"):
        weight_bytes(damage(data))
