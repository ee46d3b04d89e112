"""What lies between scene and picture: haze, darkness and lamps, rain, and the sensor."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edgekit.reference import texture
from edgekit.reference.brush import Picture
from edgekit.reference.geometry import View
from edgekit.reference.scenery import Scenery
from edgekit.reference.traffic import Glow

_COARSE = 4


def haze(ground: NDArray[np.float32], color: NDArray[np.float32], density: float, view: View) -> NDArray[np.float32]:
    """Fade the ground (rows, width, 3) towards `color` with the distance (Koschmieder's law, density in 1/m)."""
    through = np.exp(-density * view.z).astype(np.float32)[:, None, None]
    return ground * through + np.repeat(color * (1 - through), ground.shape[1], axis=1)


def wet(rng: np.random.Generator, picture: Picture, view: View, amount: float) -> None:
    """Mirror sky and horizon in the wet ground, in place."""
    height, width = picture.shape[:2]
    ground = picture[view.top :]
    small = cv2.resize(picture[: view.top][::-1], (width // 4, max(view.top // 12, 1)), interpolation=cv2.INTER_AREA)
    image = cv2.resize(small, (width, height - view.top), interpolation=cv2.INTER_LINEAR)
    share = 0.45 * amount * float(rng.uniform(0.5, 1.0))
    cv2.addWeighted(image, share, ground, 1 - share * 0.9, 0, dst=ground)


def illuminate(
    rng: np.random.Generator, scene: Scenery, view: View, picture: Picture, lamps: Sequence[NDArray[np.float64]]
) -> Picture:
    """Darken a scene to dusk or night, lit by the own headlights and by street lamps."""
    height, width = (length // _COARSE for length in picture.shape[:2])
    tint = np.asarray((1.0, 0.96, 0.93) if scene.light == "dusk" else (0.9, 0.95, 1.05), np.float32)
    ambient = float(rng.uniform(0.5, 0.95) if scene.light == "dusk" else rng.uniform(0.1, 0.35))
    light = np.full((height, width), ambient, np.float32)
    if scene.light == "night":
        up = (view.top - np.arange(height, dtype=np.float32) * _COARSE) / (0.15 * view.camera.size[0])
        light += 0.3 * np.clip(up, 0, 1)[:, None]
        light += _headlights(rng, view, (height, width))
        for x, y, radius in lamps:
            pool = np.exp(-(((np.arange(width) * _COARSE - x) / (40 * radius)) ** 2)).astype(np.float32)
            from_foot = (np.arange(height) * _COARSE - (y + 36 * radius)) / (14 * radius)
            light += 0.35 * np.exp(-(from_foot[:, None] ** 2)).astype(np.float32) * pool[None, :]
    field = cv2.resize(light, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    lit = cv2.merge([field * channel for channel in tint])
    return np.asarray(cv2.multiply(picture, lit, dtype=cv2.CV_8U), np.uint8)


def _headlights(rng: np.random.Generator, view: View, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return (height, width) the light of two low beams on whatever stands before the camera."""
    height, width = size
    row = np.arange(height) * _COARSE
    z = np.interp(row, np.arange(view.top, view.camera.size[0]), view.z, left=float(view.z[0]))
    reach = float(rng.uniform(14, 40))
    along = (1 - np.exp(-((z / 5) ** 2))) * np.exp(-z / reach) + 0.05
    above = np.clip((row - view.top) / (0.05 * view.camera.size[0]) + 1.2, 0.15, 1)
    across = (np.arange(width)[None, :] * _COARSE - view.camera.center[0]) * z[:, None] / view.camera.focal
    cone = np.exp(-((across / (2.2 + 0.13 * z[:, None])) ** 2))
    return np.asarray(rng.uniform(0.8, 1.6) * (along * above)[:, None] * (0.25 + cone), np.float32)


def glow(picture: Picture, glows: Sequence[Glow], strength: float, wetness: float) -> Picture:
    """Add the halos of lamps, and their long reflections in a wet road (`wetness` 0 to 1)."""
    height, width = picture.shape[:2]
    layer = np.zeros((height // _COARSE, width // _COARSE, 3), np.float32)
    for lamp in glows:
        center = int(lamp.x / _COARSE), int(lamp.y / _COARSE)
        if -50 < center[0] < width and -50 < center[1] < height:
            cv2.circle(layer, center, max(int(lamp.radius / _COARSE), 1), lamp.color, -1)
    tight, broad = cv2.GaussianBlur(layer, (0, 0), 2), cv2.GaussianBlur(layer, (0, 0), 8)
    if wetness:
        below = np.full((41, 1), 0.05 * wetness, np.float32)
        broad = broad + cv2.filter2D(layer, -1, below, anchor=(0, 40), borderType=cv2.BORDER_CONSTANT)
    halo = cv2.resize(tight * 1.2 + broad * 1.5, (width, height), interpolation=cv2.INTER_LINEAR) * strength
    return np.asarray(cv2.add(picture, halo, dtype=cv2.CV_8U), np.uint8)


def rain(rng: np.random.Generator, picture: Picture, amount: float) -> Picture:
    """Draw streaks and drops, and take contrast away."""
    height, width = picture.shape[:2]
    streaks = np.zeros((height, width), np.uint8)
    slant = float(rng.normal(0, 0.15))
    for x, y, length in rng.random((int(220 * amount), 3)) * (width, height, 0.06 * height):
        end = int(x + slant * length), int(y + length)
        cv2.line(streaks, (int(x), int(y)), end, int(rng.integers(60, 160)), 1, cv2.LINE_AA)
    veil = cv2.addWeighted(picture, 1 - 0.15 * amount, np.full_like(picture, 128), 0.15 * amount, 0)
    picture = np.asarray(cv2.add(veil, cv2.cvtColor(streaks // 2, cv2.COLOR_GRAY2BGR)), np.uint8)
    for x, y, radius in rng.random((int(rng.integers(0, 12) * amount), 3)) * (width, height, 0.02 * width):
        left, top = max(int(x - radius), 0), max(int(y - radius), 0)
        region = picture[top : int(y + radius) + 2, left : int(x + radius) + 2]
        drop = np.zeros(region.shape[:2], np.uint8)
        cv2.circle(drop, (int(x) - left, int(y) - top), int(radius) + 1, 255, -1, cv2.LINE_AA)
        region[drop > 127] = cv2.blur(region, (9, 9))[::-1, ::-1][drop > 127]
    return picture


def sensor(rng: np.random.Generator, scene: Scenery, picture: Picture) -> Picture:
    """Expose, vignette, blur and add noise, as a small camera does."""
    height, width = picture.shape[:2]
    scale = width / 640
    blur = float(rng.choice([0.0, rng.uniform(0.3, 1.3)], p=[0.5, 0.5])) * scale
    if blur:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), blur), np.uint8)
    gain, gamma = float(rng.uniform(0.7, 1.3)), float(rng.uniform(0.8, 1.25))
    curve = np.clip(255 * (np.arange(256) / 255) ** gamma * gain, 0, 255)
    balance = rng.uniform(0.96, 1.04, 3)
    table = np.clip(curve[:, None] * balance[None, :], 0, 255).astype(np.uint8)[None]
    picture = np.asarray(cv2.LUT(picture, table), np.uint8)
    noise = float(rng.uniform(0.5, 4) * (2.2 if scene.light == "night" else 1.0))
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
    vignette = 1 - np.float32(rng.uniform(0, 0.25)) * (x[None, :] ** 2 + y[:, None] ** 2)
    grain = texture.patch(rng, texture.grain(), (height, width)) * noise
    tint = texture.patch(rng, texture.grain(), (height, width)) * (noise * 0.4)
    values = cv2.multiply(picture, cv2.merge([vignette] * 3), dtype=cv2.CV_32F)
    return np.asarray(cv2.add(values, cv2.merge([grain + tint, grain, grain - tint]), dtype=cv2.CV_8U), np.uint8)
