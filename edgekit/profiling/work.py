"""What is run and timed: the engine alone, and whole frames."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np

from edgekit.backends import backend_for
from edgekit.bundle import GoldenVector
from edgekit.profiling.pace import Clock, Run
from edgekit.profiling.schedule import Workload
from edgekit.runtime.session import Session

ENGINE = ("engine",)
FRAME = ("preprocess", "engine", "postprocess", "end_to_end")
DEVICE = "device"
"""The engine by the clock of the device that it runs on, where it has one; the last part."""

ONE_OPERATOR_MODEL = (
    b'\x08\x08:;\n\x0c\n\x01x\x12\x01y"\x04Relu\x12\x01tZ\x13\n\x01x\x12\x0e\n\x0c\x08\x01\x12\x08\n\x02\x08\x01\n'
    b"\x02\x08\x03b\x13\n\x01y\x12\x0e\n\x0c\x08\x01\x12\x08\n\x02\x08\x01\n\x02\x08\x03B\x04\n\x00\x10\x11"
)
"""The ONNX model y = Relu(x) for three numbers: what an engine sets up for any model, it sets up for this one."""


def engine_work(
    name: str, sessions: Sequence[Session], vectors: Sequence[GoldenVector], clock: Clock = time.perf_counter_ns
) -> Workload:
    """Return the engine alone, on the golden inputs in turn; one session a stream."""
    run, *others = [_engine_run(session, vectors, clock) for session in sessions]
    return Workload(f"{name} engine", _parts(ENGINE, sessions), run, tuple(others))


def _engine_run(session: Session, vectors: Sequence[GoldenVector], clock: Clock) -> Run:
    inputs = cycle([vector.input for vector in vectors])

    def run() -> tuple[int, ...]:
        values = next(inputs)
        start = clock()
        session.infer(values)
        return (clock() - start,)

    return _with_device(session, run)


def frame_work(
    name: str, sessions: Sequence[Session], vectors: Sequence[GoldenVector], clock: Clock = time.perf_counter_ns
) -> Workload:
    """Return the way of a frame: preprocess it, run the engine on a golden input, decode the outputs for that.

    What is preprocessed is a random frame of the first golden frame's size, since the time that takes does not depend
    on what the frame shows. Decoding does depend on it. One session a stream.
    """
    run, *others = [_frame_run(session, vectors, clock) for session in sessions]
    return Workload(f"{name} frame", _parts(FRAME, sessions), run, tuple(others))


def _parts(parts: tuple[str, ...], sessions: Sequence[Session]) -> tuple[str, ...]:
    return (*parts, DEVICE) if all(session.on_device for session in sessions) else parts


def _with_device(session: Session, run: Run) -> Run:
    """Return a run that yields the time by the device's clock too, where there is one."""
    device = session.on_device
    return run if device is None else lambda: (*run(), device.device_ns)


def _frame_run(session: Session, vectors: Sequence[GoldenVector], clock: Clock) -> Run:
    turns = cycle(vectors)
    frame = session.preprocessor.example(vectors[0].frame_size)

    def run() -> tuple[int, ...]:
        vector = next(turns)
        start = clock()
        session.preprocessor(frame)
        prepared = clock()
        outputs = session.infer(vector.input)
        inferred = clock()
        session.decode(outputs, vector.frame_size)
        end = clock()
        return prepared - start, inferred - prepared, end - inferred, end - start

    return _with_device(session, run)


def start_engine(backend: str, options: Mapping[str, Any], threads: int) -> None:
    """Bring into memory what every model needs that runs in an engine: OpenCV, the engine's libraries, its pools.

    Raises:
        TargetError: The engine is not installed.
    """
    if importlib.util.find_spec("cv2"):
        importlib.import_module("cv2")
    engine = backend_for(backend).load({"model.onnx": ONE_OPERATOR_MODEL}, options, threads)
    engine.run({"x": np.zeros((1, 3), np.float32)})
    engine.close()
