"""The ground: verge, asphalt, paint, and the shadows on it."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from edgekit.reference import texture
from edgekit.reference.geometry import View
from edgekit.reference.scenery import WHITE, Marking, Scenery

Plane = NDArray[np.float32]

_PROFILE_M = 24.0
_PROFILE_PER_M = 20.0


def draw(rng: np.random.Generator, scene: Scenery, view: View) -> Plane:
    """Return the ground rows of the picture, (rows, width, 3) BGR, float32."""
    offset = view.offsets()
    z = np.repeat(view.z.astype(np.float32)[:, None], offset.shape[1], axis=1)
    near = np.clip(view.scale / 40, 0, 1).astype(np.float32)[:, None]
    shift = rng.uniform(0, texture.SIZE, 4).astype(np.float32)
    coarse = texture.sample(texture.clouds(), offset * 12 + shift[0], z * 3 + shift[1])
    fine = texture.sample(texture.grain(), offset * 45 + shift[2], z * 20 + shift[3])

    ground = _cross_section(rng, scene, offset + coarse * 0.04)
    rough = np.where((offset > scene.edges[0]) & (offset < scene.edges[1]), np.float32(0.045), np.float32(0.1))
    ground *= cv2.merge([1 + rough * (coarse + fine * near)] * 3)
    _repair(rng, scene, view, offset, ground)

    paint = [(marking_cover(marking, view, offset), marking.color, marking.wear) for marking in scene.markings]
    if rng.random() < 0.25:
        paint.append((_arrow(rng, scene, view, offset), WHITE, float(rng.uniform(0.2, 0.8))))
    pixels = ground.reshape(-1, 3)
    for cover, color, wear in paint:
        at = np.flatnonzero(cover)
        rough = fine.ravel()[at]
        gone = np.clip((coarse.ravel()[at] + 0.5 * rough) * 0.7 - 0.8 + 2.2 * wear, 0, 1) * 0.9
        share = (cover.ravel()[at] * (1 - gone) * (1 - 0.45 * wear))[:, None]
        pixels[at] += share * (np.asarray(color, np.float32) * (0.93 + 0.05 * rough[:, None]) - pixels[at])
    if scene.shadows:
        ground *= cv2.merge([_shade(rng, scene, view, offset)] * 3)
    return ground


def marking_cover(marking: Marking, view: View, offset: Plane) -> Plane:
    """Return (rows, width), 0 to 1: how much of each pixel a lane line covers."""
    along = np.ones_like(view.z)
    if marking.dash:
        length, period, phase = marking.dash
        from_middle = np.abs((view.z + phase) % period - period / 2)
        along = np.clip((length / 2 - from_middle) / view.step + 0.5, 0, 1)
        along = np.where(view.step > period / 2, length / period, along)
    cover = _strip(offset - marking.offset, np.full_like(view.z, marking.width / 2), view) * along[:, None]
    if marking.double:
        second = np.full_like(view.z, marking.width / 2)
        beside = marking.offset + (-2.2 if marking.slot < 2 else 2.2) * marking.width
        cover = np.maximum(cover, _strip(offset - beside, second, view))
    return cover.astype(np.float32)


def _strip(distance: Plane, half_width: NDArray[np.float64], view: View) -> Plane:
    """Return the coverage of a strip around distance 0; one thinner than a pixel covers only its share."""
    half, scale = half_width.astype(np.float32)[:, None], view.scale.astype(np.float32)[:, None]
    cover = np.clip((half - np.abs(distance)) * scale + 0.5, 0, np.minimum(1, 2 * half * scale))
    return np.asarray(cover, np.float32)


def _cross_section(rng: np.random.Generator, scene: Scenery, offset: Plane) -> Plane:
    """Return the colour of the bare ground, which depends only on the offset from the path."""
    across = np.arange(-_PROFILE_M, _PROFILE_M, 1 / _PROFILE_PER_M)
    tint = rng.uniform(-4, 4, 3)
    asphalt = scene.asphalt + tint
    profile = np.tile(np.asarray(scene.verge, np.float64), (len(across), 1))
    profile *= 1 + 0.12 * np.sin(across * rng.uniform(0.2, 1.0) + rng.uniform(0, 6))[:, None]
    outer = (across > scene.edges[0] - scene.shoulder) & (across < scene.edges[1] + scene.shoulder)
    profile[outer] = asphalt * rng.uniform(0.8, 1.15) + rng.uniform(-12, 12)
    inner = (across > scene.edges[0]) & (across < scene.edges[1])
    profile[inner] = asphalt
    lines = [marking.offset for marking in scene.markings]
    depth = rng.uniform(-0.14, 0.10)
    for one, two in pairwise(lines):
        for track in (one + two) / 2 + np.array([-0.8, 0.8]):
            profile[inner] *= 1 + depth * np.exp(-(((across[inner] - track) / 0.35) ** 2))[:, None]
    if rng.random() < 0.4:
        seam = rng.choice(lines) + rng.uniform(-0.6, 0.6)
        profile[inner] *= 1 - 0.35 * (np.abs(across[inner] - seam) < 0.05)[:, None]
    row = np.ascontiguousarray(profile[None].astype(np.float32))
    where = (offset + _PROFILE_M) * _PROFILE_PER_M
    return np.asarray(
        cv2.remap(row, where, np.zeros_like(where), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32
    )


def _repair(rng: np.random.Generator, scene: Scenery, view: View, offset: Plane, ground: Plane) -> None:
    """Lay patches of newer or older asphalt."""
    for _ in range(int(rng.integers(0, 3))):
        start, length = rng.uniform(4, 40), rng.uniform(1, 15)
        rows = np.flatnonzero((view.z > start) & (view.z < start + length))
        left = rng.uniform(scene.edges[0], scene.edges[1] - 0.5)
        right = min(left + rng.uniform(0.4, 3.5), scene.edges[1])
        if len(rows):
            band = slice(rows[0], rows[-1] + 1)
            inside = (offset[band] > left) & (offset[band] < right)
            ground[band][inside] *= np.float32(rng.uniform(0.72, 1.15))


def _arrow(rng: np.random.Generator, scene: Scenery, view: View, offset: Plane) -> Plane:
    """Paint a straight arrow in the middle of a lane."""
    lines = [marking.offset for marking in scene.markings]
    lane = int(rng.integers(len(lines) - 1))
    along = view.z - rng.uniform(5, 30)
    half = np.where(along < 3, 0.08, 0.45 * (5 - along) / 2)
    half = np.where((along < 0) | (along > 5), -1.0, half)
    return np.clip(_strip(offset - (lines[lane] + lines[lane + 1]) / 2, half, view), 0, 1)


def _shade(rng: np.random.Generator, scene: Scenery, view: View, offset: Plane) -> Plane:
    """Return (rows, width) the share of light left under shadows of trees, poles and bridges."""
    dark = np.zeros_like(offset)
    z = view.z.astype(np.float32)[:, None]
    step = view.step.astype(np.float32)[:, None]
    for _ in range(int(rng.integers(0, 4))):
        start, length = rng.uniform(4, 50), rng.choice([rng.uniform(0.2, 0.6), rng.uniform(2, 14)])
        along = z - start + offset * np.float32(rng.uniform(-1.2, 1.2))
        edge = np.clip((length / 2 - np.abs(along - length / 2)) / (0.15 + step) + 0.5, 0, 1)
        dark = np.maximum(dark, edge.astype(np.float32))
    if rng.random() < 0.45:
        shift = rng.uniform(0, texture.SIZE, 2).astype(np.float32)
        leaves = texture.sample(
            texture.clouds(), offset * 9 + shift[0], np.broadcast_to(z * 5, offset.shape) + shift[1]
        )
        side = 1.0 if rng.random() < 0.5 else -1.0
        reach = np.clip((offset * side + rng.uniform(-2, 4)) / 3, -1, 1)
        dark = np.maximum(dark, np.clip(leaves * 2 + reach * 3, 0, 1).astype(np.float32))
    return np.asarray(1 - scene.shadows * dark, np.float32)
