"""What engines reach of this CPU's peak on synthetic layers: the source of the CPU rows of the efficiency table.

    python -m tests.benchmarks.efficiency [-o table.json]

Takes about two minutes; the machine should do nothing else.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgekit.graph.cost import node_costs
from edgekit.profiling.peaks import Peaks, own_peaks
from edgekit.profiling.roofline import ELEMENTWISE
from edgekit.targets import Scheme, load_target
from tests.benchmarks.judging import Run, engine_run
from tests.benchmarks.layers import DEPTH, VECTOR, Layer, layers, model_of, quantized

TARGETS = {"openvino": "intel-cpu-vnni", "onnxruntime": "arm-cortex-a76"}
SECONDS_EACH = 0.04
LEAST_RUNS = 7
TINY = Layer("Sigmoid", 4, 4)
"""So small that it costs nothing but what each layer and each run costs anyway."""


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path)
    out = parser.parse_args(arguments).out
    peaks = own_peaks()
    print(peaks.origin)
    found: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "layers.onnx"
        for layer in layers():
            for engine, target in TARGETS.items():
                for (kind, number), share in shares(layer, engine, load_target(target).scheme, peaks, path).items():
                    found[engine, kind, number].append(share)
        overheads = {engine: overhead(engine, path) for engine in TARGETS}
    rows = list(table(found))
    print("| engine | kind | | layers | p10 | p50 | p90 |\n|---|---|---|--:|--:|--:|--:|")
    for row in rows:
        print("| " + " | ".join(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row) + " |")
    for engine, (call, each) in overheads.items():
        print(f"{engine}: {call:.1f} us a run, {each:.1f} us a layer")
    if out:
        out.write_text(json.dumps({"peaks": peaks.origin, "rows": rows, "overheads": overheads}, indent=1) + "\n")


def shares(layer: Layer, engine: str, scheme: Scheme, peaks: Peaks, path: Path) -> Mapping[tuple[str, str], float]:
    """Return (kind, number) to the share of the peak that a layer reaches; "gain" is that of the ratio of peaks."""
    assert peaks.floating
    assert peaks.int8
    assert peaks.on_chip
    model = model_of(layer)
    costs = node_costs(model)
    floating = seconds(engine, model, path)
    if layer.kind in VECTOR:
        bytes_moved = sum(cost.activation_bytes + cost.weight_bytes for cost in costs)
        kind = "elementwise" if layer.kind in ELEMENTWISE else "other"
        return {(kind, "bandwidth"): bytes_moved / floating / peaks.on_chip}
    operations = 2 * sum(cost.macs for cost in costs)
    result = {(layer.kind, "float"): operations / floating / peaks.floating.high}
    if {"transposed": "ConvTranspose", "matmul": "MatMul"}.get(layer.kind, "Conv") in scheme.operators:
        integer = seconds(engine, quantized(model, scheme), path)
        result[layer.kind, "int8"] = operations / integer / peaks.int8
        result[layer.kind, "gain"] = floating / integer / (peaks.int8 / peaks.floating.high)
    return result


def seconds(engine: str, model: onnx.ModelProto, path: Path) -> float:
    onnx.save(model, path)
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    return median_seconds(engine_run(engine, path), np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32))


def median_seconds(run: Run, values: Any) -> float:
    for _ in range(3):
        run(values)
    taken: list[int] = []
    end = time.perf_counter() + SECONDS_EACH
    while len(taken) < LEAST_RUNS or time.perf_counter() < end:
        start = time.perf_counter_ns()
        run(values)
        taken.append(time.perf_counter_ns() - start)
    return float(np.median(taken)) / 1e9


def overhead(engine: str, path: Path) -> tuple[float, float]:
    """Return the microseconds that a run and that a layer costs beside its work, from chains of 4 and of 64."""
    short, long = (1e6 * seconds(engine, model_of(TINY, depth), path) for depth in (DEPTH, 16 * DEPTH))
    each = (long - short) / (15 * DEPTH)
    return short - DEPTH * each, each


def table(found: Mapping[tuple[str, str, str], Sequence[float]]) -> Iterator[tuple[Any, ...]]:
    for (engine, kind, number), reached in sorted(found.items()):
        low, middle, high = np.quantile(reached, [0.1, 0.5, 0.9])
        yield engine, kind, number, len(reached), float(low), float(middle), float(high)


if __name__ == "__main__":
    main(sys.argv[1:])
