"""Compile a model with OpenVINO in a process of its own: for `call_isolated`.

In a fresh process OpenVINO 2026.4 exports the same bytes each time. Within one process it does not: names of the nodes
that it adds count on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgekit.backends.attribution import onnx_nodes
from edgekit.backends.openvino_core import compiled, import_openvino, read
from edgekit.backends.openvino_layers import layers_of
from edgekit.backends.openvino_options import Settings, settings
from edgekit.errors import ModelError

BLOB, RECORD = "compiled.blob", "compiled.json"
IR, WEIGHTS = "model.xml", "model.bin"


def compile_here(folder: Path, options: Mapping[str, Any], keep: bool) -> list[dict[str, Any]]:
    """Compile the model for this CPU and return its layers.

    Args:
        folder: `in/model.onnx` is the model; `compiled.blob` and `compiled.json` go to `out`.
        options: The target's.
        keep: Whether the compiled model is kept.

    Raises:
        ModelError: OpenVINO does not accept the model.
        TargetError: The device computes in another precision than asked for.
    """
    openvino, model = import_openvino(), (folder / "in" / "model.onnx").read_bytes()
    asked = settings(options)
    core = openvino.Core()
    made = compiled(core, read(core, model, b"", ModelError), asked, ModelError)
    if keep:
        (folder / "out" / BLOB).write_bytes(made.export_model().getvalue())
        record = blob_record(openvino, model, asked, str(made.get_property("RUNTIME_REQUIREMENTS")))
        (folder / "out" / RECORD).write_text(json.dumps(record, indent=2, sort_keys=True), encoding="utf-8")
    return [asdict(layer) for layer in layers_of(made, onnx_nodes(model))]


def write_ir(folder: Path) -> str:
    """Write the model as OpenVINO's IR, floating-point weights as f16 and quantized ones as they are.

    Returns:
        OpenVINO's version.

    Args:
        folder: `in/model.onnx` is the model; `model.xml` and `model.bin` go to `out`.

    Raises:
        ModelError: OpenVINO does not accept the model.
    """
    openvino, model = import_openvino(), (folder / "in" / "model.onnx").read_bytes()
    network = read(openvino.Core(), model, b"", ModelError)
    openvino.save_model(network, folder / "out" / IR, compress_to_fp16=True)
    return str(openvino.__version__)


def blob_record(openvino: Any, model: bytes, asked: Settings, requirements: str) -> dict[str, Any]:
    """Return what a compiled model depends on: it is used only where all of this is the same.

    Args:
        openvino: The library.
        model: The ONNX model.
        asked: What it is compiled for.
        requirements: OpenVINO's word for its version and the instruction sets, of the compiled model.
    """
    return {
        "schema_version": 1,
        "openvino": openvino.__version__,
        "runs_on": requirements,
        "settings": asked.without_threads(),
        "model_sha256": hashlib.sha256(model).hexdigest(),
    }
