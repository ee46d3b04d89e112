"""Quantize with AIMET, inside a Python that has aimet-onnx and need not have EdgeKit.

    python foreign_aimet.py '{"model": ..., "inputs": ..., "out": ..., "adaround_steps": 0 or the steps per layer}'

`inputs` is a folder of .npy files, one preprocessed input each. The last line of output is JSON: seconds, peak memory.
Settings are AIMET's defaults (8 bit, min-max) with its per-channel configuration, batch norms folded before as its
guide asks; AdaRound, where it is asked for, comes before the encodings of activations are computed.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path


class Inputs:
    """The inputs, read one at a time; AIMET iterates over them several times."""

    def __init__(self, name: str, files: list[Path]) -> None:
        self._name = name
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, one: object) -> bool:
        return False

    def __iter__(self) -> Iterator[dict]:
        import numpy as np

        return ({self._name: np.load(file)} for file in self._files)


def quantize(order: dict) -> None:
    import aimet_onnx
    import onnx
    from aimet_onnx.batch_norm_fold import fold_all_batch_norms_to_weight

    model = onnx.load(order["model"])
    inputs = Inputs(model.graph.input[0].name, sorted(Path(order["inputs"]).glob("*.npy")))
    fold_all_batch_norms_to_weight(model)
    configs = Path(aimet_onnx.__file__).parent / "common" / "quantsim_config"
    simulation = aimet_onnx.QuantizationSimModel(model, config_file=str(configs / "default_config_per_channel.json"))
    if order["adaround_steps"]:
        aimet_onnx.apply_adaround(simulation, inputs, num_iterations=order["adaround_steps"])
    simulation.compute_encodings(inputs)
    onnx.save(simulation.to_onnx_qdq(prequantize_constants=True), order["out"])


def peak_rss_mb() -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    start = time.perf_counter()
    quantize(json.loads(sys.argv[1]))
    print(json.dumps({"seconds": time.perf_counter() - start, "peak_rss_mb": peak_rss_mb()}))
