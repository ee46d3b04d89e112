"""`edgekit.inspect`: what a model, a calibration or a bundle is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import UsageError

if TYPE_CHECKING:
    import onnx


def inspect(path: str | Path) -> dict[str, Any]:
    """Describe an ONNX model, a calibration folder or a bundle.

    Returns:
        A JSON-ready description with `schema_version` and `kind`: "model", "calibration" or "bundle".

    Raises:
        UsageError: There is nothing at `path`.
        ModelError: The model is damaged.
        ArtifactError: The calibration or bundle is damaged.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError(
            problem=f"There is nothing at {path}.", fix="Give an .onnx file, a calibration folder or an .edge bundle."
        )
    if path.is_dir():
        return _calibration(path)
    return _bundle(path) if path.suffix == ".edge" else _model(path)


def _model(path: Path) -> dict[str, Any]:
    from edgekit.graph.clean import clean, opset_of
    from edgekit.graph.cost import node_costs
    from edgekit.graph.read import read_model, with_input_shape

    model = read_model(path)
    cleaned = clean(with_input_shape(model, None), opset_of(model))
    costs = node_costs(cleaned.model)
    return {
        "schema_version": 1,
        "kind": "model",
        "file": path.name,
        "bytes": path.stat().st_size,
        "opset": opset_of(model),
        "producer": model.producer_name,
        "inputs": {value.name: _shape(value) for value in cleaned.model.graph.input},
        "outputs": {value.name: _shape(value) for value in cleaned.model.graph.output},
        "operators": dict(Counter(cost.operator for cost in costs).most_common()),
        "cleaning": {"changes": list(cleaned.changes), "largest_difference": cleaned.largest_difference},
        "macs": sum(cost.macs for cost in costs),
        "parameters": sum(cost.parameters for cost in costs),
        "weight_bytes": sum(cost.weight_bytes for cost in costs),
        "nodes": [
            {
                "name": cost.name,
                "operator": cost.operator,
                "macs": cost.macs,
                "parameters": cost.parameters,
                "weight_bytes": cost.weight_bytes,
                "activation_bytes": cost.activation_bytes,
            }
            for cost in costs
        ],
    }


def _shape(value: onnx.ValueInfoProto) -> list[int]:
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]


def _calibration(path: Path) -> dict[str, Any]:
    from edgekit.calibration.artifact import Calibration

    calibration = Calibration.open(path)
    return {
        "schema_version": 1,
        "kind": "calibration",
        "folder": str(path),
        "recipe": calibration.recipe.name,
        "target": calibration.target.name,
        "provenance": calibration.scales.provenance.model_dump(),
        "nodes": {name: node.model_dump() for name, node in calibration.scales.nodes.items()},
        "report": calibration.report,
    }


def _bundle(path: Path) -> dict[str, Any]:
    from edgekit.bundle import open_bundle

    bundle = open_bundle(path)
    return {
        "schema_version": 1,
        "kind": "bundle",
        "file": path.name,
        "bytes": path.stat().st_size,
        "manifest": bundle.manifest.model_dump(mode="json"),
    }
