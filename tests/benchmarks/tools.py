"""Quantize one model with one tool in a process of its own, so that its time and peak memory are its own.

    python -m tests.benchmarks.tools '{"tool": "edgekit", "model": ..., "frames": ..., ...}'

It writes `out` and prints one line of JSON: seconds and peak resident memory of the quantization.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.frames import Frames
from edgekit.process import resident
from edgekit.recipes import Effort, load_recipe, with_effort
from edgekit.runtime.preprocessing import Preprocessor


def edgekit_quick(order: dict[str, str]) -> None:
    """EdgeKit's plain calibration: ranges only."""
    _edgekit(order, "quick")


def edgekit_standard(order: dict[str, str]) -> None:
    """EdgeKit's calibration with all steps of the recipe, selection among them."""
    _edgekit(order, "standard")


def _edgekit(order: dict[str, str], effort: Effort) -> None:
    """Calibrate. The check on held-out frames is not part of the others' work, and is left out."""
    from edgekit.calibration.pipeline import State, run_steps
    from edgekit.calibration.scales import parameters_of
    from edgekit.graph.clean import at_opset, clean
    from edgekit.graph.placement import place
    from edgekit.graph.qdq import write_qdq
    from edgekit.graph.read import input_of, read_model
    from edgekit.progress import silent
    from edgekit.targets import load_target

    recipe, target = with_effort(load_recipe(order["recipe"]), effort), load_target(order["target"])
    model = at_opset(clean(read_model(order["model"]), 17).model, target.scheme.opset)
    placement = place(model, target.scheme)
    prepare = Preprocessor(recipe.preprocessing, tuple(extent or 1 for extent in input_of(model)[1]))
    state = run_steps(State(model, target, placement, Frames.open(order["frames"]), prepare, recipe), silent)
    quantized = write_qdq(model, state.placement, target.scheme, parameters_of(state.scales))
    Path(order["out"]).write_bytes(quantized.SerializeToString())


def quantize_static(order: dict[str, str]) -> None:
    """ONNX Runtime's quantize_static as its documentation shows it: Q/DQ, per channel, min-max; u8 as VNNI wants it."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType
    from onnxruntime.quantization import quantize_static as quantize

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._inputs = _inputs(order)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._inputs, None)

    quantize(
        order["model"],
        order["out"],
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def nncf_default(order: dict[str, str]) -> None:
    """NNCF's post-training quantization with its defaults, on the OpenVINO model."""
    _nncf_openvino(order)


def nncf_mixed(order: dict[str, str]) -> None:
    """NNCF with the mixed preset (asymmetric activations) and full bias correction, on the OpenVINO model."""
    import nncf

    _nncf_openvino(order, preset=nncf.QuantizationPreset.MIXED, fast_bias_correction=False)


def nncf_onnx(order: dict[str, str]) -> None:
    """NNCF's post-training quantization with its defaults, on the ONNX model, for ONNX Runtime."""
    import nncf
    import onnx

    frames = list(_inputs(order))
    onnx.save(nncf.quantize(onnx.load(order["model"]), nncf.Dataset(frames), subset_size=len(frames)), order["out"])


def _nncf_openvino(order: dict[str, str], **options: Any) -> None:
    import nncf
    import openvino

    frames = [next(iter(values.values())) for values in _inputs(order)]
    model = openvino.Core().read_model(order["model"])
    quantized = nncf.quantize(model, nncf.Dataset(frames), subset_size=len(frames), **options)
    openvino.save_model(quantized, order["out"], compress_to_fp16=False)


def _inputs(order: dict[str, str]) -> Iterator[dict[str, np.ndarray]]:
    from edgekit.graph.read import input_of, read_model

    name, shape = input_of(read_model(order["model"]))
    prepare = Preprocessor(load_recipe(order["recipe"]).preprocessing, tuple(extent or 1 for extent in shape))
    return ({name: prepare(frame.pixels)} for frame in Frames.open(order["frames"]))


TOOLS: dict[str, Callable[[dict[str, str]], None]] = {
    "edgekit": edgekit_quick,
    "edgekit-standard": edgekit_standard,
    "quantize_static": quantize_static,
    "nncf": nncf_default,
    "nncf-mixed": nncf_mixed,
    "nncf-onnx": nncf_onnx,
}


def main(order: dict[str, str]) -> None:
    logging.disable(logging.WARNING)
    start = time.perf_counter()
    TOOLS[order["tool"]](order)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": round(seconds, 2), "peak_rss_mb": round(resident()[1] / 2**20, 1)}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
