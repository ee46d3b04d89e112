"""Rankings: scores of candidates, compared by the order that they put the candidates in.

The list in floating point is the reference, so no label is needed. Four figures say how far another list is from it:

- order change: the share of pairs of candidates that stand the other way round, where a pair at places p and q of the
  reference, counted from 0, weighs 1/(p+1) + 1/(q+1), so that the head of the list counts most. A pair that became
  equal counts half. It is (1 - t) / 2 of the weighted tau t of Vigna, "A Weighted Correlation Index for Rankings with
  Ties", WWW 2015, with additive hyperbolic weights by the reference.
- NDCG over the first places, where the candidate at place p of the reference is worth 1/log2(p+2), whatever its place.
- AUC at telling the head of the reference from its rest.
- overlap: how much of the head of the reference is in the head of the other list.

Candidates of equal score stand in the order in which they were given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ArtifactError, UsageError
from edgekit.recipes import RankingDecoder, Recipe
from edgekit.tasks.base import Agreement, Array, FrameGeometry, Scene
from edgekit.tasks.heads import decoder_of, head_with, require_finite

Floats = NDArray[np.float32]

_BLOCK = 256
"""Candidates that are compared with all others at once: memory grows with their number alone."""


@dataclass(frozen=True)
class RankingTask:
    """Reads one score per candidate.

    Attributes:
        head: The head with the scores.
        top: Candidates that count as the head of the list.
        ndcg: Places that NDCG is computed over.
    """

    head: str
    top: int
    ndcg: int

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> RankingTask:
        """Build the task of a recipe; it needs one head with the role `score`."""
        decoder = decoder_of(recipe, RankingDecoder)
        return cls(head_with(recipe, "score"), decoder.top, decoder.ndcg)

    def decode(self, heads: Mapping[str, Array], geometry: FrameGeometry) -> Scene:
        """Keep the scores.

        Raises:
            UsageError: There is no such head, or it is not one score per candidate.
            ArtifactError: A score is NaN or infinite.
        """
        return Scene(lanes=(), geometry=geometry, scores=read_scores(heads, self.head))

    def compare(self, reference: Scene, candidate: Scene) -> Agreement:
        """Compare two lists of the same candidates.

        Raises:
            ArtifactError: They are of different length.
        """
        one, two = scores_of(reference), scores_of(candidate)
        require_same_length(one, two)
        figures = {
            "order_change": order_change(one, two),
            "ndcg": ndcg(one, two, self.ndcg),
            "auc": auc_of_head(one, two, self.top),
            "top_overlap": top_overlap(one, two, self.top),
        }
        return Agreement(frames=1, means={name: (value, 1) for name, value in figures.items() if value is not None})


def read_scores(heads: Mapping[str, Array], name: str) -> Floats:
    """Return a head's scores, (candidates) float32.

    Raises:
        UsageError: There is no such head, or it is not one score per candidate.
        ArtifactError: A score is NaN or infinite.
    """
    if name not in heads:
        raise UsageError(
            problem=f"The network gives no output for the head '{name}'.",
            found=f"outputs: {', '.join(heads) or 'none'}",
            fix=f"Set heads.{name}.output in the recipe to the name of the model's output.",
        )
    values = np.asarray(heads[name])
    if values.size == 0 or values.size != max(values.shape, default=1):
        raise UsageError(
            problem=f"The output for the head '{name}' is not one score per candidate.",
            found=" x ".join(map(str, values.shape)),
            fix="Export the ranker with one output (candidates) or (candidates, 1): the logit of each.",
        )
    require_finite(values, name)
    return values.reshape(-1).astype(np.float32)


def scores_of(scene: Scene) -> Floats:
    """Return a scene's scores.

    Raises:
        ArtifactError: It has none.
    """
    if scene.scores is None:
        raise ArtifactError(problem="This is no ranking.", found="a scene without scores")
    return scene.scores


def require_same_length(one: Floats, two: Floats) -> None:
    """Check that two lists are of the same length.

    Raises:
        ArtifactError: They are not.
    """
    if one.shape != two.shape:
        raise ArtifactError(
            problem="Two lists of different length cannot be compared.",
            found=f"{len(one)} and {len(two)} candidates",
            fix="Compare networks that were exported for the same number of candidates.",
        )


def order_of(scores: Floats) -> NDArray[np.intp]:
    """Return the candidates from the greatest score to the least; of equal ones the first given comes first."""
    return np.argsort(-scores, kind="stable")


def places_of(scores: Floats) -> NDArray[np.intp]:
    """Return the place of every candidate in that order, from 0."""
    order = order_of(scores)
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    return places


def order_change(reference: Floats, candidate: Floats) -> float:
    """Return the weighted share of pairs that stand the other way round, 0 to 1; 0 where there is no pair."""
    order = order_of(reference)
    one, two = reference[order], candidate[order]
    weight = 1.0 / (np.arange(len(order)) + 1.0)
    changed = total = 0.0
    for start in range(0, len(order), _BLOCK):
        rows = slice(start, start + _BLOCK)
        # Behind each of these candidates; those that the reference does not tell apart are in no order.
        behind = one[rows, None] > one[None, start:]
        weights = np.where(behind, weight[rows, None] + weight[None, start:], 0.0)
        swapped = np.where(two[rows, None] < two[None, start:], 1.0, 0.5 * (two[rows, None] == two[None, start:]))
        changed += float((weights * swapped).sum())
        total += float(weights.sum())
    return changed / total if total else 0.0


def ndcg(reference: Floats, candidate: Floats, count: int) -> float:
    """Return NDCG over the first `count` places, 0 to 1, where a candidate is worth 1/log2(place in reference + 2)."""
    count = min(count, len(reference))
    worth = 1.0 / np.log2(places_of(reference)[order_of(candidate)[:count]] + 2.0)
    discount = 1.0 / np.log2(np.arange(count) + 2.0)
    return float(worth @ discount / (discount @ discount))


def auc_of_head(reference: Floats, candidate: Floats, top: int) -> float | None:
    """Return the AUC of scores at telling the reference's first `top` from its rest; none where there is no rest."""
    if len(reference) <= top:
        return None
    is_head = np.zeros(len(reference), bool)
    is_head[order_of(reference)[:top]] = True
    ordered = np.sort(candidate[~is_head])
    below = np.searchsorted(ordered, candidate[is_head], side="left")
    level = np.searchsorted(ordered, candidate[is_head], side="right") - below
    return float((below + 0.5 * level).mean() / len(ordered))


def top_overlap(reference: Floats, candidate: Floats, top: int) -> float:
    """Return the share of the reference's first `top` that are among the first `top` of the other list."""
    count = min(top, len(reference))
    return len(np.intersect1d(order_of(reference)[:count], order_of(candidate)[:count])) / count
