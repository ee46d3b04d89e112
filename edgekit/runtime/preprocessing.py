"""From a camera frame to the network's input, and where that input lies in the frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import DataError, UsageError
from edgekit.recipes import Preprocessing
from edgekit.tasks.base import FrameGeometry

PAD_VALUE = 114
"""The grey that a letterbox is filled with, before normalization: what YOLO and the networks after it are trained with
(`letterbox(color=(114, 114, 114))`, github.com/ultralytics/yolov5, utils/augmentations.py)."""


class Preprocessor:
    """Turns camera frames into the network's input; keeps no state between frames.

    The pixels are resized as uint8. `(x / divide_by - mean) / std` is then one multiplication and one addition per
    value, written straight into the input's layout.

    Args:
        preprocessing: What the recipe asks for.
        input_shape: The model's input, (1, 3, H, W), or (1, H, W, 3) for the layout `nhwc`.

    Raises:
        UsageError: The model's input is no image of that layout and size.
    """

    def __init__(self, preprocessing: Preprocessing, input_shape: tuple[int, ...]) -> None:
        self.input_shape = tuple(input_shape)
        self.input_size = _input_size(preprocessing, self.input_shape)
        self._recipe = preprocessing
        self._channels = (0, 1, 2) if preprocessing.color == "bgr" else (2, 1, 0)
        std = np.asarray(preprocessing.std, np.float64)
        self._scale = (1.0 / (preprocessing.divide_by * std)).astype(np.float32)
        self._shift = (-np.asarray(preprocessing.mean, np.float64) / std).astype(np.float32)

    def geometry(self, frame_size: tuple[int, int]) -> FrameGeometry:
        """Return where the network's input lies in a frame of that height and width.

        Points are mapped by plain scale, x_frame = x_input * frame width / input width, which is how the published
        decoders of lane networks do it. OpenCV's resize aligns pixel centres instead; the two differ by
        (scale - 1) / 2 px, for every point and every model alike.
        """
        height, width = frame_size
        top = self._crop(height)
        inner_height, inner_width = self._inner_size(frame_size)
        pad_y, pad_x = self._padding((inner_height, inner_width))
        scale = (width / inner_width, (height - top) / inner_height)
        return FrameGeometry(
            frame_size=(height, width),
            input_size=self.input_size,
            scale=scale,
            offset=(-pad_x * scale[0], top - pad_y * scale[1]),
        )

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the network's input, contiguous float32, for a frame (H, W, 3), uint8, BGR.

        Raises:
            DataError: The frame is of another kind.
        """
        frame = check_frame(pixels)
        image = self._fit(frame[self._crop(frame.shape[0]) :], frame.shape[:2])
        tensor = np.empty(self.input_shape, np.float32)
        planes = tensor[0] if self._recipe.layout == "nchw" else tensor[0].transpose(2, 0, 1)
        for plane, channel, scale, shift in zip(planes, self._channels, self._scale, self._shift, strict=True):
            np.multiply(image[:, :, channel], scale, out=plane, dtype=np.float32)
            if shift:
                plane += shift
        return tensor

    def example(self, frame_size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return noise of that height and width, (H, W, 3) uint8, the same every time."""
        return np.random.default_rng(0).integers(256, size=(*frame_size, 3), dtype=np.uint8)

    def _crop(self, height: int) -> int:
        """Return how many rows are cut away at the top; 0.4 of 590 is 236, whatever floating point makes of it."""
        return min(int(self._recipe.crop_top * height + 1e-6), height - 1)

    def _inner_size(self, frame_size: tuple[int, int]) -> tuple[int, int]:
        """Return height and width of the image within the network's input."""
        if self._recipe.fit == "stretch":
            return self.input_size
        height, width = frame_size[0] - self._crop(frame_size[0]), frame_size[1]
        ratio = min(self.input_size[0] / height, self.input_size[1] / width)
        return max(round(height * ratio), 1), max(round(width * ratio), 1)

    def _padding(self, inner: tuple[int, int]) -> tuple[int, int]:
        """Return rows above and columns left of the image within the network's input."""
        return (self.input_size[0] - inner[0]) // 2, (self.input_size[1] - inner[1]) // 2

    def _fit(self, image: NDArray[np.uint8], frame_size: tuple[int, int]) -> NDArray[np.uint8]:
        inner = self._inner_size(frame_size)
        if image.shape[:2] != inner:
            image = _resize(image, inner, self._recipe.interpolation)
        if inner == self.input_size:
            return image
        top, left = self._padding(inner)
        canvas = np.full((*self.input_size, 3), PAD_VALUE, np.uint8)
        canvas[top : top + inner[0], left : left + inner[1]] = image
        return canvas


def check_frame(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the frame if it is one.

    Raises:
        DataError: It is not an array (H, W, 3) of uint8.
    """
    if isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.ndim == 3:
        height, width, channels = pixels.shape
        if channels == 3 and height and width:
            return pixels
    kind = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
    raise DataError(
        problem="This is not a camera frame.",
        found=kind,
        fix="Give an array of shape (height, width, 3), uint8, in the order blue, green, red.",
    )


def _input_size(preprocessing: Preprocessing, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the height and width that the model's input has."""
    is_image = len(shape) == 4 and shape[0] == 1 and min(shape) > 0
    channels, size = (shape[1], shape[2:]) if preprocessing.layout == "nchw" else (shape[-1], shape[1:3])
    if not is_image or channels != 3:
        wanted = "1 x 3 x height x width" if preprocessing.layout == "nchw" else "1 x height x width x 3"
        raise UsageError(
            problem="The model's input does not take the frames that the recipe prepares.",
            found=f"input {' x '.join(map(str, shape))}; the recipe's layout '{preprocessing.layout}' is {wanted}",
            fix="Set preprocessing.layout to the model's, or export the model with batch 1 and three channels.",
        )
    if preprocessing.size not in (None, size):
        raise UsageError(
            problem="The recipe's size is not the model's.",
            found=f"preprocessing.size = {preprocessing.size}, the model's input is {size} (height, width)",
            fix="Set preprocessing.size to the model's in a recipe of your own (extends = ...), or leave it out there.",
        )
    return size[0], size[1]


def _resize(image: NDArray[np.uint8], size: tuple[int, int], interpolation: str) -> NDArray[np.uint8]:
    import cv2

    method = {
        "linear": cv2.INTER_LINEAR,
        "area": cv2.INTER_AREA,
        "cubic": cv2.INTER_CUBIC,
        "nearest": cv2.INTER_NEAREST,
    }[interpolation]
    return np.asarray(cv2.resize(np.ascontiguousarray(image), size[::-1], interpolation=method), np.uint8)
