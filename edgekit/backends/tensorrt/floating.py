"""The floating-point model beside a bundle's: built on the spot, and kept, since that takes minutes on a board."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.backends.base import Layer
from edgekit.backends.deferred import checked_model
from edgekit.backends.tensorrt import fingerprint, record
from edgekit.backends.tensorrt.adapter import api_of, require
from edgekit.backends.tensorrt.build import make_engine
from edgekit.backends.tensorrt.layers import layers_of
from edgekit.errors import OutputError
from edgekit.output import new_folder


def floating_engine(model: bytes, options: Mapping[str, Any]) -> tuple[bytes, tuple[Layer, ...]]:
    """Return an engine of a floating-point model in half precision, and its layers.

    Args:
        model: An ONNX model.
        options: Of a target, as for `load`.

    Raises:
        ModelError: TensorRT does not accept the model.
        TargetError: TensorRT is not here, crashed or took too long.
    """
    settings = record.settings_of(options, half=True)
    found = fingerprint.here(settings.library, require(settings.library))
    asked = json.dumps([dict(options), found], sort_keys=True).encode()
    folder = _cache() / hashlib.sha256(asked + model).hexdigest()
    if not folder.is_dir():
        typed = _half(model) if api_of(settings.library, found["version"]).strongly_typed else model
        order = replace(settings.order, int8=False)
        made = make_engine(settings.library, typed, order, timeout_s=settings.timeout_s)
        try:
            with new_folder(folder) as draft:
                (draft / record.ENGINE).write_bytes(made.engine)
                (draft / record.LAYERS).write_text(json.dumps(made.layers), encoding="utf-8")
        except OutputError:
            # The board may have no room for it, or another process was faster.
            return made.engine, layers_of(made.layers)
    layers = json.loads((folder / record.LAYERS).read_text(encoding="utf-8"))
    return (folder / record.ENGINE).read_bytes(), layers_of(layers)


def _half(model: bytes) -> bytes:
    from edgekit.graph.half import to_half

    half: bytes = to_half(checked_model(model)).SerializeToString()
    return half


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgekit" / "engines"
