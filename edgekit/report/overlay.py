"""Draw what was decoded onto the camera frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import DataError
from edgekit.tasks.base import Lane, Scene

Image = NDArray[np.uint8]
Color = tuple[int, int, int]

# BGR, after Okabe and Ito's palette, which stays distinct to people who are colour-blind; neighbours differ most.
LANE_COLORS: tuple[Color, ...] = (
    (86, 214, 0),
    (0, 159, 255),
    (233, 180, 86),
    (66, 228, 240),
    (167, 121, 225),
    (72, 96, 255),
    (210, 130, 40),
)
MASK_COLORS: tuple[Color, ...] = ((178, 200, 40), (0, 120, 255), (167, 121, 225), (66, 228, 240))
REFERENCE_COLOR: Color = (255, 170, 40)
CANDIDATE_COLOR: Color = (0, 140, 255)
_INK: Color = (24, 24, 24)
_PAPER: Color = (245, 245, 245)
_SUBPIXEL_BITS = 4


def draw_scene(frame: Image, scene: Scene, *, caption: Sequence[str] = ()) -> Image:
    """Draw lanes and masks on a copy of the frame.

    Args:
        frame: The camera frame, (H, W, 3) BGR.
        scene: What was decoded from it.
        caption: Parts of a line of text, for instance model, precision and latency; none draws none.

    Returns:
        The picture, (H, W, 3) BGR.

    Raises:
        DataError: The scene was decoded from a frame of another size.
    """
    picture = _canvas(frame, scene)
    for index, mask in enumerate(scene.masks.values()):
        _tint(picture, mask, scene, MASK_COLORS[index % len(MASK_COLORS)])
    for index, lane in enumerate(scene.lanes):
        _line(picture, lane, LANE_COLORS[index % len(LANE_COLORS)])
    _caption(picture, caption)
    return picture


def draw_comparison(
    frame: Image,
    reference: Scene,
    candidate: Scene,
    *,
    names: tuple[str, str] = ("FP32", "INT8"),
    caption: Sequence[str] = (),
) -> Image:
    """Draw two scenes of one frame over each other: where they agree, the candidate lies inside the reference.

    Args:
        frame: The camera frame, (H, W, 3) BGR.
        reference: Drawn broad, below; masks in its colour where the candidate lacks them.
        candidate: Drawn narrow, on top; masks in its colour where the reference lacks them.
        names: What the legend calls the two.
        caption: Parts of a line of text; none draws none.

    Returns:
        The picture, (H, W, 3) BGR.

    Raises:
        DataError: A scene was decoded from a frame of another size.
    """
    picture = _canvas(frame, reference, candidate)
    for label, mask in reference.masks.items():
        _tint(picture, mask & ~candidate.masks[label], reference, REFERENCE_COLOR)
        _tint(picture, candidate.masks[label] & ~mask, candidate, CANDIDATE_COLOR)
    for lane in reference.lanes:
        _line(picture, lane, REFERENCE_COLOR, broad=2.2)
    for lane in candidate.lanes:
        _line(picture, lane, CANDIDATE_COLOR, broad=0.8)
    _legend(picture, zip(names, (REFERENCE_COLOR, CANDIDATE_COLOR), strict=True))
    _caption(picture, caption)
    return picture


def _canvas(frame: Image, *scenes: Scene) -> Image:
    """Return a copy of the frame to draw the scenes on."""
    for scene in scenes:
        height, width = scene.geometry.frame_size
        if frame.shape != (height, width, 3):
            raise DataError(
                problem="The lanes cannot be drawn on this frame.",
                found=f"a frame of {' x '.join(map(str, frame.shape))}, lanes for a frame of {height} x {width} x 3",
                fix="Draw a scene on the frame that it was decoded from.",
            )
    return np.array(frame, np.uint8, order="C")


def _tint(picture: Image, mask: NDArray[np.bool_], scene: Scene, color: Color) -> None:
    """Lay a translucent colour where the mask, (H, W) at the input's size, is set."""
    import cv2

    (scale_x, scale_y), (left, top) = scene.geometry.scale, scene.geometry.offset
    # Pixel centres lie at half a pixel, at the input as in the frame.
    to_frame = np.array(
        [[scale_x, 0, left + (scale_x - 1) / 2], [0, scale_y, top + (scale_y - 1) / 2]], dtype=np.float64
    )
    height, width = picture.shape[:2]
    opacity = cv2.warpAffine(mask.astype(np.float32), to_frame, (width, height), flags=cv2.INTER_LINEAR)
    seen = opacity > 0
    weight = 0.4 * opacity[seen][:, None]
    picture[seen] = (picture[seen] * (1 - weight) + np.array(color) * weight).astype(np.uint8)


def _line(picture: Image, lane: Lane, color: Color, *, broad: float = 1.0) -> None:
    """Draw a smooth line with a thin dark outline, which keeps it visible on a bright road."""
    import cv2

    points = [np.rint(lane.points * (1 << _SUBPIXEL_BITS)).astype(np.int32)]
    core = max(1, round(4 * broad * _unit(picture)))
    outline = max(1, round(_unit(picture)))
    for thickness, ink in ((core + 2 * outline, _INK), (core, color)):
        cv2.polylines(picture, points, False, ink, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)


def _caption(picture: Image, parts: Sequence[str]) -> None:
    """Write the parts on a dark band in the left upper corner, the first in bright ink."""
    if parts:
        inks = [_PAPER, *[(190, 190, 190)] * (len(parts) - 1)]
        _write(picture, [(part, ink, None) for part, ink in zip(parts, inks, strict=True)], align_right=False)


def _legend(picture: Image, entries: Iterable[tuple[str, Color]]) -> None:
    """Name colours in the right upper corner."""
    _write(picture, [(name, _PAPER, color) for name, color in entries], align_right=True)


def _write(picture: Image, entries: list[tuple[str, Color, Color | None]], *, align_right: bool) -> None:
    """Write (text, ink, colour of a swatch before it) side by side on a darkened band."""
    import cv2

    unit = _unit(picture)
    font: dict[str, Any] = {"fontFace": cv2.FONT_HERSHEY_SIMPLEX, "fontScale": 0.75 * unit}
    thickness = max(1, round(1.6 * unit))
    gap, swatch = round(18 * unit), round(26 * unit)
    widths = [cv2.getTextSize(text, thickness=thickness, **font)[0][0] for text, _, _ in entries]
    swatches = [0 if color is None else swatch + gap // 2 for _, _, color in entries]
    width = sum(widths) + sum(swatches) + gap * (len(entries) + 1)
    height = round(46 * unit)
    margin = round(14 * unit)
    left = picture.shape[1] - margin - width if align_right else margin
    band = picture[margin : margin + height, max(left, 0) : max(left, 0) + width]
    band[:] = (band * 0.3 + np.array(_INK) * 0.7).astype(np.uint8)
    x, baseline = left + gap, margin + round(31 * unit)
    for (text, ink, color), text_width, space in zip(entries, widths, swatches, strict=True):
        if color is not None:
            middle = margin + height // 2
            cv2.line(picture, (x, middle), (x + swatch, middle), color, max(2, round(6 * unit)), cv2.LINE_AA)
        cv2.putText(picture, text, (x + space, baseline), color=ink, thickness=thickness, lineType=cv2.LINE_AA, **font)
        x += space + text_width + gap


def _unit(picture: Image) -> float:
    """Return the size of a drawing unit: 1 px in a picture of 1280 x 720."""
    return float(max(0.4, min(picture.shape[0] / 720, picture.shape[1] / 1280)))
