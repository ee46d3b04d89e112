"""A bundle for shipping: what runs, in as few bytes as it takes, without what proves that it runs right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgekit.api.evidence import Outputs
from edgekit.backends import backend_for
from edgekit.bundle import ENGINE_FOLDER, FEATURES_FOLDER
from edgekit.calibration.artifact import GoldenInput
from edgekit.errors import ModelError
from edgekit.manifest import Manifest

MODEL = "model.onnx"

_COMPILES_ANEW = frozenset({"onnxruntime", "openvino"})
"""Engines that take the ONNX model itself on the device; what OpenVINO compiled of it only spares time."""


def slimmed(
    manifest: Manifest, members: Mapping[str, bytes], golden: Sequence[GoldenInput], outputs: Sequence[Outputs]
) -> tuple[Manifest, dict[str, bytes]]:
    """Return a bundle's content without what the device does not need to run it.

    The model is stored in fewer bytes, weights of layers that are kept in floating point in 8 bit. It is refused where
    the engine gives something else from it than within the golden tolerance.

    Args:
        manifest: Of the whole bundle.
        members: Of the whole bundle.
        golden: The inputs that the engine computed.
        outputs: What it gave.

    Raises:
        ModelError: The engine computes something else from the smaller model.
    """
    engine = {name: members[ENGINE_FOLDER + name] for name in manifest.engine.members}
    if manifest.engine.backend in _COMPILES_ANEW and manifest.engine.built == "here":
        engine = {MODEL: _compacted(engine[MODEL])}
        _require_same(manifest, engine, golden, outputs)
    record = manifest.engine.model_copy(update={"layers": (), "macs": {}, "members": tuple(sorted(engine))})
    smaller = manifest.model_copy(
        update={
            "slim": True,
            "engine": record,
            "golden": manifest.golden.model_copy(update={"vectors": ()}),
            "placement": manifest.placement.model_copy(update={"rows": ()}),
        }
    )
    features = {name: data for name, data in members.items() if name.startswith(FEATURES_FOLDER)}
    return smaller, {**{ENGINE_FOLDER + name: data for name, data in engine.items()}, **features}


def _compacted(model: bytes) -> bytes:
    import onnx

    from edgekit.graph.compact import compact, with_computed_scales, with_small_weights

    smaller = with_computed_scales(with_small_weights(onnx.load_from_string(model)))
    return bytes(compact(smaller).SerializeToString(deterministic=True))


def _require_same(
    manifest: Manifest, engine: Mapping[str, bytes], golden: Sequence[GoldenInput], outputs: Sequence[Outputs]
) -> None:
    loaded = backend_for(manifest.engine.backend).load(engine, manifest.engine.options, threads=1)
    try:
        for one, wanted in zip(golden, outputs, strict=True):
            found = loaded.run({manifest.input.name: one.input})
            for name, values in wanted.items():
                off = float(np.max(np.abs(np.subtract(found[name], values, dtype=np.float64)), initial=0.0))
                if not off <= manifest.golden.tolerance[name]:
                    raise ModelError(
                        problem="The engine computes something else from the smaller model of a slim bundle.",
                        found=f"output '{name}' is off by {off:.3g} on {one.frame}",
                        fix="Ship the bundle that is compiled without --slim.",
                    )
    finally:
        loaded.close()
