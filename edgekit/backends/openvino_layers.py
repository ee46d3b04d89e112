"""What OpenVINO made of a model: the kernels of its runtime graph, and how long each takes."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from edgekit.backends.attribution import OnnxNodes
from edgekit.backends.base import Layer, TimedLayer

_PRECISIONS = {"u8": "int8", "i8": "int8", "u16": "int16", "i16": "int16", "i32": "int32", "i64": "int64"}
_NOT_COMPUTED = frozenset({"Input", "Output", "Const", "Parameter", "Result", "Constant"})


def layers_of(compiled: Any, nodes: OnnxNodes | None) -> tuple[Layer, ...]:
    """Return the kernels in the order that they run; empty where the device's plugin does not tell.

    Args:
        compiled: A compiled model.
        nodes: Those of the ONNX model that it was compiled from; without them, layers have OpenVINO's names of nodes.
    """
    try:
        graph = compiled.get_runtime_model()
    except RuntimeError:
        return ()
    device = ", ".join(str(name) for name in compiled.get_property("EXECUTION_DEVICES"))
    found = []
    constant: set[str] = set()
    for kernel in graph.get_ordered_ops():
        told = {name: str(value.astype(str)) for name, value in kernel.get_rt_info().items()}
        sources = [kernel.input(index).get_source_output().get_node() for index in range(kernel.get_input_size())]
        kind = told.get("layerType", "")
        # What has constants only for inputs was computed when the model was compiled.
        if kind == "Const" or (sources and all(source.friendly_name in constant for source in sources)):
            constant.add(kernel.friendly_name)
        elif kind not in _NOT_COMPUTED:
            found.append((int(told.get("execOrder", 0)), _layer(kernel.friendly_name, kind, told, device, nodes)))
    return tuple(layer for _, layer in sorted(found, key=lambda one: one[0]))


def timed_layers(layers: Sequence[Layer], profiles: Sequence[Any]) -> tuple[TimedLayer, ...]:
    """Return every layer that ran with its median time.

    Args:
        layers: What `layers_of` gave for the same compiled model.
        profiles: `profiling_info` of one run each.
    """
    times: dict[str, list[float]] = defaultdict(list)
    for profile in profiles:
        for one in profile:
            if str(one.status).endswith("EXECUTED"):
                times[one.node_name].append(one.real_time.total_seconds() * 1e6)
    return tuple(TimedLayer(layer, statistics.median(times[layer.name])) for layer in layers if times[layer.name])


def _layer(name: str, kind: str, told: dict[str, str], device: str, nodes: OnnxNodes | None) -> Layer:
    primitive, precision = told.get("primitiveType", ""), told.get("runtimePrecision", "")
    original = [part for part in told.get("originalLayersNames", "").split(",") if part]
    return Layer(
        name=name,
        kind=f"{kind} {primitive}".strip(),
        precision=_PRECISIONS.get(precision, precision),
        device=device,
        nodes=tuple(original) if nodes is None else nodes.called(original),
    )
