from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.errors import ModelError, UsageError
from edgekit.graph.read import check_model, input_of, read_model, with_input_shape
from tests.graph.models import residual_net


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    onnx.save(residual_net(), path)
    return path


def test_a_valid_model_is_read(model_file: Path) -> None:
    assert read_model(model_file) == residual_net()


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no model at .*gone\.onnx"):
        read_model(tmp_path / "gone.onnx")


def test_a_text_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("this is not a network\n")
    with pytest.raises(ModelError, match="not an ONNX model"):
        read_model(path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.onnx"
    path.touch()
    with pytest.raises(ModelError):
        read_model(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_model_cut_off_is_refused(model_file: Path, share: float) -> None:
    content = model_file.read_bytes()
    model_file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelError):
        read_model(model_file)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_named(value: float) -> None:
    model = residual_net()
    weight = next(one for one in model.graph.initializer if one.name == "first_w")
    values = numpy_helper.to_array(weight).copy()
    values[0, 0, 0, :2] = value
    weight.CopyFrom(numpy_helper.from_array(values, "first_w"))
    with pytest.raises(ModelError, match="2 NaN or infinite values of 576 in 'first_w'"):
        check_model(model, "net.onnx")


def test_operators_of_other_domains_are_refused() -> None:
    model = residual_net()
    model.graph.node.append(helper.make_node("FusedConv", ["head"], ["x"], domain="com.microsoft", name="x"))
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(ModelError, match=r"com\.microsoft"):
        check_model(model, "net.onnx")


def test_a_free_batch_becomes_one_and_a_free_size_is_taken_from_the_recipe() -> None:
    model = residual_net()
    dims = model.graph.input[0].type.tensor_type.shape.dim
    for index, name in ((0, "n"), (2, "h"), (3, "w")):
        dims[index].dim_param = name
    assert input_of(model)[1] == (None, 3, None, None)
    fixed = with_input_shape(model, (32, 64))
    assert input_of(fixed)[1] == (1, 3, 32, 64)
    assert input_of(model)[1] == (None, 3, None, None)


def test_a_free_size_without_a_recipe_size_is_refused() -> None:
    model = residual_net()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "h"
    with pytest.raises(ModelError, match="no fixed shape"):
        with_input_shape(model, None)


def test_two_inputs_are_refused() -> None:
    model = residual_net()
    model.graph.input.append(helper.make_tensor_value_info("speed", TensorProto.FLOAT, [1]))
    with pytest.raises(ModelError, match="speed: float"):
        input_of(model)
