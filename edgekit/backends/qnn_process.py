"""QNN as the process of its own runs it: compile a context for Qualcomm's HTP, and run it in the simulator.

Nothing else imports onnxruntime-qnn: its library of 100 MB prints as it likes, and what it does wrong stays there.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgekit.engines import import_onnxruntime
from edgekit.errors import ArtifactError, EdgekitError, ModelError, TargetError

PROVIDER = "QNNExecutionProvider"
CONTEXT, BINARY = "context.onnx", "context_qnn.bin"
"""The model that stands for the context, and the context binary that it names."""

_ERRORS_ONLY = 3
_TOKEN = re.compile(r"_token_\d+$")
"""What the provider adds to the name of a node that it made anew."""

_PRECISIONS = {
    0x0232: "f32",
    0x0216: "f16",
    0x0308: "int8",
    0x0408: "int8",
    0x0316: "int16",
    0x0416: "int16",
    0x0032: "int32",
    0x0132: "int32",
}
"""QNN's data types (Qnn_DataType_t in QnnTypes.h) by what they compute in; quantized ones by their bits."""

_DTYPES = {"float": "float32", "double": "float64"}
"""ONNX Runtime's names of types to numpy's, where they differ."""

Options = Mapping[str, Any]


def compile_context(folder: Path, options: Options) -> dict[str, Any]:
    """Compile `in/model.onnx` to a context in `out`.

    Returns:
        `layers`, each a dict as `edgekit.backends.Layer` has it; `fallback`, the nodes that the CPU runs, each with its
        operator.

    Raises:
        ModelError: The provider does not take the model, or not all of it where `cpu_fallback` is not set.
        TargetError: QNN does not load.
    """
    ort, device = _provider()
    model, out = folder / "in" / "model.onnx", folder / "out"
    graphs = folder / "graphs"
    graphs.mkdir()
    try:
        session = _session(ort, device, model, options, {"ep.context_file_path": str(out / CONTEXT)}, graphs)
    except EdgekitError:
        raise
    except Exception as refusal:
        raise _refused(ort, device, model, options, refusal) from refusal
    if not (out / BINARY).exists():
        raise ModelError(
            problem="QNN takes no node of the model.",
            found=f"onnxruntime-qnn made no context for HTP v{options.get('htp_arch', '')}",
            fix="Compile it for another target.",
        )
    return {"layers": _all_layers(graphs), "fallback": _on_cpu(session)}


def simulate(folder: Path, model: str, options: Options) -> tuple[dict[str, Any], Callable[[Any], Any]]:
    """Load a context, or compile a model on the spot, and return its signature and what runs it.

    Raises:
        ArtifactError: It is damaged, or the provider does not take all of it.
        TargetError: QNN does not load.
    """
    ort, device = _provider()
    graphs = folder / "graphs"
    graphs.mkdir()
    try:
        session = _session(ort, device, folder / "in" / model, options, graphs=graphs)
    except EdgekitError:
        raise
    except Exception as refusal:
        raise ArtifactError(
            problem="QNN does not load the model.",
            found=_first_line(refusal),
            fix="Compile again with the onnxruntime-qnn that is installed here.",
        ) from refusal
    names = [value.name for value in session.get_outputs()]

    def run(inputs: Any) -> Any:
        return dict(zip(names, session.run(names, inputs), strict=True))

    told = {
        "inputs": [_spec(value) for value in session.get_inputs()],
        "outputs": [_spec(value) for value in session.get_outputs()],
        "layers": _all_layers(graphs),
        "nodes": {part.ep_name: len(part.get_nodes()) for part in session.get_provider_graph_assignment_info()},
    }
    return told, run


def _spec(value: Any) -> tuple[str, list[int | None], str]:
    """Return name, shape and numpy's name of the type of an input or output."""
    word = value.type.removeprefix("tensor(").removesuffix(")")
    shape = [size if isinstance(size, int) else None for size in value.shape]
    return value.name, shape, _DTYPES.get(word, word)


def _provider() -> tuple[Any, Any]:
    """Return ONNX Runtime and the HTP, as its plugin offers it."""
    ort = import_onnxruntime()
    try:
        qnn = importlib.import_module("onnxruntime_qnn")
        ort.register_execution_provider_library(PROVIDER, qnn.get_library_path())
        return ort, (next(one for one in ort.get_ep_devices() if one.ep_name == PROVIDER), qnn.get_qnn_htp_path())
    # The plugin's own failure to load, and that of its libraries, is a Fail of ONNX Runtime.
    except Exception as error:
        raise TargetError(
            problem="onnxruntime-qnn does not load here.",
            found=_first_line(error),
            fix="It needs Linux on x86-64 or aarch64 with glibc 2.34 or newer: pip install 'edgekit[qnn]'",
        ) from error


def _session(
    ort: Any,
    device: Any,
    model: Path,
    options: Options,
    entries: Mapping[str, str] | None = None,
    graphs: Path | None = None,
) -> Any:
    settings = ort.SessionOptions()
    settings.log_severity_level = _ERRORS_ONLY
    # Else a provider that fails hands all nodes to the CPU, which gives right-looking results.
    settings.add_session_config_entry("session.disable_cpu_ep_fallback", str(int(not options.get("cpu_fallback"))))
    settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if entries:
        settings.add_session_config_entry("ep.context_enable", "1")
        settings.add_session_config_entry("ep.context_embed_mode", "0")
    for key, value in (entries or {}).items():
        settings.add_session_config_entry(key, value)
    # Half precision is refused where the SoC is not known.
    htp = {"backend_path": device[1], "enable_htp_fp16_precision": str(int("soc_model" in options))}
    htp |= {key: str(options[key]) for key in ("htp_arch", "soc_model") if key in options}
    if graphs is not None:
        htp |= {"dump_json_qnn_graph": "1", "json_qnn_graph_dir": str(graphs)}
    settings.add_provider_for_devices([device[0]], htp)
    # A model's path goes into the names of its graphs, and so into the context; that of a context has to be known.
    return ort.InferenceSession(str(model) if model.name == CONTEXT else model.read_bytes(), settings)


def _refused(ort: Any, device: Any, model: Path, options: Options, refusal: Exception) -> ModelError:
    """Ask again with fallback, to learn which nodes it is."""
    try:
        nodes = _on_cpu(_session(ort, device, model, {**options, "cpu_fallback": True}))
    except Exception:
        nodes = []
    if not nodes:
        return ModelError(
            problem="QNN does not accept the model.",
            found=_first_line(refusal),
            fix="Compile again; if it still refuses, check the model with `edgekit inspect`.",
        )
    return ModelError(
        problem=f"HTP v{options.get('htp_arch', '')} cannot run {len(nodes)} nodes of the model, and falling back to "
        "the CPU was not asked for.",
        found="\n".join(f"{name}: {operator}" for name, operator in nodes),
        fix="Export the model without these operators, or let so many run on the CPU: --require-offload PERCENT",
    )


def _on_cpu(session: Any) -> list[tuple[str, str]]:
    """Return (name, operator) of every node that another provider runs, as the session recorded it."""
    return [
        (_TOKEN.sub("", node.name), node.op_type)
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name != PROVIDER
        for node in part.get_nodes()
    ]


def _all_layers(graphs: Path) -> list[dict[str, Any]]:
    """Return the operations of all graphs that were compiled: of a context that is loaded, none are."""
    return [one for path in sorted(graphs.iterdir()) if "tensor_log" not in path.name for one in _layers(path)]


def _layers(path: Path) -> list[dict[str, Any]]:
    """Return the operations of a graph that the provider gave to QNN, in the order that it named them."""
    graph = json.loads(path.read_text(encoding="utf-8"))["graph"]
    made = {name: tensor["data_type"] for name, tensor in graph["tensors"].items()}
    layers = []
    for name, node in graph["nodes"].items():
        precision = _PRECISIONS.get(made[node["output_names"][0]], "")
        # HTP has no 32-bit floating point: with enable_htp_fp16_precision it computes it in half precision.
        layers.append(
            {
                "name": name,
                "kind": node["type"],
                "precision": "f16" if precision == "f32" else precision,
                "device": PROVIDER,
                "nodes": [_TOKEN.sub("", name)],
            }
        )
    return layers


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
