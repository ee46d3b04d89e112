"""What ONNX Runtime made of a model: its optimized graph, who runs each node, and how long each takes."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.backends.attribution import Kernel, onnx_nodes
from edgekit.backends.base import Layer, Tensors, TimedLayer
from edgekit.engines import OPTIMIZED_MODEL, new_session

_INTEGER_KERNELS = ("QLinear", "QGemm", "QAttention", "MatMulInteger", "ConvInteger")
"""Operators that sum 8-bit products, by how their names start."""

_CONVERSIONS = ("QuantizeLinear", "DequantizeLinear")
_WORDS = {"float": "f32", "float16": "f16", "bfloat16": "bf16", "double": "f64", "uint8": "int8", "uint16": "int16"}
"""Precisions by ONNX Runtime's names of element types; the others keep theirs."""

_EVENT = "_kernel_time"


def layers_of(ort: Any, model: bytes, threads: int) -> tuple[Layer, ...]:
    """Load a model once more and return the nodes of its optimized graph; empty where the package onnx is missing."""
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        session = new_session(ort, model, threads, Path(folder))
        # The profile's file is complete, and no longer written to, from here on.
        session.end_profiling()
        return tuple(_layers(model, Path(folder) / OPTIMIZED_MODEL, _providers(session)).values())


def timed_layers(ort: Any, model: bytes, threads: int, inputs: Tensors, runs: int) -> tuple[TimedLayer, ...]:
    """Run a model with ONNX Runtime's profiler and return each node's median time, in the order that they ran."""
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        session = new_session(ort, model, threads, Path(folder))
        for _ in range(runs + 1):
            session.run(None, dict(inputs))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        known = _layers(model, Path(folder) / OPTIMIZED_MODEL, _providers(session))
    times: dict[str, list[float]] = defaultdict(list)
    found: dict[str, Layer] = {}
    for event in events:
        if event.get("cat") == "Node" and str(event["name"]).endswith(_EVENT):
            name = str(event["name"]).removesuffix(_EVENT)
            times[name].append(float(event["dur"]))
            found.setdefault(name, known.get(name) or _layer_of_event(name, event["args"]))
    # The first run allocates memory and packs weights.
    return tuple(TimedLayer(layer, statistics.median(times[name][1:])) for name, layer in found.items())


def _layer_of_event(name: str, args: Mapping[str, Any]) -> Layer:
    """Return what the profile alone tells of a node that has no name."""
    kind = str(args["op_name"])
    types = [word for types in args["output_type_shape"] for word in types]
    return Layer(name, kind, _precision(kind, types[0] if types else ""), str(args["provider"]))


def _providers(session: Any) -> dict[str, str]:
    """Return the execution provider of every node as ONNX Runtime assigned them; the only one is under ''."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        only = session.get_providers()
        return {"": only[0]} if len(only) == 1 else {}
    assigned = session.get_provider_graph_assignment_info()
    providers = {node.name: part.ep_name for part in assigned for node in part.get_nodes() if node.name}
    names = {part.ep_name for part in assigned}
    return providers | ({"": names.pop()} if len(names) == 1 else {})


def _layers(model: bytes, optimized: Path, providers: Mapping[str, str]) -> dict[str, Layer]:
    """Return the layers by the names that their nodes have in this session."""
    nodes = onnx_nodes(model)
    if nodes is None:
        return {}
    import onnx

    graph = onnx.load(optimized).graph
    types = _types(onnx, model, graph)
    kernels = [Kernel(node.name, node.op_type, tuple(node.input), tuple(node.output)) for node in graph.node]
    same = nodes.known_tensors(kernels)
    kernels.sort(key=lambda kernel: nodes.position(kernel, same))
    return {
        kernel.name or kernel.outputs[0]: Layer(
            name=nodes.stable_name(kernel, same),
            kind=kernel.kind,
            precision=_precision(kernel.kind, types.get(kernel.outputs[0], "")),
            device=_provider(computed, providers),
            nodes=computed,
        )
        for kernel, computed in zip(kernels, nodes.computed_by(kernels, same), strict=True)
    }


def _provider(nodes: Sequence[str], providers: Mapping[str, str]) -> str:
    found = {providers[name] for name in nodes if name in providers}
    return found.pop() if len(found) == 1 else providers.get("", "")


def _types(onnx: Any, model: bytes, graph: Any) -> dict[str, str]:
    """Return the element type of every tensor: as in the model, and for what the engine added as of its input."""
    inferred = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(model)).graph
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    codes = {value.name: value.type.tensor_type.elem_type for value in values}
    codes |= {constant.name: constant.data_type for constant in (*inferred.initializer, *graph.initializer)}
    types = {name: str(onnx.TensorProto.DataType.Name(code)).lower() for name, code in codes.items()}
    for node in graph.node:
        for name in node.output:
            types.setdefault(name, types.get(node.input[0], "") if node.input else "")
    return types


def _precision(kind: str, dtype: str) -> str:
    if kind.startswith(_INTEGER_KERNELS):
        return "int8"
    if kind in _CONVERSIONS:
        return "f32"
    return _WORDS.get(dtype, dtype)
