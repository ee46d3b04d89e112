"""Read an ONNX model and refuse, with a reason, what cannot be calibrated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from edgekit.errors import ModelError, UsageError


def read_model(path: str | Path) -> onnx.ModelProto:
    """Read a model file, external weights included, and check it.

    Raises:
        UsageError: There is no such file.
        ModelError: The file is not ONNX, cut off, breaks ONNX's rules, or holds NaN or infinite weights.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(
            problem=f"There is no model at {path}.",
            found="a folder" if path.is_dir() else "nothing",
            fix="Give the path of an .onnx file.",
        )
    try:
        model = onnx.load(path)
    except (DecodeError, ValueError) as error:
        raise ModelError(
            problem=f"{path} is not an ONNX model, or is cut off.",
            found=f"{path.stat().st_size:,} bytes that do not parse ({error})",
            fix="Export it again, and compare the size of the file with the original's.",
        ) from error
    except OSError as error:
        raise ModelError(
            problem=f"The external weights of {path} cannot be read.",
            found=str(error),
            fix="Keep the weight files beside the .onnx file.",
        ) from error
    check_model(model, str(path))
    return model


def check_model(model: onnx.ModelProto, name: str) -> None:
    """Check a model against ONNX's rules and its weights for NaN and infinity.

    Raises:
        ModelError: What is wrong, and in which node or weight.
    """
    if not model.graph.node:
        raise ModelError(
            problem=f"{name} holds no graph.", found="no node", fix="Check that the file is an exported ONNX model."
        )
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ModelError(
            problem=f"{name} is not a valid ONNX model.",
            found=str(error).strip().splitlines()[0],
            fix="Export it again, at opset 17 or newer.",
        ) from error
    foreign = sorted({node.domain for node in model.graph.node if node.domain not in ("", "ai.onnx")})
    if foreign:
        raise ModelError(
            problem=f"{name} uses operators outside the ONNX standard.",
            found=", ".join(foreign),
            fix="Export with the default operator set only.",
        )
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            broken = int((~np.isfinite(values)).sum())
            raise ModelError(
                problem=f"{name} holds weights that are not finite.",
                found=f"{broken} NaN or infinite values of {values.size} in '{weight.name}'",
                fix="Find the training step that diverged; export a checkpoint from before it.",
            )


def input_of(model: onnx.ModelProto) -> tuple[str, tuple[int | None, ...]]:
    """Return name and shape of the model's one input; a free axis is None.

    Raises:
        ModelError: The model has several inputs, or one that is not float32.
    """
    weights = {weight.name for weight in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1 or inputs[0].type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        kinds = {
            value.name: onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower() for value in inputs
        }
        raise ModelError(
            problem="Models with one float32 input are supported.",
            found=", ".join(f"{name}: {kind}" for name, kind in kinds.items()) or "no input",
            fix="Export the network with the image as its only input.",
        )
    dims = inputs[0].type.tensor_type.shape.dim
    return inputs[0].name, tuple(dim.dim_value if dim.dim_value > 0 else None for dim in dims)


def with_input_shape(model: onnx.ModelProto, size: tuple[int, int] | None) -> onnx.ModelProto:
    """Return the model with every axis of its input fixed: batch 1, height and width from `size` where they are free.

    The two axes of a ranker's input are candidates and width, and `size` says both.

    Raises:
        ModelError: One of the two is free and `size` does not say it.
    """
    name, shape = input_of(model)
    if None not in shape:
        return model
    wanted: list[int | None] = list(shape)
    if len(shape) == 2 and size is not None:
        wanted = [extent or given for extent, given in zip(shape, size, strict=True)]
    wanted[0] = wanted[0] or 1
    if len(shape) == 4 and size is not None:
        channels_last = shape[3] in (1, 3)
        rows, columns = (1, 2) if channels_last else (2, 3)
        wanted[rows] = wanted[rows] or size[0]
        wanted[columns] = wanted[columns] or size[1]
    if None in wanted:
        raise ModelError(
            problem=f"The input '{name}' has no fixed shape.",
            found=str(tuple("?" if axis is None else axis for axis in shape)),
            fix="Set 'size = [height, width]' under [preprocessing] in the recipe, or export with a static shape.",
        )
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for value in fixed.graph.input:
        if value.name == name:
            for dim, extent in zip(value.type.tensor_type.shape.dim, wanted, strict=True):
                dim.dim_value = int(extent or 1)
    # Shapes recorded for the free batch would contradict the fixed one: they are inferred anew.
    del fixed.graph.value_info[:]
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    return fixed
