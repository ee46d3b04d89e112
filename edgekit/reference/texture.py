"""Noise that tiles: made once, then read wherever a surface needs grain."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

SIZE = 1024


@lru_cache(maxsize=1)
def grain() -> NDArray[np.float32]:
    """Return (1024, 1024) Gaussian noise, mean 0 and deviation 1."""
    return np.random.default_rng(0).standard_normal((SIZE, SIZE), dtype=np.float32)


@lru_cache(maxsize=1)
def clouds() -> NDArray[np.float32]:
    """Return (1024, 1024) fractal noise that tiles, mean 0 and deviation 1."""
    total = np.zeros((SIZE, SIZE), np.float32)
    for sigma in (2, 5, 12, 30):
        layer = cv2.GaussianBlur(np.pad(grain(), 128, mode="wrap"), (0, 0), sigma)[128:-128, 128:-128]
        total += layer / layer.std() * sigma**0.5
    return np.asarray((total - total.mean()) / total.std(), np.float32)


def sample(noise: NDArray[np.float32], x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    """Read noise at x, y (rows, columns) in its own px, repeated without end."""
    return np.asarray(cv2.remap(noise, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP), np.float32)


def patch(rng: np.random.Generator, noise: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return a random (height, width) piece of the noise, repeated where it is larger than the noise."""
    if max(size) <= SIZE:
        top, left = rng.integers(SIZE - size[0] + 1), rng.integers(SIZE - size[1] + 1)
        return noise[top : top + size[0], left : left + size[1]]
    rows = (np.arange(size[0]) + rng.integers(SIZE)) % SIZE
    columns = (np.arange(size[1]) + rng.integers(SIZE)) % SIZE
    return np.asarray(noise[rows[:, None], columns[None, :]])
