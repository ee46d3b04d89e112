"""What stands around the road: sky, horizon, rails, walls, trees, buildings and lamps."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edgekit.reference import texture
from edgekit.reference.brush import Picture, disc, fill, shade
from edgekit.reference.geometry import View
from edgekit.reference.scenery import Color, Scenery

_SKY: dict[str, tuple[Color, Color]] = {
    "clear": ((215, 150, 90), (238, 220, 200)),
    "overcast": ((190, 186, 182), (222, 220, 216)),
    "dusk": ((150, 105, 95), (130, 175, 235)),
    "night": ((38, 26, 22), (52, 46, 50)),
}


def sky(rng: np.random.Generator, scene: Scenery, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return (height, width, 3) BGR float32: a gradient with clouds, down to `height`."""
    full, size = size, (max(size[0] // 4, 2), size[1] // 4)
    height, width = size
    kind = scene.light if scene.light != "day" else ("overcast" if scene.overcast else "clear")
    above, below = (np.asarray(color, np.float32) * rng.uniform(0.88, 1.1) for color in _SKY[kind])
    down = (np.linspace(0, 1, height, dtype=np.float32) ** 1.3)[:, None, None]
    field = cv2.resize(texture.patch(rng, texture.clouds(), (64, 80)), (width, height), interpolation=cv2.INTER_CUBIC)
    cover = np.clip((field + rng.uniform(-1.5, 1.0)) * 0.5, 0, 1)[..., None] * (0.25 if scene.overcast else 0.8)
    brightness = 0.35 if scene.light == "night" else 1.0
    white = np.asarray((235, 232, 230), np.float32) * brightness
    base = above + (below - above) * down
    painted = base + (white - base) * cover * (0.4 + 0.6 * (1 - down))
    return np.asarray(cv2.resize(painted, full[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def horizon(rng: np.random.Generator, scene: Scenery, view: View, picture: Picture) -> None:
    """Draw hills, woods or a skyline where the ground ends."""
    height, width = picture.shape[:2]
    base = view.top + 3
    across = np.linspace(0, width, 65)
    for far in (True, False):
        if rng.random() < 0.3:
            continue
        rise = np.abs(texture.patch(rng, texture.clouds(), (1, 256))[0, ::4][:64])
        rise = np.append(rise, rise[-1]) * height * rng.uniform(0.01, 0.06) * (1.4 if far else 0.7) + height * 0.008
        color: Color = (150, 140, 128) if far else (62, 84, 72)
        color = shade(color, float(rng.uniform(0.8, 1.2)) * (0.8 if scene.overcast else 1.0))
        outline = np.stack([across, base - rise], -1)
        fill(picture, np.concatenate([outline, [[width, base], [0, base]]]), color)
    if "buildings" in scene.roadside or rng.random() < 0.2:
        for _ in range(int(rng.integers(3, 14))):
            x, wide = rng.uniform(-0.1, 1) * width, rng.uniform(0.02, 0.09) * width
            tall = rng.uniform(0.02, 0.2) * height
            color = shade((150, 152, 155), float(rng.uniform(0.55, 1.15)))
            fill(picture, [[x, base], [x, base - tall], [x + wide, base - tall], [x + wide, base]], color)


def roadside(rng: np.random.Generator, scene: Scenery, view: View, picture: Picture) -> list[NDArray[np.float64]]:
    """Draw what stands beside the road, far to near; returns the lamps as (x, y, radius) in px."""
    lamps: list[NDArray[np.float64]] = []
    for kind, edge, side in zip(scene.roadside, scene.edges, (-1, 1), strict=True):
        offset = edge + side * (scene.shoulder + float(rng.uniform(0.3, 1.2)))
        if kind == "rail":
            _rail(view, picture, offset)
        elif kind == "barrier":
            _wall(view, picture, offset, 0.85, shade((165, 170, 172), float(rng.uniform(0.8, 1.15))))
        elif kind == "wall":
            _wall(
                view,
                picture,
                offset + side,
                float(rng.uniform(2, 5)),
                shade((125, 135, 140), float(rng.uniform(0.6, 1.2))),
            )
        elif kind == "trees":
            _trees(rng, view, picture, offset + side * 2.5, side)
        elif kind == "buildings":
            _buildings(rng, view, picture, offset + side * 5, side)
        if scene.street_lights and rng.random() < 0.7:
            lamps.extend(_lamps(rng, view, picture, offset + side * 0.6, side))
    if rng.random() < 0.15:
        _bridge(rng, view, picture)
    return lamps


def _along(start: float = 2.0, end: float = 180.0) -> NDArray[np.float64]:
    return 1 / np.linspace(1 / start, 1 / end, 48)


def _ribbon(view: View, offset: float, low: float, high: float) -> NDArray[np.float64]:
    z = _along()
    return np.concatenate([view.project(offset, z, low), view.project(offset, z[::-1], high)])


def _rail(view: View, picture: Picture, offset: float) -> None:
    z = np.arange(100, 3, -4.0)[:, None]
    for post in view.project([offset, offset, offset + 0.12, offset + 0.12], z, [0, 0.7, 0.7, 0]):
        fill(picture, post, (105, 108, 110))
    fill(picture, _ribbon(view, offset, 0.42, 0.75), (158, 160, 162))
    fill(picture, _ribbon(view, offset, 0.55, 0.62), (118, 120, 122))


def _wall(view: View, picture: Picture, offset: float, height: float, color: Color) -> None:
    fill(picture, _ribbon(view, offset, 0, height), color)
    fill(picture, _ribbon(view, offset, height * 0.93, height), shade(color, 1.15))
    fill(picture, _ribbon(view, offset, 0, 0.12), shade(color, 0.6))
    z = np.arange(80, 4, -6.0)[:, None] + [0, 0, 0.06, 0.06]
    for joint in view.project(offset, z, [0, height, height, 0]):
        fill(picture, joint, shade(color, 0.75))


def _trees(rng: np.random.Generator, view: View, picture: Picture, offset: float, side: int) -> None:
    z = 120.0
    while z > 6:
        z -= float(rng.uniform(2, 14) * (0.4 + z / 100))
        if z < 5:
            break
        at, tall = offset + side * float(rng.exponential(3)), float(rng.uniform(3, 9))
        scale = float(view.camera.focal / z)
        foot, top = view.project(at, z, np.array([0, tall]))
        fill(
            picture,
            foot + np.array([[-0.12, 0], [0.12, 0], [0.08, -tall * 0.5], [-0.08, -tall * 0.5]]) * scale,
            (40, 52, 60),
        )
        green = shade((52, 88, 70), float(rng.uniform(0.55, 1.2)))
        for _ in range(7):
            spread = rng.normal(0, 0.17, 2) * tall * scale
            radius = tall * scale * float(rng.uniform(0.14, 0.26))
            center = top * 0.75 + foot * 0.25 + spread
            disc(picture, center, (radius, radius * 0.85), shade(green, float(rng.uniform(0.75, 1.2))))


def _buildings(rng: np.random.Generator, view: View, picture: Picture, offset: float, side: int) -> None:
    z = 110.0
    while z > 8:
        length, tall = float(rng.uniform(8, 25)), float(rng.uniform(4, 18))
        near = max(z - length, 5.0)
        color = shade((140, 148, 158), float(rng.uniform(0.5, 1.2)))
        front = view.project([offset, offset, offset + side * 12, offset + side * 12], near, [0, tall, tall, 0])
        fill(picture, front, shade(color, 0.85))
        fill(picture, view.project(offset, [near, near, z, z], [0, tall, tall, 0]), color)
        floors = np.arange(1.2, tall - 1.5, 3.0)[:, None, None] + [0, 1.4, 1.4, 0]
        starts = np.arange(near + 1, z - 1.5, 3.0)[:, None] + [0, 0, 1.4, 1.4]
        for window in view.project(offset, starts, floors).reshape(-1, 4, 2):
            fill(picture, window, (95, 82, 72))
        z = near - float(rng.uniform(0, 6))


def _lamps(
    rng: np.random.Generator, view: View, picture: Picture, offset: float, side: int
) -> list[NDArray[np.float64]]:
    spacing, tall = float(rng.uniform(22, 40)), float(rng.uniform(6, 10))
    lamps = []
    for z in np.arange(float(rng.uniform(5, spacing)), 160, spacing)[::-1]:
        scale = view.camera.focal / z
        foot, top = view.project(offset, z, np.array([0, tall]))
        head = view.project(offset - side * 1.8, z, tall + 0.2)
        thin = max(0.07 * scale, 0.5)
        across, upright = np.array([thin, 0]), np.array([0, thin])
        fill(picture, [foot - across, foot + across, top + across, top - across], (88, 88, 86))
        fill(picture, [top - upright, head - upright, head + upright, top + upright], (88, 88, 86))
        lamps.append(np.array([*head, max(0.22 * scale, 0.8)]))
    return lamps


def _bridge(rng: np.random.Generator, view: View, picture: Picture) -> None:
    z, clearance = float(rng.uniform(25, 120)), float(rng.uniform(5, 7))
    color = shade((135, 138, 140), float(rng.uniform(0.6, 1.1)))
    deck = view.project([-60, -60, 60, 60], z, [clearance, clearance + 1.6, clearance + 1.6, clearance])
    fill(picture, deck, color)
    sign = view.project([-2, -2, 4, 4], z - 0.5, [clearance, clearance + 1.8, clearance + 1.8, clearance])
    if rng.random() < 0.5:
        fill(picture, sign, (110, 85, 20))
