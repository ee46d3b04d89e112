"""A white page to draw charts and lettering on, with OpenCV alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Color = tuple[int, int, int]
"""Blue, green, red."""

PAPER: Color = (255, 255, 255)
INK: Color = (40, 36, 33)
FADED: Color = (140, 134, 130)

_FINE = 2
"""Drawn so many times as large and shrunk: OpenCV's lettering is coarse at its own size."""


def png(picture: Image) -> bytes:
    """Return a picture as a PNG file's bytes."""
    import cv2

    return bytes(cv2.imencode(".png", picture)[1].tobytes())


class Page:
    """A white page to write and draw on, in px of the finished picture."""

    def __init__(self, width: int, height: int) -> None:
        self._pixels: Image = np.full((height * _FINE, width * _FINE, 3), PAPER, np.uint8)

    def box(self, left: int, top: int, right: int, bottom: int, color: Color) -> None:
        """Fill a rectangle."""
        self._pixels[top * _FINE : bottom * _FINE, left * _FINE : right * _FINE] = color

    def text(
        self, x: int, y: int, text: str, ink: Color = INK, *, size: float = 0.46, bold: bool = False, align: float = 0
    ) -> None:
        """Write with the baseline at y; `align` 0 begins at x, 1 ends there."""
        import cv2

        left = x * _FINE - round(align * self.width(text, size) * _FINE)
        cv2.putText(
            self._pixels,
            text,
            (left, y * _FINE),
            cv2.FONT_HERSHEY_SIMPLEX,
            size * _FINE,
            ink,
            3 if bold else 2,
            cv2.LINE_AA,
        )

    def width(self, text: str, size: float = 0.46) -> int:
        """Return how wide a text is."""
        import cv2

        return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size * _FINE, 2)[0][0]) // _FINE

    def shorten(self, text: str, width: int) -> str:
        """Cut out the middle of a text that is wider than it may be."""
        if self.width(text) <= width:
            return text
        kept = len(text)
        while self.width(shortened := f"{text[: kept // 3]}...{text[-(kept - kept // 3) :]}") > width:
            kept -= 1
        return shortened

    def picture(self) -> Image:
        """Return the page as a picture (H, W, 3), BGR."""
        import cv2

        height, width = self._pixels.shape[:2]
        small = cv2.resize(self._pixels, (width // _FINE, height // _FINE), interpolation=cv2.INTER_AREA)
        return np.asarray(small, np.uint8)
