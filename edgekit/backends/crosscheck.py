"""Hold a compiled model against ONNX Runtime's results of the same Q/DQ model before it is believed.

Engines miscompute in silence. Measured on four public lane networks (QuantLaneNet, LSTR, PINet, TwinLiteNet), eight
frames each, quantized by ONNX Runtime's `quantize_static` (min-max, weights per channel), OpenVINO 2026.4 on a CPU with
VNNI against ONNX Runtime 1.31, the same file on both sides:

- with unsigned activations every output differs by 0.2 to 1.5 times the noise that quantization itself adds to it
  (power, ONNX Runtime against floating point): both round, each in its own way;
- with signed activations, convolutions only, PINet's outputs differ by up to 17 times that noise, TwinLiteNet's by more
  than 100 times, and its lane mask's IoU falls from 0.94 to 0.02. On a CPU with AMX, TwinLiteNet's are within the
  bound.

So the bound is four times the noise of quantization, plus what the precision of the unquantized rest allows. The noise
of a float model against ONNX Runtime was -123 dB or less in f32 and -36 dB or less in bf16, over all outputs.

Below -35 dB of the signal no difference counts: on a few golden inputs a saturated head may show next to no noise of
quantization (-54 dB, the reference network), and ordinary rounding is then a multiple of it (-46 dB).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ModelError
from edgekit.tasks.base import Agreement

NOISE_FACTOR = 4.0
TASK_MARGIN = 0.2
"""How much less F1 or IoU the engine may have than ONNX Runtime. A golden set is small: one lane can be 0.1 of F1."""

FLOOR = 3e-4
"""Noise that never counts, as a share of the signal's power: -35 dB."""

PRECISION_NOISE: Mapping[str, float] = {"f32": 1e-6, "f16": 1e-4, "bf16": 1e-3}
"""Noise of an engine's floating-point arithmetic, as a share of the signal's power."""

Outputs = Sequence[Mapping[str, NDArray[Any]]]


@dataclass(frozen=True)
class Difference:
    """How far one output of two engines lies apart, as powers (mean squares) over all golden inputs.

    Attributes:
        output: Its name.
        signal: Of the floating-point model's values.
        quantization: Of ONNX Runtime's differences to the floating-point model.
        engine: Of the engine's differences to ONNX Runtime.
    """

    output: str
    signal: float
    quantization: float
    engine: float

    def within(self, precision: str) -> bool:
        """Whether the engine is within the bound; NaN is not."""
        allowed = NOISE_FACTOR * self.quantization + max(PRECISION_NOISE[precision], FLOOR) * self.signal
        return self.engine <= allowed

    def __str__(self) -> str:
        ratio = self.engine / self.quantization if self.quantization else float("inf")
        return f"{self.output} differs by {ratio:,.1f} times the noise of quantization"


def differences(reference: Outputs, expected: Outputs, actual: Outputs) -> list[Difference]:
    """Measure every output.

    Args:
        reference: Outputs of the floating-point model.
        expected: Of the Q/DQ model in ONNX Runtime.
        actual: Of the compiled model in its engine.
    """
    return [
        Difference(
            output=name,
            signal=_power([one[name] for one in reference]),
            quantization=_power([b[name] - np.float64(a[name]) for a, b in zip(reference, expected, strict=True)]),
            engine=_power([b[name] - np.float64(a[name]) for a, b in zip(expected, actual, strict=True)]),
        )
        for name in expected[0]
    ]


def require_same_results(
    engine: str, precision: str, found: Sequence[Difference], expected: Agreement, actual: Agreement
) -> None:
    """Refuse an engine that computes something else than ONNX Runtime from the same Q/DQ model.

    Args:
        engine: The engine's name.
        precision: What it computes the unquantized part in.
        found: What `differences` measured.
        expected: ONNX Runtime's scenes against the floating-point model's.
        actual: The engine's scenes against the floating-point model's.

    Raises:
        ModelError: An output differs by more than the bound, or the scenes are worse by more than `TASK_MARGIN`.
    """
    broken = [str(difference) for difference in found if not difference.within(precision)]
    broken += _worse(expected.figures(), actual.figures())
    if not broken:
        return
    raise ModelError(
        problem=f"{engine} computes other results than ONNX Runtime from the same quantized model.",
        found="; ".join([*broken, f"against floating point: {_pair(expected.figures(), actual.figures(), engine)}"]),
        fix="Do not use this model with this engine here. Calibrate for the target itself, or compile for one "
        "whose scheme and instruction set fit: OpenVINO is right with unsigned activations only, and on a CPU without "
        "VNNI with weights of 7 bit only (intel-cpu-avx2). On a CPU with AMX, see whether it is right without: set "
        "ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 here, and then wherever the model runs.",
    )


def _worse(expected: Mapping[str, float], actual: Mapping[str, float]) -> list[str]:
    return [
        f"{name} {actual.get(name, 0.0):.3f} instead of {value:.3f}"
        for name, value in expected.items()
        if (name == "f1" or name.startswith("iou_")) and not actual.get(name, 0.0) >= value - TASK_MARGIN
    ]


def _pair(expected: Mapping[str, float], actual: Mapping[str, float], engine: str) -> str:
    return ", ".join(
        f"{name} {value:.3f} (ONNX Runtime), {actual[name]:.3f} ({engine})"
        for name, value in expected.items()
        if name in actual
    )


def _power(values: Sequence[NDArray[Any]]) -> float:
    return float(np.mean([np.mean(np.square(one, dtype=np.float64)) for one in values]))
