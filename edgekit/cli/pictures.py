"""Where drawn frames go: a folder of pictures, or a video."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import DataError, OutputError
from edgekit.frames import VIDEO_SUFFIXES
from edgekit.output import new_file, new_folder

Image = NDArray[np.uint8]
Sink = Callable[[str, Image], None]
"""Takes a frame's name and the picture, (H, W, 3) BGR."""

_JPEG_QUALITY = 92


@contextmanager
def writing(out: Path, fps: float, overwrite: bool) -> Iterator[Sink]:
    """Give a sink for pictures; what they become is there when the block ends well, and nothing otherwise.

    Args:
        out: FILE.mp4, or a folder.
        fps: Pictures a second of a video.
        overwrite: Replace what is there.

    Raises:
        OutputError: It exists already, or cannot be written.
        DataError: Pictures of a video differ in size.
    """
    if out.suffix.lower() == ".mp4":
        with new_file(out, overwrite) as draft, _video(draft, out, fps) as sink:
            yield sink
    elif out.suffix:
        raise OutputError(
            problem=f"{out} is neither a video nor a folder.",
            found=f"the suffix '{out.suffix}'",
            fix="Give a path that ends in .mp4, or one without a suffix for a folder of pictures.",
        )
    else:
        with new_folder(out, overwrite) as draft:
            yield lambda name, picture: _write(draft / _file_name(name), picture)


@contextmanager
def _video(draft: Path, out: Path, fps: float) -> Iterator[Sink]:
    import cv2

    writer: Any = None
    size, count = (0, 0), 0

    def sink(name: str, picture: Image) -> None:
        nonlocal writer, size, count
        if writer is None:
            size = (picture.shape[1], picture.shape[0])
            writer = cv2.VideoWriter(str(draft), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
        if size != (picture.shape[1], picture.shape[0]):
            # OpenCV would leave such a frame out and say nothing.
            raise DataError(
                problem="The frames of a video must have one size.",
                found=f"{name} is {picture.shape[1]} x {picture.shape[0]} px, the first {size[0]} x {size[1]} px",
                fix="Write pictures to a folder instead.",
            )
        writer.write(picture)
        count += 1

    try:
        yield sink
    finally:
        if writer is not None:
            writer.release()
    if count and _playable(draft) != count:
        raise OutputError(
            problem=f"{out} cannot be written.",
            found=f"OpenCV wrote {_playable(draft)} of {count} frames",
            fix="Free some disk space, look at `edgekit doctor` for the formats that work here, or write to a folder.",
        )


def _playable(video: Path) -> int:
    import cv2

    capture = cv2.VideoCapture(str(video))
    try:
        return int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    finally:
        capture.release()


def _write(path: Path, picture: Image) -> None:
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    _, encoded = cv2.imencode(path.suffix, picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    path.write_bytes(encoded.tobytes())


def _file_name(name: str) -> PurePath:
    """Keep the frame's name, inside of the folder: a list may name frames by absolute paths, or through `..`."""
    parts = PurePath(name).parts
    inside = PurePath(*(part for part in parts if part not in ("..", PurePath(name).anchor)))
    return inside if inside.suffix.lower() in (".jpg", ".jpeg", ".png") else PurePath(f"{inside}.jpg")


def frames_per_second(data: Path | None, otherwise: float = 10.0) -> float:
    """Return the frame rate of a video, and a slow one for anything else."""
    import cv2

    if data is None or data.suffix.lower() not in VIDEO_SUFFIXES:
        return otherwise
    capture = cv2.VideoCapture(str(data))
    try:
        rate = float(capture.get(cv2.CAP_PROP_FPS)) if capture.isOpened() else 0.0
    finally:
        capture.release()
    return rate if rate > 0 else otherwise
