"""Lane Distortion Score (LDS): how far quantization moves what a network sees, in the units of the task.

It compares two decoded scenes of one frame, the floating-point model's and the quantized one's, so it needs no labels.
That such a score is built from the distance of lane points and a penalty for points without a counterpart is the idea
of Fan et al., "Selective Focus: Investigating Semantics Sensitivity in Post-training Quantization for Lane Detection",
AAAI 2024. The formulas below are EdgeKit's own. For lanes they follow the OSPA metric of Schuhmacher, Vo and Vo, "A
Consistent Metric for Performance Evaluation of Multi-Object Filters", IEEE TSP 2008: a distance with a cutoff, of
which a missing object costs exactly the cutoff.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ArtifactError, DataError
from edgekit.recipes import Recipe
from edgekit.tasks.base import Lane, Scene
from edgekit.tasks.lanes.assignment import assign
from edgekit.tasks.ranking import order_change, require_same_length, scores_of

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]

ROWS = 256
"""Rows of the grid that lanes are read at, evenly over the frame's height. A change between two rows is not seen."""

LANE_WIDTH_SHARE = 30 / 1640
"""Width of a lane line as a share of the frame's width: CULane draws lines 30 px wide in frames of 1640 px."""


class Distortion(Protocol):
    """Distance of two scenes: at least 0, and 0 for equal ones; symmetric; greater is worse."""

    def __call__(self, reference: Scene, candidate: Scene) -> float:
        """Return how far the candidate lies from the reference, two scenes of the same frame."""
        ...


def distortion_for(recipe: Recipe) -> Distortion:
    """Return the distortion of the recipe's decoder family, in the unit that `unit_of` names."""
    return DISTORTIONS[recipe.decoder.family]


def unit_of(family: str) -> str:
    """Return the unit of a decoder family's distortion: px of the frame, % of weighted pairs, or none."""
    return {"generic": "", "ranking": "%"}.get(family, "px")


def mean_distortion(distortion: Distortion, pairs: Iterable[tuple[Scene, Scene]]) -> float:
    """Return the mean over (reference, candidate) scenes; every frame counts the same.

    Raises:
        DataError: There is no pair.
    """
    scores = [distortion(reference, candidate) for reference, candidate in pairs]
    if not scores:
        raise DataError(
            problem="There is no frame to measure a distortion on.", fix="Give at least one readable frame."
        )
    return float(np.mean(scores))


def lane_width(scene: Scene) -> float:
    """Return gamma, the width of a lane line in px of the frame: the most that one lane point can cost."""
    return LANE_WIDTH_SHARE * scene.geometry.frame_size[1]


def lane_distortion(reference: Scene, candidate: Scene) -> float:
    """Return the Lane Distortion Score in px of the frame.

    Both scenes' lanes are read at the rows of one grid, x linear between points. With gamma = `lane_width`, a point
    that two matched lanes share costs min(|dx|, gamma), and a point without a counterpart costs gamma, whichever scene
    has it:

        LDS = [ sum over matched lanes, shared rows of min(|dx|, gamma) + gamma * (points unmatched) ] / max(N, N')

    where N and N' are the points of the two scenes. Lanes are matched one to one so that the sum is least.

    - A common shift of d px costs d, up to gamma.
    - Losing one of n equal lanes costs gamma / n: as much as shifting it by a lane's width. Losing all costs gamma.
    - Every point costs at most gamma, so that a single wild point cannot outweigh a frame.
    - Two scenes without lanes cost 0.

    Returns:
        0 to gamma; up to 2 gamma where lanes share no row at all.
    """
    gamma = lane_width(reference)
    one, two = _at_rows(reference), _at_rows(candidate)
    present, found = ~np.isnan(one), ~np.isnan(two)
    points = int(max(np.count_nonzero(present), np.count_nonzero(found)))
    if not points:
        return 0.0
    # A matched point saves two penalties of gamma and costs its shift: never a loss, so nothing needs be rejected.
    with np.errstate(invalid="ignore"):
        shift = np.minimum(np.abs(one[:, None] - two[None]), gamma)
    saved = np.where(np.isnan(shift), 0.0, 2 * gamma - shift).sum(axis=2)
    unmatched = gamma * (np.count_nonzero(present) + np.count_nonzero(found))
    # Sums in another order may leave a rounding error below zero.
    return max(float(unmatched - sum(saved[pair] for pair in assign(saved))), 0.0) / points


def mask_distortion(reference: Scene, candidate: Scene) -> float:
    """Return how far the outlines of masks moved, in px of the frame, the mean over labels.

    For one mask it is the area in which the two differ over the mean length of their outlines, both in px of the
    frame, and at most gamma (`lane_width`):

        D = min( |A xor B| / ((outline A + outline B) / 2), gamma )

    - A line or an edge that is shifted by d px costs d.
    - A line that vanished costs its own width, as does one that lies wholly beside its place.
    - It is linear in the px that changed, like 1 - IoU, so that small changes are told apart. Unlike 1 - IoU, it
      weighs the edge of a broad area as it weighs a thin line, and a few stray px in an empty mask are no total loss.

    Outlines are counted by the sides of px, so an oblique outline is longer than it looks, and its shift smaller.
    Lanes decoded from masks are not looked at: where a line breaks in two, a lane is lost though hardly a px changed.

    Raises:
        ArtifactError: The scenes have other masks.
    """
    shapes = [{label: mask.shape for label, mask in scene.masks.items()} for scene in (reference, candidate)]
    _require_same(shapes[0], shapes[1])
    if not reference.masks:
        return 0.0
    gamma, scale = lane_width(reference), reference.geometry.scale
    moved = [_outline_shift(mask, candidate.masks[label], scale) for label, mask in reference.masks.items()]
    return float(np.minimum(moved, gamma).mean())


def relative_noise(reference: Scene, candidate: Scene) -> float:
    """Return the relative noise of outputs that have no known meaning: no unit, 0 to 2.

    For one output it is the norm of the difference over the root mean square of the two norms; outputs are averaged,
    so that each counts the same, whatever its units. 0.1 is a signal-to-noise ratio of 20 dB.

    Raises:
        ArtifactError: The scenes have other outputs.
    """
    shapes = [{name: np.shape(values) for name, values in scene.tensors.items()} for scene in (reference, candidate)]
    _require_same(shapes[0], shapes[1])
    noise = [_relative_difference(values, candidate.tensors[name]) for name, values in reference.tensors.items()]
    return float(np.mean(noise)) if noise else 0.0


def list_distortion(reference: Scene, candidate: Scene) -> float:
    """Return the weighted share of pairs of candidates that stand the other way round, in percent.

    A pair at places p and q of the reference's list weighs 1/(p+1) + 1/(q+1) (`edgekit.tasks.ranking`): the head of the
    list counts most. It is symmetric only where both lists are: weights go by the reference.

    Raises:
        ArtifactError: The lists are of different length.
    """
    one, two = scores_of(reference), scores_of(candidate)
    require_same_length(one, two)
    return 100.0 * order_change(one, two)


DISTORTIONS: dict[str, Distortion] = {
    "curve": lane_distortion,
    "row-anchor": lane_distortion,
    "line-anchor": lane_distortion,
    "keypoint": lane_distortion,
    "segmentation": mask_distortion,
    "ranking": list_distortion,
    "generic": relative_noise,
}
"""Decoder family to distortion."""


def _at_rows(scene: Scene) -> Floats:
    """Return x of every lane at every row of the grid, (lanes, ROWS), NaN where a lane does not cross the row."""
    height = scene.geometry.frame_size[0]
    rows = (np.arange(ROWS) + 0.5) * (height / ROWS)
    return x_at(scene.lanes, rows)


def x_at(lanes: Sequence[Lane], rows: Floats) -> Floats:
    """Return x of lanes at rows, both in px of the frame: (lanes, rows), NaN where a lane does not cross the row."""
    x = np.empty((len(lanes), len(rows)))
    for index, lane in enumerate(lanes):
        x[index] = np.interp(rows, lane.points[:, 1], lane.points[:, 0], left=np.nan, right=np.nan)
    return x


def _outline_shift(one: Bools, two: Bools, scale: tuple[float, float]) -> float:
    area = np.count_nonzero(one ^ two) * scale[0] * scale[1]
    length = (_outline(one, scale) + _outline(two, scale)) / 2
    if length:
        return area / length
    # Neither mask has an outline: both are empty or full.
    return float("inf") if area else 0.0


def _outline(mask: Bools, scale: tuple[float, float]) -> float:
    """Return the length of a mask's outline in px of the frame; the edge of the image is not counted."""
    upright = np.count_nonzero(mask[:, 1:] ^ mask[:, :-1])
    level = np.count_nonzero(mask[1:] ^ mask[:-1])
    return float(upright * scale[1] + level * scale[0])


def _relative_difference(one: NDArray[np.generic], two: NDArray[np.generic]) -> float:
    a, b = np.asarray(one, np.float64).ravel(), np.asarray(two, np.float64).ravel()
    signal = (a @ a + b @ b) / 2
    difference = a - b
    return float(np.sqrt(difference @ difference / signal)) if signal else 0.0


def _require_same(one: object, two: object) -> None:
    if one != two:
        raise ArtifactError(
            problem="Two scenes of one frame do not show the same, so there is no distance between them.",
            found=f"{one} against {two}",
            fix="Compare networks that have the same outputs.",
        )
