"""The profiler beside other tools' own timing, on the same models and threads, in turn; and what it costs itself.

    python -m tests.benchmarks.profiler --models ../shared/lanes/models -o profiler.json

Against OpenVINO its `benchmark_app` (one stream, one thread, float32, synchronous) runs in turn with the profiler, each
in a new process every time: where a process happens to put its weights changes its speed by more than what is looked
for. `benchmark_app` sets its inputs once, and reads the time that OpenVINO itself takes for a run; an application hands
over a frame and takes the outputs. What that costs is measured beside it, run by run in one process.

Against ONNX Runtime a bare loop around `InferenceSession.run` is a workload of the profiler's schedule, run by run, in
new sessions every time.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.backends import backend_for
from edgekit.backends.openvino_core import import_openvino
from edgekit.bundle import GoldenVector
from edgekit.engines import import_onnxruntime, new_session
from edgekit.profiling.bootstrap import widening
from edgekit.profiling.latency import median
from edgekit.profiling.machine import Watch, describe, noise_floor
from edgekit.profiling.pace import Pace, Run, run_block
from edgekit.profiling.schedule import Budget, Workload, calls_per_block, interleave, warm_up
from edgekit.profiling.work import engine_work
from edgekit.recipes import load_recipe
from edgekit.runtime.preprocessing import Preprocessor
from edgekit.runtime.session import Session, heads_of
from edgekit.tasks import task_for

TURNS = 16
STEPS_SECONDS = 10.0
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


def bare_work(model: bytes) -> Workload:
    """Return ONNX Runtime in a loop of its own: nothing but `run` between two readings of the clock."""
    session = new_session(import_onnxruntime(), model, 1)
    spec = session.get_inputs()[0]
    shape = [size if isinstance(size, int) else 1 for size in spec.shape]
    feed = {spec.name: np.random.default_rng(0).random(shape, np.float32)}

    def run() -> tuple[int, ...]:
        start = time.perf_counter_ns()
        session.run(None, feed)
        return (time.perf_counter_ns() - start,)

    return Workload("bare loop", ("engine",), run)


def against_onnxruntime(model: bytes, turns: int) -> dict[str, Any]:
    """Return the medians over turns of the profiler and of the bare loop, in ms; each turn has new sessions of both."""
    makers, pairs = (partial(edgekit_work, "onnxruntime"), bare_work), []
    for turn in range(turns):
        # Where a session happens to put its weights changes its speed: neither is always made first.
        first = turn % 2
        made = {which: makers[which](model) for which in (first, 1 - first)}
        workloads = [made[0], made[1]]
        for each in workloads:
            warm_up(each)
        # Run by run, so that whatever else the machine does hits both alike.
        ours, bare = (one.parts["engine"] for one in interleave(workloads, Budget(SECONDS), calls=1).samples)
        pairs.append((median(ours) / 1e6, median(bare) / 1e6))
    return beside(pairs)


def beside(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Return the medians over turns of ours and theirs in ms, and their ratio with a 95 % interval over turns."""
    ours, theirs = np.array(pairs).T
    picks = np.random.default_rng(0).integers(len(pairs), size=(2000, len(pairs)))
    resampled = np.median(ours[picks], axis=1) / np.median(theirs[picks], axis=1)
    ratio, wider = float(np.median(ours) / np.median(theirs)), widening(len(pairs))
    low, high = np.quantile(resampled, [0.025, 0.975])
    return {
        "edgekit_ms": float(np.median(ours)),
        "other_ms": float(np.median(theirs)),
        "ratio": ratio,
        "interval_95": [ratio - wider * (ratio - low), ratio + wider * (high - ratio)],
        "turns": [list(pair) for pair in pairs],
    }


def against_benchmark_app(path: Path, turns: int) -> dict[str, Any]:
    """Return the medians over turns of the profiler and of OpenVINO's benchmark_app, in ms."""
    pairs = []
    for turn in range(turns):
        # Whoever comes second finds a warmer machine.
        tools = (one_turn, benchmark_app) if turn % 2 else (benchmark_app, one_turn)
        took = {tool: tool(path) for tool in tools}
        pairs.append((took[one_turn], took[benchmark_app]))
    return beside(pairs) | {"steps_us": steps(path.read_bytes())}


def one_turn(path: Path) -> float:
    """Return the median that the profiler measures in a new process, in ms."""
    command = [sys.executable, "-m", __spec__.name, "--turn", str(path)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def in_this_process(path: Path) -> float:
    """Return the median of the engine as the profiler measures it, in ms."""
    work = edgekit_work("openvino", path.read_bytes())
    calls = calls_per_block([warm_up(work).call_ns], SECONDS)
    (samples,) = interleave([work], Budget(SECONDS), calls=calls).samples
    return median(samples.parts["engine"]) / 1e6


def benchmark_app(path: Path) -> float:
    """Return the median latency that benchmark_app tells, in ms."""
    command = [str(Path(sys.executable).with_name("benchmark_app")), "-m", str(path), "-d", "CPU", "-api", "sync"]
    command += ["-hint", "none", "-nstreams", "1", "-nthreads", "1", "-infer_precision", "f32", "-t", str(int(SECONDS))]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    middle = re.search(r"Median:\s+([\d.]+) ms", told)
    assert middle, told
    return float(middle[1])


def steps(model: bytes) -> dict[str, float]:
    """Return what an application's run takes more than what benchmark_app tells, step by step, in us.

    All run the same compiled model in one process, one run of each in turn, on two inputs in turn but the first.
    """
    openvino = import_openvino()
    engine = backend_for("openvino").load({"model.onnx": model}, {}, 1)
    spec = engine.inputs[0]
    shape = tuple(int(size or 1) for size in spec.shape)
    frames = [np.random.default_rng(seed).random(shape, np.float32) for seed in range(2)]
    turns = cycle(frames)
    bound, handed, read, copied = (engine._made.create_infer_request() for _ in range(4))  # type: ignore[attr-defined]
    bound.infer([frames[0]])

    def told() -> tuple[int, ...]:
        bound.infer()
        return (round(bound.latency * 1e6),)

    def called() -> None:
        bound.infer(share_outputs=True)

    def hand_over() -> None:
        handed.set_input_tensor(0, openvino.Tensor(next(turns), shared_memory=True))
        handed.infer(share_outputs=True)

    def take_outputs() -> None:
        read.set_input_tensor(0, openvino.Tensor(next(turns), shared_memory=True))
        read.infer(share_outputs=True)
        for index in range(len(engine.outputs)):
            read.get_output_tensor(index).data.copy()

    def ours() -> None:
        engine.run({spec.name: next(turns)})

    def by_openvino() -> None:
        copied.infer([next(turns)])

    calls: dict[str, Callable[[], None]] = {
        "the call": called,
        "the input, where it lies": hand_over,
        "copies of the outputs": take_outputs,
        "checks, lock, names": ours,
    }
    workloads = [Workload("told", ("engine",), told)]
    workloads += [Workload(name, ("engine",), timed(call)) for name, call in (calls | {"copied": by_openvino}).items()]
    for each in workloads:
        warm_up(each)
    samples = interleave(workloads, Budget(STEPS_SECONDS), calls=1).samples
    took = {
        work.name: one.parts["engine"].ravel().astype(float) / 1e3 for work, one in zip(workloads, samples, strict=True)
    }
    found, before = {"told by OpenVINO": float(np.median(took["told"]))}, took["told"]
    for name in calls:
        # Of the same round: what the machine does meanwhile hits both.
        found[name] = float(np.median(took[name] - before))
        before = took[name]
    return found | {"instead, OpenVINO's own way": float(np.median(took["copied"] - took["told"]))}


def timed(call: Callable[[], None]) -> Run:
    """Return what runs once and returns the time in ns."""

    def run() -> tuple[int, ...]:
        start = time.perf_counter_ns()
        call()
        return (time.perf_counter_ns() - start,)

    return run


def own_cost() -> dict[str, float]:
    """Return what the profiler adds to a call that does nothing, in us: to what it tells, and to the time it takes."""

    def nothing(values: Any) -> dict[str, Any]:
        return {}

    class Nothing(Session):
        infer = staticmethod(nothing)  # type: ignore[assignment]
        on_device = None

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
    parser.add_argument("--models", type=Path, help="a folder of folders with a model.onnx each")
    parser.add_argument("--only", default="*", help="of these folders, as a pattern")
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--turn", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("-o", "--out", type=Path)
    given = parser.parse_args()
    if given.turn:
        print(in_this_process(given.turn))
        return
    versions = {name: backend_for(name).available().version for name in ("onnxruntime", "openvino")}
    noise, watch = noise_floor(), Watch()
    found: dict[str, Any] = {"cost": own_cost(), "onnxruntime": {}, "openvino": {}}
    print(json.dumps(found["cost"]), flush=True)
    for path in sorted(given.models.glob(f"{given.only}/model.onnx")):
        found["onnxruntime"][path.parent.name] = against_onnxruntime(path.read_bytes(), given.turns)
        found["openvino"][path.parent.name] = against_benchmark_app(path, given.turns)
        for engine in ("onnxruntime", "openvino"):
            each = found[engine][path.parent.name]
            low, high = each["interval_95"]
            ratio = f"x{each['ratio']:.4f} ({low:.4f}..{high:.4f})"
            print(f"{path.parent.name} {engine}: {each['edgekit_ms']:.3f} {each['other_ms']:.3f} {ratio}", flush=True)
        print(json.dumps(found["openvino"][path.parent.name]["steps_us"]), flush=True)
    machine, meanwhile = describe(versions), watch.read()
    found["machine"] = {"cpu": machine.cpu, "versions": dict(machine.versions), "noise": noise.cv}
    found["machine"] |= {"others": meanwhile.others, "stolen": meanwhile.stolen}
    print(json.dumps(found["machine"]))
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
