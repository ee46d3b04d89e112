"""Clean a model: constants folded, BatchNorm fused, opset raised, every node named, every shape known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import version_converter
from onnx_ir.passes import common as passes
from onnxscript import optimizer, rewriter
from onnxscript.rewriter.rules import common as rules

from edgekit.errors import ModelError
from edgekit.graph.dead import cut_dead_branches

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Cleaned:
    """A cleaned model and the proof that it still computes the same.

    Attributes:
        model: The model, at the opset asked for, with the shape of every tensor.
        changes: What was done, for people.
        largest_difference: Largest |cleaned - original| over all outputs, as a share of the output's largest value.
    """

    model: onnx.ModelProto
    changes: tuple[str, ...]
    largest_difference: float


def clean(model: onnx.ModelProto, opset: int) -> Cleaned:
    """Clean a model and prove under ONNX Runtime, on a random input, that its outputs are the same.

    Args:
        model: A checked model with a static input shape.
        opset: The opset to raise it to; a model beyond it is left where it is.

    Raises:
        ModelError: The opset cannot be raised, a shape stays unknown, or the outputs differ by more than 1e-4 of
            their range.
    """
    before = _census(model)
    graph = ir.from_proto(_raise_opset(model, opset))
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(graph)
    optimizer.fold_constants(graph)
    rewriter.rewrite(
        graph,
        [
            rules.fuse_batchnorm_into_conv_rule,
            rules.fuse_batchnorm_into_conv_transpose_rule,
            rules.fuse_batchnorm_into_gemm_rule,
        ],
    )
    passes.IdentityEliminationPass()(graph)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(graph)
    passes.ShapeInferencePass()(graph)
    dead = cut_dead_branches(graph)
    passes.DeduplicateInitializersPass()(graph)
    passes.RemoveUnusedNodesPass()(graph)
    passes.ClearMetadataAndDocStringPass()(graph)
    _name_nodes(graph)
    cleaned = _with_shapes(ir.to_proto(graph))
    difference = largest_difference(model, cleaned)
    if not difference <= TOLERANCE:
        raise ModelError(
            problem="Cleaning the model changed its outputs, so the cleaned model is not used.",
            found=f"largest difference {difference:.2e} of the output range; {TOLERANCE:.0e} is allowed",
            fix="Report the model: this is a fault of the cleaning. Exporting at opset 17 may avoid it.",
        )
    changes = _changes(before, _census(cleaned), model, cleaned)
    return Cleaned(cleaned, (*changes, *([f"{dead} branches of zeros cut off"] if dead else [])), difference)


def at_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Return a cleaned model at an opset, or as it is where it is beyond that already.

    Raises:
        ModelError: The opset cannot be raised.
    """
    if opset_of(model) >= opset:
        return model
    graph = ir.from_proto(_raise_opset(model, opset))
    # The converter puts in nodes of its own, constants among them.
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(graph)
    _name_nodes(graph)
    return _with_shapes(ir.to_proto(graph))


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of the default operator set."""
    return int(next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")))


def largest_difference(one: onnx.ModelProto, two: onnx.ModelProto) -> float:
    """Run both models under ONNX Runtime on one random input and compare all outputs.

    Returns:
        The largest |one - two| over all outputs, as a share of that output's largest finite |value|. Where both are the
        same NaN or infinity, as a root or a logarithm gives of random numbers, they are equal.
    """
    from edgekit.graph.reference import ReferenceRun

    first, second = ReferenceRun(one), ReferenceRun(two)
    values = np.random.default_rng(0).uniform(-1, 1, first.input_shape).astype(np.float32)
    return difference_of(first(values).values(), second(values).values())


def difference_of(one: Iterable[NDArray[Any]], two: Iterable[NDArray[Any]]) -> float:
    """Return the largest |one - two| over pairs of arrays, as a share of the largest finite |one| of the pair.

    Where both are the same NaN or infinity they are equal.
    """
    worst = 0.0
    for a, b in zip(one, two, strict=True):
        extent = float(np.abs(a).max(initial=0.0, where=np.isfinite(a))) or 1.0
        unequal = ~((a == b) | (np.isnan(a) & np.isnan(b)))
        # NaN on one side alone stays NaN, which no tolerance allows.
        worst = float(np.maximum(worst, np.abs(a[unequal] - b[unequal]).max(initial=0.0) / extent))
    return worst


def _raise_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    if opset_of(model) >= opset:
        return model
    try:
        return version_converter.convert_version(model, opset)
    except RuntimeError as error:
        raise ModelError(
            problem=f"The model cannot be raised from opset {opset_of(model)} to {opset}.",
            found=str(error).strip().splitlines()[0],
            fix=f"Export it at opset {opset}.",
        ) from error


def _name_nodes(graph: ir.Model) -> None:
    """Give every node a name of its own: reports, placement and selection refer to nodes by name."""
    taken: Counter[str] = Counter()
    for node in graph.graph:
        wanted = node.name or f"{node.op_type}_{node.outputs[0].name}"
        taken[wanted] += 1
        node.name = wanted if taken[wanted] == 1 else f"{wanted}_{taken[wanted]}"


def _with_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    known = {
        value.name
        for value in (*inferred.graph.value_info, *inferred.graph.output)
        if all(dim.HasField("dim_value") for dim in value.type.tensor_type.shape.dim)
    }
    unknown = [name for node in inferred.graph.node for name in node.output if name and name not in known]
    if unknown:
        raise ModelError(
            problem="The shapes of some tensors depend on the input's values.",
            found=", ".join(unknown[:3]) + (f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""),
            fix="Export with static shapes, and keep post-processing such as NMS out of the model.",
        )
    return inferred


def _census(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def _changes(before: Counter[str], after: Counter[str], old: onnx.ModelProto, new: onnx.ModelProto) -> tuple[str, ...]:
    changes = []
    if opset_of(new) != opset_of(old):
        changes.append(f"opset {opset_of(old)} raised to {opset_of(new)}")
    fused = before["BatchNormalization"] - after["BatchNormalization"]
    if fused:
        changes.append(f"{fused} BatchNormalization fused")
    folded = sum((before - after).values()) - fused
    if folded:
        changes.append(f"{folded} constant or idle nodes removed")
    return tuple(changes)
