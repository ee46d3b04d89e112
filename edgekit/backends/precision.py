"""How much of a model's work an engine runs in which precision, and whether that is what was asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgekit.backends.base import Layer
from edgekit.backends.crosscheck import PRECISION_NOISE
from edgekit.errors import TargetError
from edgekit.targets import Target

_HIGHER = {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}


@dataclass(frozen=True)
class PrecisionShare:
    """What an engine computes in one precision.

    Attributes:
        precision: As in `Layer`; empty for what the engine does not account for.
        kernels: How many of its kernels.
        macs: Their share of the model's multiply-accumulates, 0 to 1.
    """

    precision: str
    kernels: int
    macs: float


def precision_shares(layers: Sequence[Layer], macs: Mapping[str, int]) -> tuple[PrecisionShare, ...]:
    """Return the shares of all precisions, the largest first; none where the engine does not tell its layers.

    Args:
        layers: What the engine computes.
        macs: Multiply-accumulates of one run by node of the model.
    """
    if not layers:
        return ()
    total = sum(macs.values())
    first = {node: layer for layer in reversed(layers) for node in layer.nodes}
    work: Counter[str] = Counter()
    for node, count in macs.items():
        work[first[node].precision if node in first else ""] += count
    kernels = Counter(layer.precision for layer in layers)
    shares = [
        PrecisionShare(name, kernels[name], work[name] / total if total else 0.0)
        for name in kernels | work
        if kernels[name] or work[name]
    ]
    return tuple(sorted(shares, key=lambda share: (-share.macs, -share.kernels, share.precision)))


def asked_precision(target: Target) -> str | None:
    """Return what a target's engine is to compute the unquantized part in; none where that is no floating point."""
    return (
        str(target.options["precision"])
        if "precision" in target.options
        else _HIGHER.get(target.scheme.higher_precision)
    )


def require_precision(engine: str, target: Target, shares: Sequence[PrecisionShare]) -> None:
    """Refuse an engine that computes in another floating-point precision than the target asks for.

    A higher one is let pass where some of the work runs in the one that was asked for: engines lack kernels.

    Raises:
        TargetError: A kernel computes in a lower precision, or what is not quantized nowhere in the one asked for.
    """
    asked = asked_precision(target)
    floating = {share.precision: share for share in shares if share.precision in PRECISION_NOISE}
    if asked is None or not floating:
        return
    lower = [name for name in floating if PRECISION_NOISE[name] > PRECISION_NOISE[asked]]
    working = [name for name, share in floating.items() if share.macs]
    if not lower and (not working or asked in working):
        return
    raise TargetError(
        problem=f"{engine} was asked to compute in {asked} what is not quantized, and computes in another precision.",
        found=shares_text(shares),
        fix="Set options.precision in the target's file to one that the device has, or use the target that fits it.",
    )


def shares_text(shares: Sequence[PrecisionShare]) -> str:
    """Say the shares in one line: `int8 97.3 % of the MACs (41 kernels), f32 2.7 % (5)`."""
    texts = [f"{share.precision or 'not told'} {100 * share.macs:.1f} % ({share.kernels})" for share in shares]
    if texts:
        texts[0] = texts[0].replace(" % (", " % of the MACs (", 1).removesuffix(")") + " kernels)"
    return ", ".join(texts)
