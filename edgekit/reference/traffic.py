"""Other road users: boxes with a cabin, wheels, lights and a shadow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgekit.reference.brush import Picture, disc, fill, shade
from edgekit.reference.geometry import View
from edgekit.reference.scenery import Color, Vehicle

# width, height of the body, height of the roof, length: metres
_SHAPES = {"car": (1.8, 0.92, 1.45, 4.4), "van": (1.95, 1.05, 2.0, 5.0), "truck": (2.5, 3.4, 3.5, 10.0)}

_RED: Color = (30, 30, 190)
_LIT_RED: Color = (90, 80, 255)
_LAMP: Color = (235, 245, 250)
_GLASS: Color = (58, 50, 44)
_RUBBER: Color = (24, 24, 24)


@dataclass(frozen=True)
class Glow:
    """A light in the picture: position and radius in px, BGR colour."""

    x: float
    y: float
    radius: float
    color: Color


def draw(view: View, vehicle: Vehicle, picture: Picture) -> list[Glow]:
    """Draw one vehicle in place and return its lights."""
    wide, body, roof, length = _SHAPES[vehicle.kind]
    half = wide / 2
    color = vehicle.color

    def at(x: ArrayLike, up: ArrayLike, along: ArrayLike) -> NDArray[np.float64]:
        x, up, along = np.broadcast_arrays(np.asarray(x, np.float64), up, along)
        return view.project(vehicle.offset + x, vehicle.z + along, up)

    fill(
        picture,
        at([-half - 0.1, half + 0.1, half + 0.1, -half - 0.1], 0, [-0.35, -0.35, length, length]),
        (22, 22, 22),
        0.6,
    )
    side = -half if vehicle.offset > 0 else half
    near, far = (0.5, length - 1.1) if vehicle.kind == "car" else (0.05, length - 0.9)
    rim = 0.17 if vehicle.kind == "car" else 0.06
    fill(picture, at([-half, half, half, -half], body, [0, 0, length, length]), shade(color, 1.1))
    for along in (0.8, length - 0.8):
        angle = np.linspace(0, 2 * np.pi, 14)
        fill(picture, at(side, 0.33 + 0.33 * np.sin(angle), along + 0.33 * np.cos(angle)), _RUBBER)
    fill(picture, at(side, [0.3, body, body, 0.3], [0, 0, length, length]), shade(color, 0.72))
    cabin = side * (1 - rim)
    fill(
        picture,
        at([side, cabin, cabin, side], [body, roof, roof, body], [near - 0.3, near + 0.3, far - 0.8, far]),
        _GLASS,
    )
    for x in (-half + 0.05, half - 0.3):
        fill(picture, at([x, x + 0.25, x + 0.25, x], [0, 0, 0.5, 0.5], 0.1), _RUBBER)
    top = half * (1 - rim)
    fill(picture, at([-top, top, top, -top], roof, [near + 0.3, near + 0.3, far - 0.8, far - 0.8]), shade(color, 1.1))
    fill(
        picture,
        at(
            [-half + 0.06, -top, top, half - 0.06],
            [body, roof, roof, body],
            [near - 0.3, near + 0.3, near + 0.3, near - 0.3],
        ),
        color,
    )
    if vehicle.kind != "truck":
        pane = [body + 0.04, roof - 0.08, roof - 0.08, body + 0.04]
        fill(picture, at([-half + 0.16, -top + 0.1, top - 0.1, half - 0.16], pane, near - 0.05), _GLASS)
    fill(picture, at([-half, -half, half, half], [0.3, body, body, 0.3], 0), color)
    fill(picture, at([-half, -half, half, half], [0.28, 0.5, 0.5, 0.28], -0.02), shade(color, 0.6))
    fill(picture, at([-0.26, -0.26, 0.26, 0.26], [0.52, 0.63, 0.63, 0.52], -0.03), (200, 205, 205))
    if vehicle.kind == "truck":
        fill(picture, at([-0.02, -0.02, 0.02, 0.02], [0.8, body, body, 0.8], -0.02), shade(color, 0.7))
    return _lights(view, vehicle, half, picture)


def _lights(view: View, vehicle: Vehicle, half: float, picture: Picture) -> list[Glow]:
    lit = _LIT_RED if vehicle.braking else _RED
    up = 0.95 if vehicle.kind == "truck" else 0.75
    glows = []
    for x in (-half + 0.2, half - 0.2):
        center = view.project(vehicle.offset + x, vehicle.z - 0.03, up)
        scale = view.camera.focal / max(vehicle.z, 2.0)
        disc(picture, center, (0.15 * scale, 0.09 * scale), _LAMP if vehicle.oncoming else lit)
        glows.append(Glow(float(center[0]), float(center[1]), 0.12 * scale, _LAMP if vehicle.oncoming else lit))
    return glows
