"""Arrays of many frames on disk: memory does not grow with the number of frames."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


class SampleFile:
    """One file of float32 samples, each a set of named arrays of the same names and shapes; read one at a time.

    Args:
        path: The file; it is written anew.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._path.write_bytes(b"")
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Add a sample.

        Raises:
            ValueError: Its names or shapes are not those of the samples before.
        """
        shapes = {name: array.shape for name, array in arrays.items()}
        if self._count and shapes != self._shapes:
            message = f"a sample of {shapes} among samples of {self._shapes}"
            raise ValueError(message)
        self._shapes = shapes
        with self._path.open("ab") as stream:
            for array in arrays.values():
                stream.write(np.ascontiguousarray(array, np.float32).tobytes())
        self._count += 1

    def read(self, index: int, device: torch.device | str = "cpu") -> dict[str, torch.Tensor]:
        """Return a sample as tensors on a device.

        Raises:
            IndexError: There are fewer samples.
        """
        if not 0 <= index < self._count:
            message = f"sample {index} of {self._count}"
            raise IndexError(message)
        sizes = {name: int(np.prod(shape, dtype=np.int64)) for name, shape in self._shapes.items()}
        length = sum(sizes.values())
        values = np.fromfile(self._path, np.float32, length, offset=4 * length * index)
        parts = np.split(values, np.cumsum(list(sizes.values()))[:-1])
        return {
            name: torch.from_numpy(part.reshape(self._shapes[name])).to(device)
            for name, part in zip(sizes, parts, strict=True)
        }
