"""Drawing of filled shapes with sub-pixel edges."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgekit.reference.scenery import Color

Picture = NDArray[np.uint8]

_SHIFT = 4


def fill(picture: Picture, outline: ArrayLike, color: Color, alpha: float = 1.0) -> None:
    """Fill a polygon (N, 2), x and y in px, in place."""
    height, width = picture.shape[:2]
    points = np.asarray(outline, np.float64)
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    if right < 0 or bottom < 0 or left >= width or top >= height:
        return
    if alpha == 1.0:
        fixed = np.round(points * (1 << _SHIFT)).astype(np.int32)
        cv2.fillPoly(picture, [fixed], color, cv2.LINE_AA, _SHIFT)
        return
    x, y = max(int(left), 0), max(int(top), 0)
    region = picture[y : int(bottom) + 2, x : int(right) + 2]
    painted = region.copy()
    fill(painted, points - (x, y), color)
    cv2.addWeighted(painted, alpha, region, 1 - alpha, 0, dst=region)


def disc(picture: Picture, center: ArrayLike, radii: tuple[float, float], color: Color, alpha: float = 1.0) -> None:
    """Fill an ellipse around `center` in px, in place."""
    angle = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    fill(picture, np.asarray(center) + np.stack([np.cos(angle), np.sin(angle)], -1) * radii, color, alpha)


def shade(color: Color, factor: float) -> Color:
    """Return a color made lighter or darker."""
    blue, green, red = (min(channel * factor, 255.0) for channel in color)
    return blue, green, red
