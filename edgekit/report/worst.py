"""The frames that quantization distorts most, drawn: what floating point saw and what 8 bit sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from edgekit.frames import Frame, FrameSource
from edgekit.report.overlay import draw_comparison
from edgekit.tasks.base import Scene


def draw_frames(
    frames: FrameSource,
    captions: Mapping[str, str],
    scenes: Callable[[Frame], tuple[Scene, Scene]],
    folder: Path,
    label: str = "INT8",
) -> list[str]:
    """Draw some frames with both scenes over each other.

    Args:
        frames: Where they are found.
        captions: Name of each frame to draw, in the order of the pictures, and what its caption says.
        scenes: Gives the floating-point and the quantized scene of a frame.
        folder: An existing folder; pictures are named 1.jpg, 2.jpg, ...
        label: What the quantized model is called in them.

    Returns:
        The names of the pictures, in order.
    """
    import cv2

    order = list(captions)
    for frame in frames:
        if frame.name in captions:
            caption = (Path(frame.name).name, captions[frame.name])
            picture = draw_comparison(frame.values, *scenes(frame), caption=caption, names=("FP32", label))
            encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
            (folder / f"{order.index(frame.name) + 1}.jpg").write_bytes(encoded.tobytes())
    return [f"{position}.jpg" for position in range(1, len(order) + 1)]
