"""How long OpenVINO takes to load a bundle's model: compiled when it is loaded, against the compiled model imported.

    python -m tests.benchmarks.openvino_load CALIBRATION...

Each calibration folder is compiled for this machine's own target; the medians of 7 loads each, in turns.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from edgekit.backends import backend_for
from edgekit.calibration.artifact import Calibration
from edgekit.targets import load_target

ROUNDS = 7


def load_ms(members: Mapping[str, bytes]) -> float:
    """Return how long one load takes, in ms."""
    start = time.perf_counter()
    backend_for("openvino").load(members, load_target("host").options, 1).close()
    return (time.perf_counter() - start) * 1e3


def row(folder: Path) -> str:
    """Return one line of the table."""
    model = Calibration.open(folder).qdq_model.read_bytes()
    members = backend_for("openvino").build(model, load_target("host")).members
    load_ms(members)
    pairs = [(load_ms({"model.onnx": model}), load_ms(members)) for _ in range(ROUNDS)]
    compiled, imported = (statistics.median(values) for values in zip(*pairs, strict=True))
    sizes = f"{len(model) / 1e6:.2f} | {len(members['compiled.blob']) / 1e6:.2f}"
    return f"| {folder.name} | {compiled:.0f} | {imported:.0f} | {compiled / imported:.1f} | {sizes} |"


def main() -> None:
    """Print the table."""
    print("| model | compiled, ms | imported, ms | ratio | model, MB | compiled model, MB |\n|---|---|---|---|---|---|")
    for name in sys.argv[1:]:
        print(row(Path(name)), flush=True)


if __name__ == "__main__":
    main()
