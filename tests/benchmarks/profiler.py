"""The profiler beside other tools' own timing, on the same models and threads, in turn; and what it costs itself.

    python -m tests.benchmarks.profiler --models ../shared/lanes/models -o profiler.json

Against OpenVINO its `benchmark_app` (latency hint, one stream, one thread, float32, synchronous) runs in turn with the
profiler, since it is a process of its own. Against ONNX Runtime a bare loop around `InferenceSession.run` is a workload
of the profiler's schedule, block by block. The medians of both are shown, and what their ratio is.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.backends import backend_for
from edgekit.bundle import GoldenVector
from edgekit.engines import import_onnxruntime, new_session
from edgekit.profiling.latency import median, speedup
from edgekit.profiling.machine import Watch, describe, noise_floor
from edgekit.profiling.pace import Pace, run_block
from edgekit.profiling.schedule import Budget, Workload, calls_per_block, interleave, warm_up
from edgekit.profiling.work import engine_work
from edgekit.recipes import load_recipe
from edgekit.runtime.preprocessing import Preprocessor
from edgekit.runtime.session import Session, heads_of
from edgekit.tasks import task_for

TURNS = 8
SECONDS = 1.0
NOTHING_CALLS = 20_000


def session_for(engine: str, model: bytes) -> tuple[Session, np.ndarray[Any, Any]]:
    """Return a session on a floating-point model, one thread, and an input for it."""
    loaded = backend_for(engine).load({"model.onnx": model}, {}, 1)
    spec, recipe = loaded.inputs[0], load_recipe("generic")
    shape = tuple(int(size or 1) for size in spec.shape)
    heads = heads_of(recipe, [output.name for output in loaded.outputs])
    session = Session(loaded, spec.name, Preprocessor(recipe.preprocessing, shape), heads, task_for(recipe))
    return session, np.random.default_rng(0).random(shape, np.float32)


def edgekit_work(engine: str, model: bytes) -> Workload:
    """Return the engine as the profiler times it."""
    session, values = session_for(engine, model)
    return engine_work(engine, [session], [GoldenVector("", (1, 1), values, {})])


def bare_work(model: bytes, values: np.ndarray[Any, Any]) -> Workload:
    """Return ONNX Runtime in a loop of its own: nothing but `run` between two readings of the clock."""
    session = new_session(import_onnxruntime(), model, 1)
    feed = {session.get_inputs()[0].name: values}

    def run() -> tuple[int, ...]:
        start = time.perf_counter_ns()
        session.run(None, feed)
        return (time.perf_counter_ns() - start,)

    return Workload("bare loop", ("engine",), run)


def against_onnxruntime(model: bytes) -> dict[str, Any]:
    """Return the medians of the profiler and of the bare loop, in ms."""
    _, values = session_for("onnxruntime", model)
    workloads = [edgekit_work("onnxruntime", model), bare_work(model, values)]
    for each in workloads:
        warm_up(each)
    # Run by run, so that whatever else the machine does hits both alike.
    ours, bare = (one.parts["engine"] for one in interleave(workloads, Budget(TURNS * SECONDS), calls=1).samples)
    ratio = speedup(ours, bare)
    assert ratio is not None
    return {
        "edgekit_ms": median(ours) / 1e6,
        "other_ms": median(bare) / 1e6,
        "ratio": ratio.value,
        "least_ratio": float(ours.min() / bare.min()),
        "interval_95": [ratio.interval.low, ratio.interval.high] if ratio.interval else None,
        "samples": ours.size,
    }


def against_benchmark_app(path: Path) -> dict[str, Any]:
    """Return the medians over turns of the profiler and of OpenVINO's benchmark_app, in ms."""
    ours, theirs, our_least, their_least = [], [], [], []
    work = edgekit_work("openvino", path.read_bytes())
    calls = calls_per_block([warm_up(work).call_ns], SECONDS)
    for _ in range(TURNS):
        warm_up(work)
        (samples,) = interleave([work], Budget(SECONDS), calls=calls).samples
        ours.append(median(samples.parts["engine"]) / 1e6)
        our_least.append(float(samples.parts["engine"].min()) / 1e6)
        middle, least = benchmark_app(path)
        theirs.append(middle)
        their_least.append(least)
    return {
        "edgekit_ms": float(np.median(ours)),
        "other_ms": float(np.median(theirs)),
        "ratio": float(np.median(np.divide(ours, theirs))),
        # What else the machine does only ever adds time: the least durations have least of it.
        "least_ratio": min(our_least) / min(their_least),
        "turns": [list(pair) for pair in zip(ours, theirs, strict=True)],
    }


def benchmark_app(path: Path) -> tuple[float, float]:
    """Return the median and the least latency that benchmark_app tells, in ms."""
    command = [str(Path(sys.executable).with_name("benchmark_app")), "-m", str(path), "-d", "CPU", "-api", "sync"]
    command += ["-hint", "none", "-nstreams", "1", "-nthreads", "1", "-infer_precision", "f32", "-t", str(int(SECONDS))]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    middle, least = (re.search(rf"{name}:\s+([\d.]+) ms", told) for name in ("Median", "Min"))
    assert middle, told
    assert least, told
    return float(middle[1]), float(least[1])


def own_cost() -> dict[str, float]:
    """Return what the profiler adds to a call that does nothing, in us: to what it tells, and to the time it takes."""

    def nothing(values: Any) -> dict[str, Any]:
        return {}

    class Nothing(Session):
        infer = staticmethod(nothing)  # type: ignore[assignment]

    work = engine_work("nothing", [Nothing.__new__(Nothing)], [GoldenVector("", (1, 1), np.zeros(1), {})])
    run_block(work.run, NOTHING_CALLS, Pace())
    timed = run_block(work.run, NOTHING_CALLS, Pace())
    told = float(np.median([run.parts[0] for run in timed])) / 1e3
    return {
        "told_us": told,
        "call_us": seconds(lambda: run_block(work.run, NOTHING_CALLS, Pace())) / NOTHING_CALLS * 1e6,
        "bare_call_us": seconds(lambda: [nothing(None) for _ in range(NOTHING_CALLS)]) / NOTHING_CALLS * 1e6,
    }


def seconds(call: Callable[[], object]) -> float:
    """Return the least of five times."""
    found = []
    for _ in range(5):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="a folder of folders with a model.onnx each")
    parser.add_argument("-o", "--out", type=Path)
    given = parser.parse_args()
    versions = {name: backend_for(name).available().version for name in ("onnxruntime", "openvino")}
    noise, watch = noise_floor(), Watch()
    found: dict[str, Any] = {"cost": own_cost(), "onnxruntime": {}, "openvino": {}}
    print(json.dumps(found["cost"]), flush=True)
    for path in sorted(given.models.glob("*/model.onnx")):
        found["onnxruntime"][path.parent.name] = against_onnxruntime(path.read_bytes())
        found["openvino"][path.parent.name] = against_benchmark_app(path)
        for engine in ("onnxruntime", "openvino"):
            each = found[engine][path.parent.name]
            ratios = f"x{each['ratio']:.4f} least x{each['least_ratio']:.4f}"
            print(f"{path.parent.name} {engine}: {each['edgekit_ms']:.3f} {each['other_ms']:.3f} {ratios}", flush=True)
    machine, meanwhile = describe(versions), watch.read()
    found["machine"] = {"cpu": machine.cpu, "versions": dict(machine.versions), "noise": noise.cv}
    found["machine"] |= {"others": meanwhile.others, "stolen": meanwhile.stolen}
    print(json.dumps(found["machine"]))
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
