"""ONNX's dtypes in torch. What torch lacks, or hardly computes with, is held in the next wider dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

_TORCH = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
    "bool": torch.bool,
    "int4": torch.int8,
    "int8": torch.int8,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
    "uint4": torch.uint8,
    "uint8": torch.uint8,
    "uint16": torch.int32,
    "uint32": torch.int64,
    "uint64": torch.int64,
}

INTEGER_LIMITS = {
    "int4": (-8, 7),
    "uint4": (0, 15),
    "int8": (-128, 127),
    "uint8": (0, 255),
    "int16": (-(2**15), 2**15 - 1),
    "uint16": (0, 2**16 - 1),
}
"""The dtypes that QuantizeLinear writes, with their smallest and largest value."""


def to_tensor(values: NDArray[Any]) -> torch.Tensor:
    """Return a copy of an initializer as a tensor.

    Raises:
        KeyError: Its dtype has no counterpart in torch; `supported` tells before.
    """
    dtype = _TORCH[values.dtype.name]
    wide = values.astype(np.float32) if values.dtype.name == "bfloat16" else values
    if wide.dtype.name in ("int4", "uint4", "uint16", "uint32", "uint64"):
        wide = wide.astype(np.int64)
    return torch.from_numpy(np.array(wide)).to(dtype)


def supported(name: str) -> bool:
    """Say whether a dtype, by numpy's name, can be held in a tensor."""
    return name in _TORCH


def dtype_name(element_type: int) -> str:
    """Return numpy's name of an ONNX element type."""
    return str(onnx.helper.tensor_dtype_to_np_dtype(element_type).name)


def torch_dtype(name: str) -> torch.dtype:
    """Return the dtype that stands for numpy's name in torch."""
    return _TORCH[name]
