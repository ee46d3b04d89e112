"""How good scores are: AUC, AUC within users, logloss and calibration error."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Quality:
    """Figures of one task.

    Attributes:
        auc: Probability that a positive stands before a negative; a tie counts one half. NaN without one of either.
        gauc: Mean AUC of users who have both, weighted by their rows; NaN without such a user.
        logloss: Mean negative log-likelihood, natural logarithm.
        ece: Mean distance of predicted and true share of positives over 20 bins of equal count.
    """

    auc: float
    gauc: float
    logloss: float
    ece: float

    def figures(self) -> dict[str, float]:
        """Return name to figure."""
        return asdict(self)


def quality(logits: NDArray[np.floating], labels: NDArray[np.floating], users: NDArray[np.int64]) -> Quality:
    """Return the figures of logits (N) against labels (N) in {0, 1}; `users` (N) says whose rows they are."""
    scores, wanted = logits.astype(np.float64), labels.astype(np.float64)
    return Quality(auc(scores, wanted), gauc(scores, wanted, users), logloss(scores, wanted), ece(scores, wanted))


def auc(scores: Array, labels: Array) -> float:
    """Return the AUC by ranks; tied scores share the middle of theirs."""
    positives = labels.sum()
    negatives = len(labels) - positives
    if not positives or not negatives:
        return float("nan")
    return float((_ranks(scores)[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def _ranks(scores: Array) -> Array:
    """Return ranks from 1; ties share their mean rank."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    last = np.r_[first[1:], len(scores)]
    ranks = np.empty(len(scores))
    ranks[order] = np.repeat((first + 1 + last) / 2, last - first)
    return ranks


def gauc(scores: Array, labels: Array, users: NDArray[np.int64]) -> float:
    """Return the mean AUC within users, weighted by rows."""
    order = np.argsort(users, kind="stable")
    cuts = np.flatnonzero(np.diff(users[order])) + 1
    total = weight = 0.0
    for group in np.split(order, cuts):
        if len(group) and 0 < labels[group].sum() < len(group):
            total += auc(scores[group], labels[group]) * len(group)
            weight += len(group)
    return total / weight if weight else float("nan")


def logloss(logits: Array, labels: Array) -> float:
    """Return the mean negative log-likelihood."""
    return float(np.mean(np.logaddexp(0, logits) - labels * logits))


def ece(logits: Array, labels: Array, bins: int = 20) -> float:
    """Return the expected calibration error over bins of equal count."""
    chances = 1 / (1 + np.exp(-np.clip(logits, -60, 60)))
    parts = np.array_split(np.argsort(chances, kind="stable"), bins)
    apart = [abs(chances[part].mean() - labels[part].mean()) * len(part) for part in parts if len(part)]
    return float(sum(apart) / len(labels))
