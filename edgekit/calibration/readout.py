"""Semantic Guided Focus where elements act together: errors in what post-processing computes from several of them.

A curve's parameters may all be wrong while its points stay where they are: b' and n of LSTR's curve cancel, and a
shift of its horizon f is nothing near the car and a lane's width far away. The same holds for class logits, of which
only the differences are read. A weight per element cannot say that, a linear map can:

    error of a head = mean over places, r of  log(1 + ( sum over p of  rows[place, r, p] * delta[place, p] )^2)

- Curves: rows are the derivatives of x(y) with respect to the parameters at 24 places from one end of the lane to the
  other, the Jacobian J of its points. |J delta|^2 / R is delta^T G delta with G = J^T J / R, the first-order change of
  the lane itself. Two more rows stand for its ends, which cost a lane's width for every point that comes or goes.
- Class logits: rows are the differences of the winning class to each other one, and count by how near the two are:
  an error between classes far apart decides nothing.

What is read of an error is 1 where it is as large as can matter: a lane that is two widths off is as lost as one that
is ten widths off. So its square counts less and less beyond that, by a Cauchy loss (Barron, "A General and Adaptive
Robust Loss Function", CVPR 2019). With few levels, and there alone, errors are that large: squares would let the lanes
that are lost rule those that can still be saved.

Both are weighted by `focus_weights` on top. The formulas are EdgeKit's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.calibration.focus import FocusOptions, focus_weights
from edgekit.recipes import CurveDecoder, Recipe, SegmentationDecoder
from edgekit.tasks.heads import head_with, heads_with

Floats = NDArray[np.float32]

PLACES = 24
LEAST_SPAN = 0.05
"""Of the input's height: a lane shorter than this has ends that could cost any weight."""

NEAREST = 0.05
"""Of the input's height: a place this near to the horizon says how lanes there move, and a nearer one is not asked."""

LANE_WIDTH = 30 / 1640
"""As a share of the frame's width, as in the Lane Distortion Score."""

UNDECIDED = 3.0
"""Logits: a class so far behind the winning one counts half as much as one that is level with it."""


@dataclass(frozen=True)
class Readout:
    """A linear map of the elements along one axis of a head.

    Attributes:
        rows: float32 (..., R, P): the head's shape with `axis` moved last, and R rows before it. What they read of an
            error is 1 where it is as large as can matter: a lane's width, or `UNDECIDED` logits.
        axis: Which axis of the head has the P elements, counted from 0.
    """

    rows: Floats
    axis: int


def focus_on(recipe: Recipe, heads: Mapping[str, Any], options: FocusOptions) -> dict[str, Floats | Readout]:
    """Return how the errors of every head count, from the floating-point model's own outputs for one frame.

    Args:
        recipe: Says what the heads mean.
        heads: Outputs by the recipe's head names, batch axis of 1 included; numpy arrays or torch tensors.
        options: How strongly to focus.

    Returns:
        By head: a weight per element, as `focus_weights` has it, or a `Readout` where elements act together.

    Raises:
        UsageError: An output is missing or has a shape that the recipe does not decode.
        ArtifactError: An output holds NaN or infinity.
    """
    weights = focus_weights(recipe, heads, options)
    found: dict[str, Floats | Readout] = dict(weights)
    arrays = {
        name: np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
        for name, values in heads.items()
    }
    if isinstance(recipe.decoder, CurveDecoder):
        logits, curves = head_with(recipe, "confidence"), head_with(recipe, "geometry")
        found[logits] = margins(arrays[logits], 2, weights[logits])
        found[curves] = points_of_curves(arrays[curves], weights[curves])
    if isinstance(recipe.decoder, SegmentationDecoder):
        for name in heads_with(recipe, "mask"):
            found[name] = margins(arrays[name], 1, weights[name])
    return found


def mean_error(errors: NDArray[Any], focus: Floats | Readout) -> float:
    """Return the mean of a head's errors, counted as the focus says: squares, or for a `Readout` log(1 + square)."""
    if isinstance(focus, Readout):
        read = np.einsum("...rp,...p->...r", focus.rows, np.moveaxis(errors.astype(np.float64), focus.axis, -1))
        return float(np.mean(np.log1p(read**2)))
    return float(np.mean(errors.astype(np.float64) ** 2 * focus))


def points_of_curves(curves: NDArray[Any], weights: Floats) -> Readout:
    """Return the map from changes of curve parameters to changes of the curve's points.

    Args:
        curves: (1, queries, 8): y0, y1, k, f, m, n, b, b' of x(y) = k/(y-f)^2 + m/(y-f) + n + b y - b'.
        weights: Of the same shape, alike for all parameters of a query.
    """
    y0, y1, k, f, m = np.moveaxis(curves.astype(np.float64), -1, 0)[:5, ..., None]
    # Ends are read in either order; a place counts in the middle of its stretch, as the rows of a picture do.
    y = y0 + (y1 - y0) * (np.arange(PLACES) + 0.5) / PLACES
    away = y - f
    away = np.where(away < 0, -1.0, 1.0) * np.maximum(np.abs(away), NEAREST)
    nothing, one = np.zeros_like(y), np.ones_like(y)
    by_horizon = 2 * k / away**3 + m / away**2
    points = np.stack([nothing, nothing, 1 / away**2, by_horizon, 1 / away, one, y, -one], axis=-1)
    ends = np.zeros((*curves.shape[:-1], 2, curves.shape[-1]))
    share = LANE_WIDTH / np.maximum(np.abs(y1 - y0), LEAST_SPAN) * np.sqrt(PLACES)
    ends[..., 0, 0] = ends[..., 1, 1] = share[..., 0]
    rows = np.concatenate([points, ends], axis=-2)
    return Readout((rows / LANE_WIDTH * np.sqrt(weights[..., :1, None])).astype(np.float32), curves.ndim - 1)


def margins(logits: NDArray[Any], axis: int, weights: Floats) -> Readout:
    """Return the map from changes of logits to changes of the winning class's lead over each other class.

    Args:
        logits: Class scores along `axis`.
        axis: The axis of classes.
        weights: Of the same shape; the mean over the classes counts.
    """
    scores = np.moveaxis(logits.astype(np.float32), axis, -1)
    classes = scores.shape[-1]
    order = np.argsort(-scores, axis=-1, kind="stable")
    lead = np.take_along_axis(scores, order[..., :1], axis=-1) - np.take_along_axis(scores, order[..., 1:], axis=-1)
    nearness = 1.0 / (1.0 + (lead / UNDECIDED) ** 2)
    here = np.moveaxis(weights, axis, -1).mean(axis=-1, keepdims=True)
    basis = np.eye(classes, dtype=np.float32)
    rows = (basis[order[..., :1]] - basis[order[..., 1:]]) / UNDECIDED
    return Readout((rows * np.sqrt(nearness * here)[..., None]).astype(np.float32), axis)
