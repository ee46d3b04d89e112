"""What a generated road scene is made of, drawn by lot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgekit.reference.geometry import Camera, Road

Color = tuple[float, float, float]
Light = Literal["day", "dusk", "night"]

WHITE: Color = (225.0, 228.0, 228.0)
YELLOW: Color = (60.0, 175.0, 225.0)


@dataclass(frozen=True)
class Marking:
    """A painted lane line.

    Attributes:
        offset: Metres to the right of the camera's path.
        slot: 0 left-left, 1 left, 2 right, 3 right-right of the camera.
        width: Metres.
        color: BGR.
        dash: Length of a dash and of a period in metres, and the phase; none for a solid line.
        wear: 0 as new, 1 mostly gone.
        double: Whether a second, solid line runs beside it.
    """

    offset: float
    slot: int
    width: float
    color: Color
    dash: tuple[float, float, float] | None
    wear: float
    double: bool


@dataclass(frozen=True)
class Vehicle:
    """Another road user.

    Attributes:
        kind: Car, van or truck.
        offset: Metres of its centre to the right of the camera's path.
        z: Metres to its near end.
        color: BGR.
        oncoming: Whether it shows its front.
        braking: Whether its brake lights are lit.
    """

    kind: Literal["car", "van", "truck"]
    offset: float
    z: float
    color: Color
    oncoming: bool
    braking: bool


@dataclass(frozen=True)
class Scenery:
    """Everything that a picture is drawn from, except its fine texture."""

    camera: Camera
    road: Road
    markings: tuple[Marking, ...]
    edges: tuple[float, float]
    shoulder: float
    vehicles: tuple[Vehicle, ...]
    light: Light
    overcast: bool
    rain: float
    haze: float
    roadside: tuple[str, str]
    street_lights: bool
    asphalt: float
    verge: Color
    shadows: float


def sample(rng: np.random.Generator, size: tuple[int, int]) -> Scenery:
    """Draw a scene for a picture of `size` (height, width) px."""
    lane = float(rng.uniform(3.0, 3.9))
    left = -lane / 2 + float(np.clip(rng.normal(0, 0.3), -0.75, 0.75))
    beyond = (bool(rng.random() < 0.6), bool(rng.random() < 0.6))
    yellow = bool(rng.random() < 0.35)
    markings = _markings(rng, left, lane, beyond, yellow)
    margin = rng.uniform(0.25, 0.8, 2) + (rng.random(2) < 0.3) * rng.uniform(0.5, 2.0, 2)
    edges = (markings[0].offset - float(margin[0]), markings[-1].offset + float(margin[1]))
    light: Light = rng.choice(["day", "dusk", "night"], p=[0.62, 0.13, 0.25])
    rain = float(rng.uniform(0.3, 1.0)) if rng.random() < 0.2 else 0.0
    overcast = bool(rain > 0 or rng.random() < 0.4)
    sides = ["grass", "rail", "barrier", "trees", "buildings", "wall"]
    return Scenery(
        camera=_camera(rng, size),
        road=_road(rng),
        markings=markings,
        edges=edges,
        shoulder=float(rng.choice([0.0, rng.uniform(0.5, 2.5)])),
        vehicles=_vehicles(rng, left, lane, beyond, yellow and beyond[0]),
        light=light,
        overcast=overcast,
        rain=rain,
        haze=float(rng.uniform(0.002, 0.006) if rng.random() < 0.8 else rng.uniform(0.008, 0.02)),
        roadside=(str(rng.choice(sides)), str(rng.choice(sides))),
        street_lights=bool(rng.random() < 0.4),
        asphalt=float(rng.uniform(60, 150)),
        verge=_verge(rng),
        shadows=0.0 if overcast or light == "night" else float(rng.uniform(0.35, 0.65)),
    )


def _camera(rng: np.random.Generator, size: tuple[int, int]) -> Camera:
    height, width = size
    focal = width / 2 / float(np.tan(np.radians(rng.uniform(48, 76)) / 2))
    center = (width * float(rng.uniform(0.47, 0.53)), height * float(rng.uniform(0.48, 0.52)))
    horizon = height * float(rng.uniform(0.37, 0.48))
    pitch = float(np.arctan((center[1] - horizon) / focal))
    return Camera(size, focal, center, height=float(rng.uniform(1.15, 1.9)), pitch=pitch)


def _road(rng: np.random.Generator) -> Road:
    tightness = float(rng.choice([0.0, 1 / 1500, 1 / 500, 1 / 180], p=[0.25, 0.3, 0.3, 0.15]))
    curvature = tightness * float(rng.uniform(-1, 1))
    return Road(
        yaw=float(rng.normal(0, 0.012)),
        curvature=curvature,
        clothoid=float(rng.normal(0, tightness / 120)),
        hill=float(rng.normal(0, 1.2) if rng.random() < 0.5 else 0.0),
        hill_length=float(rng.uniform(140, 360)),
    )


def _markings(
    rng: np.random.Generator, left: float, lane: float, beyond: tuple[bool, bool], yellow: bool
) -> tuple[Marking, ...]:
    offsets = {1: left, 2: left + lane}
    if beyond[0]:
        offsets[0] = left - lane * float(rng.uniform(0.93, 1.07))
    if beyond[1]:
        offsets[3] = left + lane * (1 + float(rng.uniform(0.93, 1.07)))
    period = float(rng.choice([6.0, 9.0, 12.0, 15.0]))
    length = period * float(rng.uniform(0.3, 0.6))
    width = float(rng.uniform(0.1, 0.2))
    wear = float(rng.choice([0.1, rng.uniform(0.1, 0.9)]))
    slots = sorted(offsets)
    center = slots[0] if rng.random() < 0.5 else 1
    return tuple(
        Marking(
            offset=offsets[slot],
            slot=slot,
            width=width,
            color=YELLOW if yellow and slot == center else WHITE,
            dash=(length, period, float(rng.uniform(0, period)))
            if rng.random() < (0.2 if slot in (slots[0], slots[-1]) else 0.85)
            else None,
            wear=float(np.clip(wear + rng.normal(0, 0.1), 0, 0.95)),
            double=bool(yellow and slot == center and rng.random() < 0.4),
        )
        for slot in slots
    )


def _vehicles(
    rng: np.random.Generator, left: float, lane: float, beyond: tuple[bool, bool], two_way: bool
) -> tuple[Vehicle, ...]:
    paint: list[Color] = [(40, 40, 42), (205, 205, 205), (120, 122, 125), (35, 30, 130), (120, 60, 25), (60, 75, 60)]
    lanes = [(left - lane / 2, two_way)] * beyond[0] + [(left + lane / 2, False)]
    lanes += [(left + 1.5 * lane, False)] * beyond[1]
    vehicles = []
    for center, oncoming in lanes:
        ego = center == left + lane / 2
        z = float(rng.uniform(9, 60) if ego else rng.uniform(3, 45))
        while z < 110 and rng.random() < (0.5 if ego else 0.6):
            kind: Literal["car", "van", "truck"] = rng.choice(["car", "van", "truck"], p=[0.72, 0.14, 0.14])
            color = paint[int(rng.integers(len(paint)))]
            offset = center + float(rng.normal(0, 0.2))
            vehicles.append(Vehicle(kind, offset, z, color, oncoming, bool(rng.random() < 0.3)))
            z += float(rng.uniform(14, 45))
    return tuple(sorted(vehicles, key=lambda vehicle: -vehicle.z))


def _verge(rng: np.random.Generator) -> Color:
    kinds: list[Color] = [(55, 105, 85), (60, 120, 75), (95, 130, 145), (105, 112, 118), (70, 100, 110)]
    return kinds[int(rng.integers(len(kinds)))]
