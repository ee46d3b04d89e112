"""How much of a model runs on the target's accelerator, and what is asked for."""

from __future__ import annotations

from edgekit.backends import Build
from edgekit.backends.deferred import checked_model
from edgekit.errors import GateError, TargetError
from edgekit.targets import Target

_NOT_COUNTED = frozenset({"QuantizeLinear", "DequantizeLinear", "Constant"})


def allowing_fallback(target: Target, percent: float) -> Target:
    """Return the target with fallback to the CPU where less than all is to run on the accelerator.

    Raises:
        TargetError: Its engine is built on the device, and only there is known what falls back.
    """
    if target.builds != "here":
        raise TargetError(
            problem=f"What of a model {target.name} runs is not known here.",
            found=f"its {target.backend} engine is built on the device",
            fix="Compile without --require-offload; the device's own builder tells what it does not run.",
        )
    if percent >= 100 or "cpu_fallback" not in target.options:
        return target
    return target.model_copy(update={"options": {**target.options, "cpu_fallback": True}})


def compute_nodes(model: bytes) -> int:
    """Return how many nodes a Q/DQ model has that compute something: Q/DQ itself and constants are not counted."""
    return sum(node.op_type not in _NOT_COUNTED for node in checked_model(model).graph.node)


def require_offloaded(built: Build, model: bytes, target: Target, percent: float | None) -> None:
    """Refuse a build of which the accelerator runs too little.

    Raises:
        GateError: It is less than so many percent of the nodes that `compute_nodes` counts.
    """
    if percent is None:
        return
    nodes = compute_nodes(model)
    share = 100 * (1 - len(built.fallback) / nodes) if nodes else 100.0
    if share < percent:
        raise GateError(
            problem=f"{target.name} runs {share:.1f} % of the model's {nodes} nodes (Q/DQ not counted), and "
            f"--require-offload asks for {percent:g} %.",
            found="\n".join(f"{one.node} ({one.operator}): {one.why}" for one in built.fallback),
            fix="Export the model without these operators, or ask for less.",
        )
