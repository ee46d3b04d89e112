"""What OpenVINO made of a model: the kernels of its runtime graph, and how long each takes."""

from __future__ import annotations

import statistics
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


def timed_layers(layers: Sequence[Layer], profiles: Sequence[Sequence[Any]]) -> tuple[TimedLayer, ...]:
    """Return every layer that the profiler knows with its time.

    That is the mean over the runs on a CPU, whose plugin tells after each run the mean of all runs up to it, in whole
    microseconds; what takes less than one it calls not run, and has 0 here. Elsewhere it is the median of the runs.

    Args:
        layers: What `layers_of` gave for the same compiled model.
        profiles: `profiling_info` after each run, from the first on, which does not count.
    """
    runs = [_microseconds(profile) for profile in profiles]
    return tuple(
        TimedLayer(layer, (_mean if layer.device == "CPU" else _median)([run[layer.name] for run in runs]))
        for layer in layers
        if all(layer.name in run for run in runs)
    )


def _microseconds(profile: Sequence[Any]) -> dict[str, float]:
    ran = (one for one in profile if not str(one.status).endswith("OPTIMIZED_OUT"))
    return {one.node_name: one.real_time.total_seconds() * 1e6 for one in ran}


def _mean(means: Sequence[float]) -> float:
    """Return the mean of all runs but the first, from the mean after each run."""
    return max(0.0, (means[-1] * len(means) - means[0]) / (len(means) - 1))


def _median(times: Sequence[float]) -> float:
    return statistics.median(times[1:])


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
