"""Semantic Guided Focus: which parts of a network's outputs post-processing reads, as weights of an objective.

That errors on lanes matter and errors on the background hardly do, and that the network's own confidence tells the two
apart without labels, is the idea of Fan et al., "Selective Focus: Investigating Semantics Sensitivity in Post-training
Quantization for Lane Detection", AAAI 2024. How the weights are formed here is EdgeKit's own.

Everything is read from the recipe's heads and decoder, and nothing from the names of a model's outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from edgekit.recipes import (
    CurveDecoder,
    KeypointDecoder,
    LineAnchorDecoder,
    RankingDecoder,
    Recipe,
    RowAnchorDecoder,
    SegmentationDecoder,
)
from edgekit.schema import Strict
from edgekit.tasks.heads import decoder_of, head_with, heads_with, read_head
from edgekit.tasks.lanes.task import softmax
from edgekit.tasks.ranking import places_of, read_scores

RIVAL_MARGIN = 1.0
"""Logits: a score that is behind the greatest by this counts 1 / e of it."""

THRESHOLD_MARGIN = 0.25
"""A probability this far from its threshold counts half as much as one that is level with it."""

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Heads = Mapping[str, NDArray[Any]]


class FocusOptions(Strict):
    """How strongly the objective keeps to the foreground.

    `hard` weighs what post-processing reads, all alike, and nothing else. `soft` weighs by the network's certainty c
    that a lane is there. `floor` gives the share alpha of the weight to all elements alike and the rest by c.

    Heads that say whether there is a lane at all give the share `background` to all elements alike, whatever the kind:
    a lane that quantization invents comes from the background.

    Shares, and not a least weight per element: lanes fill two elements in a hundred of one head and half of another,
    and a least weight that suits the second leaves the first hardly focused.
    """

    kind: Literal["hard", "soft", "floor"] = "floor"
    alpha: float = Field(default=0.02, ge=0, le=1, description="share of the weight that `floor` spreads evenly")
    background: float = Field(default=0.25, gt=0, le=1, description="share that a confidence head spreads evenly")
    dilation: int = Field(default=1, ge=0, description="cells or px by which a foreground grows: lanes may move")


@dataclass(frozen=True)
class _Foreground:
    """Where a head counts; both arrays broadcast to the head's shape without its batch axis.

    Attributes:
        read: What post-processing reads.
        certainty: How sure the network is that it should, 0 to 1.
        confidence: Where the head itself says whether there is a lane, so that its background counts too.
    """

    read: Bools
    certainty: Floats
    confidence: Bools | bool = False


def focus_weights(recipe: Recipe, heads: Mapping[str, Any], options: FocusOptions) -> dict[str, Floats]:
    """Return the weight of every element of every head, from the floating-point model's own outputs for one frame.

    The mean over a head is 1, so that an objective keeps its magnitude and heads stay comparable. A head in which
    post-processing reads nothing (a frame without lanes), and one that the decoder does not know, has the weight 1
    everywhere.

    Args:
        recipe: Says what the heads mean.
        heads: Outputs by the recipe's head names, batch axis of 1 included; numpy arrays or torch tensors.
        options: How strongly to focus.

    Returns:
        By head: float32, at least 0, in the head's shape.

    Raises:
        UsageError: An output is missing or has a shape that the recipe does not decode.
        ArtifactError: An output holds NaN or infinity.
    """
    arrays = {name: _array(values) for name, values in heads.items()}
    found = _FAMILIES[recipe.decoder.family](recipe, arrays, options.dilation)
    return {
        name: _weights(found[name], options, values.shape) if name in found else np.ones(values.shape, np.float32)
        for name, values in arrays.items()
    }


def foreground(recipe: Recipe, heads: Mapping[str, Any], dilation: int = 0) -> dict[str, Bools]:
    """Return, by head and in its shape, what post-processing reads: everything, for heads that it does not know.

    Raises:
        UsageError: An output is missing or has a shape that the recipe does not decode.
        ArtifactError: An output holds NaN or infinity.
    """
    arrays = {name: _array(values) for name, values in heads.items()}
    found = _FAMILIES[recipe.decoder.family](recipe, arrays, dilation)
    return {
        name: np.broadcast_to(found[name].read, values.shape).copy() if name in found else np.ones(values.shape, bool)
        for name, values in arrays.items()
    }


def _array(values: Any) -> NDArray[Any]:
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def _weights(found: _Foreground, options: FocusOptions, shape: tuple[int, ...]) -> Floats:
    focused = np.broadcast_to(found.read if options.kind == "hard" else found.certainty, shape)
    mean = focused.mean(dtype=np.float64)
    if not found.read.any() or mean == 0:
        return np.ones(shape, np.float32)
    even = options.alpha if options.kind == "floor" else 0.0
    share = np.where(found.confidence, max(even, options.background), even)
    weights = share + (1 - share) * (focused / mean)
    normalized: Floats = (weights / weights.mean()).astype(np.float32)
    return normalized


def _curve(recipe: Recipe, heads: Heads, dilation: int) -> dict[str, _Foreground]:
    """A query counts by its lane class's probability, all of its parameters alike."""
    decoder = decoder_of(recipe, CurveDecoder)
    confidence, geometry = head_with(recipe, "confidence"), head_with(recipe, "geometry")
    logits = read_head(heads, confidence, ("queries", "classes"))
    read = (logits.argmax(axis=1) == decoder.lane_class)[:, None]
    certainty = softmax(logits, axis=1)[:, decoder.lane_class, None]
    return {confidence: _Foreground(read, certainty, confidence=True), geometry: _Foreground(read, certainty)}


def _row_anchor(recipe: Recipe, heads: Heads, dilation: int) -> dict[str, _Foreground]:
    """Rows with a lane count, in the columns about the winning one, and in those that might win in its place.

    Whether a row has a lane is another head's business, and there what counts is how near it is to the threshold.
    """
    decoder = decoder_of(recipe, RowAnchorDecoder)
    confidence = head_with(recipe, "confidence")
    if decoder.style == "background-column":
        return {
            confidence: _background_column(read_head(heads, confidence, ("columns + 1", "rows", "lanes")), dilation)
        }
    scores = read_head(heads, confidence, ("lanes", "rows", "columns"))
    existence = head_with(recipe, "existence")
    exists = np.clip(read_head(heads, existence, (*scores.shape[:2], 1)), 0, 1)
    there = exists >= decoder.threshold
    winning = _winning(scores, axis=2, dilation=dilation)
    columns = np.maximum(winning, _rivals(scores, axis=2))
    place = _Foreground(winning & there, winning * exists)
    return {
        existence: _Foreground(there, _undecided(exists, decoder.threshold), confidence=True),
        confidence: _Foreground(place.read, columns * exists),
        **{name: place for name in heads_with(recipe, "offset")},
    }


def _background_column(logits: Floats, dilation: int) -> _Foreground:
    """The last column stands for "no lane": it counts in every row that holds a lane, beside the winning ones."""
    lane = 1 - softmax(logits, axis=0)[-1:]
    there = logits.argmax(axis=0, keepdims=True) != logits.shape[0] - 1
    winning = _winning(logits[:-1], axis=0, dilation=dilation)
    rivals = _rivals(logits[:-1], axis=0)
    background = np.ones_like(winning[:1])
    read = np.concatenate([winning, background]) & there
    certainty = np.concatenate([np.maximum(winning, rivals), background]) * lane
    return _Foreground(read, certainty, confidence=True)


def _winning(scores: Floats, axis: int, dilation: int) -> Bools:
    """Return where the greatest score along an axis lies, and `dilation` places to either side."""
    places = np.moveaxis(np.arange(scores.shape[axis]).reshape(-1, *[1] * (scores.ndim - 1)), 0, axis)
    near: Bools = np.abs(places - scores.argmax(axis=axis, keepdims=True)) <= dilation
    return near


def _rivals(scores: Floats, axis: int) -> Floats:
    """Return how near every score comes to the greatest along an axis: 1 where quantization may swap them."""
    odds: Floats = np.exp((scores - scores.max(axis=axis, keepdims=True)) / RIVAL_MARGIN)
    return odds


def _undecided(values: Floats, threshold: float) -> Floats:
    """Return how near values come to a threshold, from 1 there to next to nothing: errors beyond it change nothing."""
    near: Floats = 1.0 / (1.0 + ((values - threshold) / THRESHOLD_MARGIN) ** 2)
    return near


def _line_anchor(recipe: Recipe, heads: Heads, dilation: int) -> dict[str, _Foreground]:
    """Likely anchors count: in start and length, and in the rows up to their upper end. Start x is never read.

    Logits that stand in the same head keep their background, as they would in a head of their own.
    """
    decoder = decoder_of(recipe, LineAnchorDecoder)
    geometry, confidences = head_with(recipe, "geometry"), heads_with(recipe, "confidence")
    columns = decoder.offsets + (3 if confidences else 5)
    proposals = read_head(heads, geometry, ("anchors", columns))
    logits = read_head(heads, confidences[0], (len(proposals), 2)) if confidences else proposals[:, :2]
    lane = softmax(logits, axis=1)[:, 1:]
    start, _, length = proposals[:, -decoder.offsets - 3 : -decoder.offsets].T
    end = np.floor(start * (decoder.offsets - 1) + 0.5) + np.floor(length + 0.5) + dilation
    # Rows below the start are read too: a lane is drawn on to the edge of the image.
    rows = np.arange(decoder.offsets) < end[:, None]
    always, never = np.ones((len(rows), 1), bool), np.zeros((len(rows), 1), bool)
    place = np.concatenate([always, never, always, rows], axis=1)
    likely = lane > decoder.threshold
    if confidences:
        return {
            confidences[0]: _Foreground(likely, lane, confidence=True),
            geometry: _Foreground(place & likely, place * lane),
        }
    place = np.concatenate([always, always, place], axis=1)
    logits_only = np.arange(columns) < 2
    return {geometry: _Foreground(place & likely, place * lane, confidence=logits_only)}


def _keypoint(recipe: Recipe, heads: Heads, dilation: int) -> dict[str, _Foreground]:
    """Cells with a point count, and in what describes the point those about them as well."""
    decoder = decoder_of(recipe, KeypointDecoder)
    confidence = head_with(recipe, "confidence")
    certainty = np.clip(read_head(heads, confidence, (1, "rows", "columns")), 0, 1)
    read = certainty > decoder.threshold
    around = _Foreground(_dilate(read, dilation), _dilate(certainty, dilation))
    described = [head_with(recipe, "offset"), head_with(recipe, "embedding")]
    # Of cells, nearly all lie far below the threshold: however little each counted, together they would count most.
    decisive = certainty * _undecided(certainty, decoder.threshold)
    return {confidence: _Foreground(read, decisive, confidence=True), **{name: around for name in described}}


def _segmentation(recipe: Recipe, heads: Heads, dilation: int) -> dict[str, _Foreground]:
    """The px of a mask count, and those about its outline: 4 p (1 - p) is greatest where the network is least sure."""
    decoder_of(recipe, SegmentationDecoder)
    found = {}
    for name in heads_with(recipe, "mask"):
        logits = read_head(heads, name, ("classes", "rows", "columns"))
        probability = 1 - softmax(logits, axis=0)[:1]
        certainty = np.maximum(probability, 4 * probability * (1 - probability))
        mask = logits.argmax(axis=0)[None] > 0
        found[name] = _Foreground(_dilate(mask, dilation), _dilate(certainty, dilation), confidence=True)
    return found


def _ranking(recipe: Recipe, heads: Heads, dilation: int) -> dict[str, _Foreground]:
    """Candidates count by their place in the list: those of its head, and half as much one that stands at its end."""
    decoder, name = decoder_of(recipe, RankingDecoder), head_with(recipe, "score")
    places = places_of(read_scores(heads, name)).astype(np.float32).reshape(heads[name].shape)
    certainty = (1.0 / (1.0 + (places / decoder.top) ** 2)).astype(np.float32)
    return {name: _Foreground(places < decoder.top, certainty, confidence=True)}


def _generic(recipe: Recipe, heads: Heads, dilation: int) -> dict[str, _Foreground]:
    """Nothing is known of the outputs."""
    return {}


def _dilate(values: NDArray[Any], reach: int) -> NDArray[Any]:
    """Return the greatest value in a square of 2 reach + 1 about every place of the last two axes."""
    for axis in (values.ndim - 2, values.ndim - 1):
        near = np.moveaxis(values, axis, 0)
        greatest = near.copy()
        for step in range(1, reach + 1):
            np.maximum(greatest[step:], near[:-step], out=greatest[step:])
            np.maximum(greatest[:-step], near[step:], out=greatest[:-step])
        values = np.moveaxis(greatest, 0, axis)
    return values


_FAMILIES: dict[str, Callable[[Recipe, Heads, int], dict[str, _Foreground]]] = {
    "curve": _curve,
    "row-anchor": _row_anchor,
    "line-anchor": _line_anchor,
    "keypoint": _keypoint,
    "segmentation": _segmentation,
    "ranking": _ranking,
    "generic": _generic,
}
