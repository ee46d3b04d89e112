"""ONNX's own node tests as models with one input, and the list of those that are left out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases
from onnx_ir.passes import common as passes

from edgekit.graph.operators import OPERATORS
from edgekit.graph.operators.dtypes import supported

ONLY_CONSTANTS = frozenset({"Constant"})
"""Operators that cleaning turns into initializers, as is done here."""

SKIPPED = {
    "test_training_dropout*": "dropout at training time",
    "test_batchnorm_*_training_mode": "BatchNormalization at training time",
    "test_cast*_to_*INT4*": "4-bit integers are made by QuantizeLinear, not by Cast",
    "test_reduce_m*_empty_set*": "an axis without values",
    "test_resize_downsample_scales_*_align_corners": (
        "expects a target size that was not rounded; ONNX Runtime and torch take the rounded one"
    ),
    "test_dynamicquantizelinear*_expanded": "the zero point depends on the input's values",
    "test_center_crop_pad_*_expanded": "a shape that depends on floating-point constants",
    "test_rotary_embedding*interleaved*_expanded": "a shape whose inference onnx leaves open",
    "test_*window*_expanded": "the only input is a size: there is no activation",
    "test_constantofshape_*": "the only input is a shape: there is no activation",
    "test_range_*": "the inputs are limits: there is no activation",
    "test_constant": "no input",
}
"""Name patterns of cases that are left out, and why."""


@dataclass(frozen=True)
class Case:
    """A node test with all inputs but the first as initializers.

    Attributes:
        name: ONNX's name of it.
        model: The model.
        value: The input.
        expected: Outputs by name.
        rtol: Relative tolerance.
        atol: Absolute tolerance.
    """

    name: str
    model: onnx.ModelProto
    value: NDArray[Any]
    expected: dict[str, NDArray[Any]]
    rtol: float
    atol: float

    @property
    def operators(self) -> set[str]:
        return {node.op_type for node in self.model.graph.node}


def all_cases() -> list[Any]:
    """Return ONNX's node tests."""
    with warnings.catch_warnings():
        # Some cases divide by zero on purpose while they are made.
        warnings.simplefilter("ignore")
        return [case for case in collect_testcases(None) if case.model is not None]


def reason_to_skip(case: Any) -> str:
    """Return why a case is not run; empty where it is."""
    foreign = {entry.domain for entry in case.model.opset_import} - {"", "ai.onnx"}
    if foreign:
        return "operators outside the ONNX standard"
    missing = {node.op_type for node in case.model.graph.node} - set(OPERATORS) - ONLY_CONSTANTS
    if missing:
        return "operators that EdgeKit does not run"
    for inputs, outputs in case.data_sets:
        if any(value is None or isinstance(value, list) for value in (*inputs, *outputs)):
            return "sequences and optional values"
        unsupported = {name for value in (*inputs, *outputs) if not supported(name := _array(value).dtype.name)}
        if unsupported:
            return "element types that torch does not compute with"
    return next((reason for pattern, reason in SKIPPED.items() if fnmatch(case.name, pattern)), "")


def runnable(case: Any) -> Iterator[Case]:
    """Turn a case into models with one input, one for each data set."""
    for inputs, outputs in case.data_sets:
        names = [value.name for value in case.model.graph.input]
        model = onnx.ModelProto()
        model.CopyFrom(case.model)
        del model.graph.input[1:]
        rest = zip(names[1:], inputs[1:], strict=True)
        model.graph.initializer.extend(numpy_helper.from_array(_array(value), name) for name, value in rest)
        half = _array(inputs[0]).dtype.name in ("float16", "bfloat16")
        yield Case(
            case.name,
            _with_named_nodes(model),
            _array(inputs[0]),
            {value.name: _array(array) for value, array in zip(case.model.graph.output, outputs, strict=True)},
            rtol=max(case.rtol, 1e-2) if half else case.rtol,
            atol=max(case.atol, 2e-3) if half else max(case.atol, 1e-6),
        )


def _with_named_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    if any(node.op_type in ONLY_CONSTANTS for node in model.graph.node):
        graph = ir.from_proto(model)
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(graph)
        model = onnx.shape_inference.infer_shapes(ir.to_proto(graph), data_prop=True)
    for number, node in enumerate(model.graph.node):
        node.name = f"node_{number}"
    return model


def _array(value: Any) -> NDArray[Any]:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)
