"""Quantize with NVIDIA Model Optimizer, inside a Python that has nvidia-modelopt[onnx] and need not have EdgeKit.

    python foreign_modelopt.py '{"model": ..., "inputs": ..., "out": ..., "method": "entropy" or "max"}'

`inputs` is a folder of .npy files, one preprocessed input each. The last line of output is JSON: seconds, peak memory.
Settings as in the documentation of `modelopt.onnx.quantization.quantize`: INT8, everything that it supports, with Q/DQ
pairs. What is not quantized stays in float32, so that the file can be held against a float32 model.
"""

import json
import sys
import time
from pathlib import Path


def quantize(order: dict[str, str]) -> None:
    import numpy as np
    import onnx
    from modelopt.onnx.quantization import quantize as modelopt_quantize

    inputs = np.concatenate([np.load(file) for file in sorted(Path(order["inputs"]).glob("*.npy"))])
    name = onnx.load(order["model"]).graph.input[0].name
    modelopt_quantize(
        order["model"],
        quantize_mode="int8",
        calibration_data={name: inputs},
        calibration_method=order["method"],
        calibration_eps=["cpu"],
        high_precision_dtype="fp32",
        output_path=order["out"],
        log_level="ERROR",
    )


def peak_rss_mb() -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    start = time.perf_counter()
    quantize(json.loads(sys.argv[1]))
    print(json.dumps({"seconds": time.perf_counter() - start, "peak_rss_mb": peak_rss_mb()}))
