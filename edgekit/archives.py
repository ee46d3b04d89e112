"""One array in an .npz file, read item by item: an archive may be larger than memory."""

from __future__ import annotations

import io
import weakref
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class ArchiveArray:
    """The array `frames` of an .npz file, or its first array where none has that name.

    Args:
        path: The file. It stays open as long as this object lives.

    Attributes:
        shape: Of the whole array.
        dtype: Of its values.

    Raises:
        OSError: The file cannot be read.
        ValueError: It holds no array in C order.
        zipfile.BadZipFile: It is no .npz file.
    """

    def __init__(self, path: Path) -> None:
        self.member, self.shape, self.dtype, self._start = _header(path)
        self._stream = zipfile.ZipFile(path).open(self.member)  # noqa: SIM115 - read from as long as this lives
        # Not left to the garbage collector, which may warn of an open file that other garbage refers to.
        weakref.finalize(self, self._stream.close)

    def read(self, index: int) -> NDArray[Any] | None:
        """Return one item along the first axis; none where it cannot be read."""
        size = int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize
        try:
            self._stream.seek(self._start + index * size)
            data = self._stream.read(size)
        except (OSError, zipfile.BadZipFile):
            return None
        return np.frombuffer(data, self.dtype).reshape(self.shape[1:]) if len(data) == size else None


def _header(path: Path) -> tuple[str, tuple[int, ...], np.dtype[Any], int]:
    """Return member name, shape, type and first data byte of an archive's array, without reading it."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        member = "frames.npy" if "frames.npy" in names or not names else names[0]
        with archive.open(member) if names else io.BytesIO() as stream:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran_order, dtype = read(stream)
            if fortran_order or dtype.hasobject:
                message = f"{member}: {dtype} {shape} in Fortran order" if fortran_order else f"{member}: {dtype}"
                raise ValueError(message)
            return member, shape, dtype, stream.tell()
