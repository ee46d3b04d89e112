"""Quantize one model with one tool in a process of its own, so that its time and peak memory are its own.

    python -m tests.benchmarks.tools '{"tool": "edgekit-quick", "model": ..., "frames": ..., ...}'

It writes `out` and prints one line of JSON: seconds and peak resident memory of the quantization.
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import GateError
from edgekit.frames import Frame, Frames, FrameSource
from edgekit.process import resident
from edgekit.recipes import Effort, load_recipe
from edgekit.runtime.preprocessing import Preprocessor

CHECK_FRAMES = 8

Order = dict[str, str]


@dataclass(frozen=True)
class AllForCalibration:
    """Frames that are all calibrated on, as every other tool does; the check of `calibrate` sees a few of them again.

    Attributes:
        frames: The frames.
    """

    frames: FrameSource

    @property
    def skipped(self) -> Sequence[str]:
        return self.frames.skipped

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.frames)

    def spread(self, count: int) -> FrameSource:
        return self.frames.spread(count)

    def split(self, every: int) -> tuple[FrameSource, FrameSource]:
        return self.frames, self.frames.spread(CHECK_FRAMES)

    def digest(self) -> str:
        return self.frames.digest()


def edgekit_float32(order: Order) -> dict[str, float]:
    """EdgeKit's cleaning alone: what is faster for that is no merit of 8 bit."""
    import onnx

    from edgekit.graph.clean import clean
    from edgekit.graph.read import read_model

    onnx.save(clean(read_model(order["model"]), 17).model, order["out"])
    return {}


def edgekit_quick(order: Order) -> dict[str, float]:
    """EdgeKit's plain calibration: ranges and placement."""
    return _edgekit(order, "quick")


def edgekit_standard(order: Order) -> dict[str, float]:
    """EdgeKit's calibration with all steps of the recipe."""
    return _edgekit(order, "standard")


def _edgekit(order: Order, effort: Effort) -> dict[str, float]:
    """Calibrate through the public interface. The time of its check, which others lack, is left out."""
    import edgekit

    frames = AllForCalibration(Frames.open(order["frames"]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "calibration"
        start = time.perf_counter()
        # The folder is written all the same, and the benchmark judges it on frames that it has not seen.
        with suppress(GateError):
            edgekit.calibrate(
                order["model"], frames, target=order["target"], recipe=order["recipe"], out=folder, effort=effort
            )
        seconds = time.perf_counter() - start
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        shutil.copy(folder / "model.qdq.onnx", order["out"])
    return {
        "seconds": round(seconds - report["seconds"]["check"], 2),
        "macs_share": report["quantized"]["macs_share"],
    }


def quantize_static(order: Order) -> dict[str, float]:
    """ONNX Runtime's quantize_static as its documentation shows it, with min-max ranges."""
    return _quantize_static(order, "MinMax")


def quantize_static_entropy(order: Order) -> dict[str, float]:
    """ONNX Runtime's quantize_static with entropy ranges."""
    return _quantize_static(order, "Entropy")


def _quantize_static(order: Order, method: str) -> dict[str, float]:
    """Preprocess, then quantize: Q/DQ, per channel; unsigned activations, as VNNI wants them."""
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType
    from onnxruntime.quantization import quantize_static as quantize
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._inputs = self._next = _inputs(order)

        def __len__(self) -> int:
            return len(Frames.open(order["frames"]))

        def set_range(self, start_index: int, end_index: int) -> None:
            self._next = islice(self._inputs, end_index - start_index)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._next, None)

    with tempfile.TemporaryDirectory() as folder:
        prepared = str(Path(folder) / "model.onnx")
        quant_pre_process(order["model"], prepared)
        quantize(
            prepared,
            order["out"],
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod[method],
            # Frame by frame: else every activation of every frame is in memory at once, 21 GB and more of TwinLiteNet.
            extra_options={"CalibStridedMinMax": 1} if method == "Entropy" else None,
        )
    return {}


def nncf_default(order: Order) -> dict[str, float]:
    """NNCF's post-training quantization with its defaults."""
    return _nncf(order)


def nncf_mixed(order: Order) -> dict[str, float]:
    """NNCF with the mixed preset (asymmetric activations) and full bias correction."""
    import nncf

    return _nncf(order, preset=nncf.QuantizationPreset.MIXED, fast_bias_correction=False)


def _nncf(order: Order, **options: Any) -> dict[str, float]:
    """Quantize the OpenVINO model where `out` is one, else the ONNX model."""
    import nncf

    frames = list(_inputs(order))
    if order["out"].endswith(".onnx"):
        import onnx

        quantized = nncf.quantize(onnx.load(order["model"]), nncf.Dataset(frames), subset_size=len(frames), **options)
        onnx.save(quantized, order["out"])
        return {}
    import openvino

    model = openvino.Core().read_model(order["model"])
    values = [next(iter(frame.values())) for frame in frames]
    quantized = nncf.quantize(model, nncf.Dataset(values), subset_size=len(values), **options)
    openvino.save_model(quantized, order["out"], compress_to_fp16=False)
    return {}


def _inputs(order: Order) -> Iterator[dict[str, np.ndarray]]:
    from edgekit.graph.read import input_of, read_model

    name, shape = input_of(read_model(order["model"]))
    prepare = Preprocessor(load_recipe(order["recipe"]).preprocessing, tuple(extent or 1 for extent in shape))
    return ({name: prepare(frame.values)} for frame in Frames.open(order["frames"]))


TOOLS: dict[str, Callable[[Order], dict[str, float]]] = {
    "edgekit-float32": edgekit_float32,
    "edgekit-quick": edgekit_quick,
    "edgekit-standard": edgekit_standard,
    "quantize_static": quantize_static,
    "quantize_static-entropy": quantize_static_entropy,
    "nncf": nncf_default,
    "nncf-mixed": nncf_mixed,
}
"""Tool to what quantizes with it; what that returns replaces or adds to the figures that are measured around it."""


def main(order: Order) -> None:
    logging.disable(logging.WARNING)
    start = time.perf_counter()
    told = TOOLS[order["tool"]](order)
    measured = {"seconds": round(time.perf_counter() - start, 2), "peak_rss_mb": round(resident()[1] / 2**20, 1)}
    print(json.dumps(measured | told))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
