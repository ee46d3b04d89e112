"""From what a network sees, a camera frame or a ranker's request, to its input."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import DataError, UsageError
from edgekit.recipes import Preprocessing
from edgekit.runtime.preprocessing import Preprocessor
from edgekit.tasks.base import FrameGeometry


class Prepare(Protocol):
    """Makes a network's input; keeps no state between calls."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the network's input."""
        ...

    def __call__(self, values: NDArray[Any], /) -> NDArray[np.float32]:
        """Return the network's input, contiguous float32.

        Raises:
            DataError: The values are of another kind.
        """
        ...

    def geometry(self, frame_size: tuple[int, int]) -> FrameGeometry:
        """Return where the network's input lies in what it was made from, of that height and width."""
        ...

    def example(self, frame_size: tuple[int, int]) -> NDArray[Any]:
        """Return values of that height and width that take as long to prepare as any."""
        ...


class RowPreprocessor:
    """Checks the rows of a ranker's candidates, which are its input as they are.

    Args:
        input_shape: The model's input, (candidates, width).

    Raises:
        UsageError: The model's input has another number of axes.
    """

    def __init__(self, input_shape: tuple[int, ...]) -> None:
        if len(input_shape) != 2:
            raise UsageError(
                problem="The model's input does not take rows of features.",
                found=f"input {' x '.join(map(str, input_shape))}; a ranker's is candidates x width",
                fix="Export the ranker without its embedding tables, with one input (candidates, width).",
            )
        self.input_shape = input_shape

    def __call__(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Return the rows (candidates, width), contiguous float32.

        Raises:
            DataError: They have another shape, are no floats, or hold NaN or infinity.
        """
        rows = np.asarray(values)
        if rows.shape != self.input_shape or rows.dtype.kind != "f":
            raise DataError(
                problem="This is no request of this ranker.",
                found=f"{rows.dtype} {' x '.join(map(str, rows.shape))}",
                fix=f"Give the rows of {self.input_shape[0]} candidates, {self.input_shape[1]} floats each: a request "
                "with fewer candidates is filled up by repeating them.",
            )
        if not np.isfinite(rows).all():
            row, column = np.argwhere(~np.isfinite(rows))[0].tolist()
            raise DataError(
                problem="A request holds what is no finite number.",
                found=f"{rows[row, column]} in row {row}, column {column}",
                fix="Encode the request with edgekit.features, where a missing value has a row of its own.",
            )
        return np.array(rows, np.float32, order="C")

    def geometry(self, frame_size: tuple[int, int]) -> FrameGeometry:
        """Return that rows stay where they are."""
        return FrameGeometry(frame_size, frame_size, (1.0, 1.0), (0.0, 0.0))

    def example(self, frame_size: tuple[int, int]) -> NDArray[np.float32]:
        """Return rows of zeros."""
        return np.zeros(frame_size, np.float32)


def preprocessor_for(preprocessing: Preprocessing, input_shape: tuple[int, ...]) -> Prepare:
    """Return what a recipe's preprocessing asks for.

    Raises:
        UsageError: It does not fit the model's input.
    """
    if preprocessing.kind == "features":
        return RowPreprocessor(tuple(input_shape))
    return Preprocessor(preprocessing, input_shape)
