"""What TensorRT tells of an engine's layers, from its inspector or from the log of its build."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from edgekit.backends.base import Layer, TimedLayer

Record = dict[str, Any]
"""One layer as the inspector's JSON has it: Name, LayerType, Inputs, Constants or Weights, Outputs, Metadata ..."""

_LAYER = re.compile(r"^Name: (.*?), LayerType: ([^,]*), (.*)$", re.MULTILINE)
_GROUP = re.compile(r"(Inputs|Constants|Outputs): \[(.*?)\](?=, (?:Constants|Outputs|TacticName)\b)")
_TENSOR = re.compile(r"\{ Name: (.*?), Dimensions: \[([^\]]*)\].*?Datatype: (\w+), Format: (.*?) \}")
_TACTIC = re.compile(r"TacticName: (.*?), StreamId: ")
_METADATA = re.compile(r"Metadata: (.*)$")
_NODE = re.compile(r"\[ONNX Layer: ([^\]]*)\]")

_IDLE = frozenset({"signal", "wait", "Signal", "Wait"})
"""Layers that only order the others."""

_GENERATED = frozenset({"kgen"})
"""Kernels that TensorRT generates for what lies between products, element by element."""

_PRECISIONS = {
    "Int8": "int8",
    "Half": "f16",
    "FP16": "f16",
    "Float": "f32",
    "FP32": "f32",
    "BFloat16": "bf16",
    "BF16": "bf16",
    "Int32": "int32",
    "Int64": "int64",
    "Bool": "bool",
}
"""TensorRT's names of types, in either of its two vocabularies, to ours."""

_FLOATS = ("f32", "bf16", "f16")


def read_log(message: str) -> Iterator[Record]:
    """Yield the layers that a message of the build's log lists; most messages list none.

    TensorRT-RTX prints them, one a line, where the profiling verbosity is detailed.
    """
    if not message.startswith("Layers:"):
        return
    for name, kind, rest in _LAYER.findall(message):
        groups = {group: [_tensor(found) for found in _TENSOR.findall(text)] for group, text in _GROUP.findall(rest)}
        yield {
            "Name": name,
            "LayerType": kind,
            **{group: groups.get(group, []) for group in ("Inputs", "Constants", "Outputs")},
            "TacticName": _first(_TACTIC, rest),
            "Metadata": _first(_METADATA, rest),
        }


def layers_of(records: Iterable[Record]) -> tuple[Layer, ...]:
    """Return what the engine computes in which precision, without what only orders other layers.

    What multiplies inputs of one type, or inputs by constants of the same type, computes in that type, whatever it
    accumulates and scales in. Everything else computes in the widest floating type that it touches: a kernel that
    dequantizes, adds and quantizes again does so in floating point. Such kernels also name the convolution that they
    feed; a node belongs to the layer that multiplies, where there is one.
    """
    working = [record for record in records if record.get("LayerType") not in _IDLE]
    multiplied = {node for record in working if record.get("LayerType") not in _GENERATED for node in _nodes(record)}
    return tuple(
        Layer(
            name=str(record.get("Name", "")),
            kind=str(record.get("LayerType", "")),
            precision=_precision(record),
            device="DLA" if record.get("LayerType") == "DLA" else "GPU",
            nodes=tuple(
                node for node in _nodes(record) if record.get("LayerType") not in _GENERATED or node not in multiplied
            ),
        )
        for record in working
    )


def timed_layers(layers: Sequence[Layer], runs: Sequence[Mapping[str, float]]) -> tuple[TimedLayer, ...]:
    """Return the median time of every layer that the profiler told of, in the order that they run.

    Args:
        layers: What the inspector told of them; the profiler calls them by the same names.
        runs: Name to ms, for each run.
    """
    known = {layer.name: layer for layer in layers}
    names = dict.fromkeys(name for run in runs for name in run)
    return tuple(
        TimedLayer(known.get(name, Layer(name, "", "", "GPU")), 1e3 * median(run.get(name, 0.0) for run in runs))
        for name in names
    )


def _nodes(record: Record) -> list[str]:
    return _NODE.findall(str(record.get("Metadata", "")))


def _precision(record: Record) -> str:
    inputs, outputs = _types(record.get("Inputs")), _types(record.get("Outputs"))
    constants = _types(record.get("Constants")) or _types([record.get("Weights")])
    multiplies = inputs[:1] == constants[:1] or (len(inputs) > 1 and len(set(inputs)) == 1)
    if inputs and multiplies and record.get("LayerType") not in _GENERATED:
        return inputs[0]
    touched = [*inputs, *outputs, *constants]
    return next((each for each in _FLOATS if each in touched), touched[0] if touched else "")


def _types(tensors: Any) -> list[str]:
    """Return the types of a record's tensors; those that TensorRT gives no type are left out."""
    told = [each for each in tensors or [] if isinstance(each, dict)]
    # "Datatype" of newer versions, the words of "Format/Datatype" of older ones, "Type" of weights.
    words = [str(each.get("Datatype") or each.get("Format/Datatype") or each.get("Type") or "") for each in told]
    found = [[_PRECISIONS[word] for word in text.split() if word in _PRECISIONS] for text in words]
    return [types[0] for types in found if types]


def _tensor(found: tuple[str, str, str, str]) -> Record:
    name, dimensions, datatype, form = found
    return {
        "Name": name,
        "Dimensions": [int(size) for size in dimensions.split(",") if size.strip()],
        "Datatype": datatype,
        "Format": form,
    }


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found.group(1) if found else ""
