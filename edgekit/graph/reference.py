"""Run an ONNX model under ONNX Runtime on the CPU: the reference that every other result is held against."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgekit.engines import import_onnxruntime, new_session
from edgekit.errors import ModelError


class ReferenceRun:
    """A model under ONNX Runtime's CPU provider.

    Args:
        model: The model, or its bytes.
        threads: Threads of one operator; 0 leaves it to the engine.

    Attributes:
        input_name: Name of the one input.
        input_shape: Its static shape.
        output_names: Names of the outputs, in order.

    Raises:
        ModelError: ONNX Runtime does not accept the model.
    """

    def __init__(self, model: onnx.ModelProto | bytes, threads: int = 0) -> None:
        onnxruntime = import_onnxruntime()
        content = model if isinstance(model, bytes) else model.SerializeToString()
        try:
            self._session = new_session(onnxruntime, content, threads)
        except Exception as error:  # onnxruntime's exceptions share no base of their own
            raise ModelError(
                problem="ONNX Runtime does not accept the model.",
                found=str(error).strip().splitlines()[0],
                fix="Export it with operators of ONNX's default set, at opset 17 or newer.",
            ) from error
        self.input_name: str = self._session.get_inputs()[0].name
        self.input_shape: tuple[int, ...] = tuple(self._session.get_inputs()[0].shape)
        self.output_names: tuple[str, ...] = tuple(output.name for output in self._session.get_outputs())

    def __call__(self, values: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """Run once; returns the outputs by name."""
        return dict(zip(self.output_names, self._session.run(None, {self.input_name: values}), strict=True))
