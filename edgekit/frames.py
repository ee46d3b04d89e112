"""Camera frames from a folder, a video, an .npz or a list file, and requests of a ranker from .npz, one at a time."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit.archives import ArchiveArray
from edgekit.errors import DataError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mkv", ".mov", ".m4v", ".webm"})
MAX_UNREADABLE = 0.1


@dataclass(frozen=True)
class Frame:
    """What a network sees at once: one camera frame, or one request of a ranker.

    Attributes:
        name: File name, or source name and index.
        values: (H, W, 3) uint8, BGR; of a request the rows of its candidates, (candidates, width) float32.
    """

    name: str
    values: NDArray[Any]


class FrameSource(Protocol):
    """Anything that yields frames in a fixed order, again and again."""

    @property
    def skipped(self) -> Sequence[str]:
        """Names of the frames that could not be read so far."""
        ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Frame]: ...

    def spread(self, count: int) -> FrameSource:
        """Return at most `count` frames, evenly spread over these, in the same order."""
        ...

    def split(self, every: int) -> tuple[FrameSource, FrameSource]:
        """Return (the rest, every `every`-th frame)."""
        ...

    def digest(self) -> str:
        """Return the SHA-256 of the data, hexadecimal; equal for equal frames in equal order."""
        ...


Reader = Callable[[int], NDArray[Any] | None]


class Frames:
    """Frames that are read when they are iterated over, never all in memory.

    An unreadable frame is left out and noted in `skipped`, which parts of these frames share; more than a tenth of
    them unreadable is an error.

    Attributes:
        skipped: Names of the frames that could not be read so far, in these frames or a part of them.
    """

    def __init__(self, names: Sequence[str], read: Reader, digest: Callable[[Sequence[int]], str]) -> None:
        self._names = names
        self._read = read
        self._digest = digest
        self._indices: Sequence[int] = range(len(names))
        self.skipped: list[str] = []

    @classmethod
    def open(cls, path: str | Path) -> Frames:
        """Open a folder of images, a video, an .npz file or a .txt list of images.

        An .npz file holds `frames`, N x H x W x 3 uint8, or for a ranker its requests, N x candidates x width float32.
        A folder without images may hold such files.

        Raises:
            DataError: There is nothing there, or nothing that is a frame.
        """
        path = Path(path)
        if path.is_dir():
            files = sorted(path.rglob("*"))
            images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
            archives = [file for file in files if file.suffix.lower() == ".npz"]
            return _of_archives(archives) if archives and not images else _of_images(images, path)
        if not path.exists():
            raise DataError(
                problem=f"There are no frames at {path}.",
                fix="Give a folder of images, a video, an .npz file or a .txt list of image paths.",
            )
        suffix = path.suffix.lower()
        if suffix == ".txt":
            return _of_images(_listed(path), path)
        if suffix == ".npz":
            return _of_archives([path])
        if suffix in VIDEO_SUFFIXES:
            return _of_video(path)
        if suffix in IMAGE_SUFFIXES:
            return _of_images([path], path)
        raise DataError(
            problem=f"{path} is not a source of frames.",
            found=f"a file with the suffix '{suffix}'",
            fix="Give a folder of images, a video, an .npz file or a .txt list of image paths.",
        )

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[Frame]:
        unreadable: list[str] = []
        for index in self._indices:
            values = self._read(index)
            if values is None:
                unreadable.append(self._names[index])
                self._note(unreadable)
            else:
                yield Frame(self._names[index], values)

    def spread(self, count: int) -> Frames:
        """Return at most `count` frames, evenly spread over these, in the same order."""
        keep = min(count, len(self))
        return self._subset([self._indices[(i * len(self)) // keep] for i in range(keep)])

    def split(self, every: int) -> tuple[Frames, Frames]:
        """Return (the rest, every `every`-th frame): for instance to calibrate on and to check on."""
        held_out = self._indices[every - 1 :: every]
        rest = [index for position, index in enumerate(self._indices) if position % every != every - 1]
        return self._subset(rest), self._subset(held_out)

    def digest(self) -> str:
        """Return the SHA-256 of the stored data of these frames, hexadecimal."""
        return self._digest(self._indices)

    def _subset(self, indices: Sequence[int]) -> Frames:
        frames = Frames(self._names, self._read, self._digest)
        frames._indices = indices
        frames.skipped = self.skipped
        return frames

    def _note(self, unreadable: Sequence[str]) -> None:
        if unreadable[-1] not in self.skipped:
            self.skipped.append(unreadable[-1])
        if len(unreadable) > max(1, int(MAX_UNREADABLE * len(self))) or len(unreadable) == len(self):
            raise DataError(
                problem=f"{len(unreadable)} of {len(self)} frames cannot be read; at most a tenth may be.",
                found=", ".join(unreadable[:5]),
                fix="Remove or mend these files: a calibration on what is left would not stand for the data.",
            )


def _of_images(files: Sequence[Path], source: Path) -> Frames:
    if not files:
        raise DataError(
            problem=f"There are no images in {source}.",
            found="no file ending in " + ", ".join(sorted(IMAGE_SUFFIXES)),
            fix="Give a folder (subfolders are read as well) or a list that names at least one image.",
        )

    def read(index: int) -> NDArray[np.uint8] | None:
        import cv2

        try:
            encoded = np.fromfile(files[index], np.uint8)
        except OSError:
            return None
        return _pixels(cv2.imdecode(encoded, cv2.IMREAD_COLOR)) if encoded.size and _is_whole(encoded) else None

    base = source if source.is_dir() else source.parent
    names = [str(file.relative_to(base)) if file.is_relative_to(base) else str(file) for file in files]
    return Frames(names, read, lambda indices: _digest_of(files[index] for index in indices))


def _is_whole(encoded: NDArray[np.uint8]) -> bool:
    """Whether a JPEG has its end marker: OpenCV fills what is missing with grey and says nothing."""
    is_jpeg = encoded[:2].tobytes() == b"\xff\xd8"
    return not is_jpeg or b"\xff\xd9" in encoded[-4096:].tobytes()


def _listed(path: Path) -> list[Path]:
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return [path.parent / line for line in lines if line and not line.startswith("#")]


def _of_archives(files: Sequence[Path]) -> Frames:
    """Join the arrays of several files; all of them hold frames, or all of them requests of one width."""
    arrays = [_array_in(file) for file in files]
    kinds = {(array.dtype, array.shape[1:] if array.dtype != np.uint8 else ()) for array in arrays}
    if len(kinds) > 1:
        raise DataError(
            problem=f"The archives in {files[0].parent} do not belong together.",
            found=", ".join(
                f"{file.name} {array.dtype} {array.shape}" for file, array in zip(files, arrays, strict=True)
            ),
            fix="Keep frames apart from requests, and requests of a kind in a folder of their own.",
        )
    places = [(which, index) for which, array in enumerate(arrays) for index in range(array.shape[0])]

    def read(index: int) -> NDArray[Any] | None:
        which, place = places[index]
        return arrays[which].read(place)

    names = [f"{files[which].name}[{index}]" for which, index in places]
    if len(files) == 1:
        return Frames(names, read, lambda indices: _digest_of_part(files[0], indices))
    return Frames(names, read, lambda indices: _digest_of_parts(files, [places[index] for index in indices]))


def _array_in(path: Path) -> ArchiveArray:
    """Return an archive's frames or requests.

    Raises:
        DataError: There are none in it.
    """
    try:
        array = ArchiveArray(path)
        shape = array.shape
        pictures = len(shape) == 4 and shape[-1] == 3 and array.dtype == np.uint8
        requests = len(shape) == 3 and array.dtype == np.float32
        if not (pictures or requests) or 0 in shape:
            message = f"{array.member}: {array.dtype} {shape}"
            raise ValueError(message)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(
            problem=f"{path} does not hold frames.",
            found=str(error),
            fix="Store one array named 'frames' of shape (N, H, W, 3), uint8, BGR, in C order, with np.savez; or for a "
            "ranker its requests, (requests, candidates, width), float32.",
        ) from error
    return array


def _of_video(path: Path) -> Frames:
    import cv2

    capture = cv2.VideoCapture(str(path))
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    if count <= 0:
        raise DataError(
            problem=f"{path} cannot be played.",
            found="OpenCV finds no frame in it",
            fix="Check the file, or turn it into a folder of images.",
        )
    position = 0

    def read(index: int) -> NDArray[np.uint8] | None:
        # Seeking is slow and inexact in many codecs: frames in between are grabbed, only going back rewinds.
        nonlocal position
        if index < position:
            capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
            position = 0
        while position < index:
            capture.grab()
            position += 1
        position += 1
        return _pixels(capture.read()[1])

    names = [f"{path.name}#{index:06d}" for index in range(count)]
    return Frames(names, read, lambda indices: _digest_of_part(path, indices))


def _pixels(image: Any) -> NDArray[np.uint8] | None:
    return None if image is None else np.asarray(image, np.uint8)


def _digest_of_parts(files: Sequence[Path], places: Sequence[tuple[int, int]]) -> str:
    return hashlib.sha256(f"{_digest_of(files)} {places}".encode()).hexdigest()


def _digest_of_part(path: Path, indices: Sequence[int]) -> str:
    return hashlib.sha256(f"{_digest_of([path])} {list(indices)}".encode()).hexdigest()


def _digest_of(files: Iterable[Path]) -> str:
    """Hash each file's own digest, so that moving bytes from one file to the next changes the result."""
    return hashlib.sha256(b"".join(_file_digest(file) for file in files)).hexdigest()


def _file_digest(file: Path) -> bytes:
    digest = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError:
        return b"unreadable"
    return digest.digest()
