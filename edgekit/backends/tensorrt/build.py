"""A model becomes an engine, in a process of its own: TensorRT is foreign code that may crash or hang."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from edgekit.backends.tensorrt.adapter import Builder, Order, order_of
from edgekit.backends.tensorrt.cache import with_version
from edgekit.backends.tensorrt.fingerprint import here
from edgekit.backends.tensorrt.layers import Record
from edgekit.backends.tensorrt.record import CACHE, ENGINE, LAYERS, MODEL, TIMINGS
from edgekit.isolation import call_isolated, tell
from edgekit.progress import Progress, silent


@dataclass(frozen=True)
class Made:
    """What TensorRT made.

    Attributes:
        engine: The engine.
        timings: The timing cache, which makes the next build for the same GPU and version faster; empty where there
            is none.
        layers: What TensorRT tells of every layer; empty where it does not.
        machine: What was here when the engine was built, as `fingerprint.here` tells it.
        log: What TensorRT printed.
        seconds: How long it took.
        peak_bytes: The most resident memory that the process held.
    """

    engine: bytes
    timings: bytes
    layers: tuple[Record, ...]
    machine: Mapping[str, str]
    log: str
    seconds: float
    peak_bytes: int


def make_engine(
    library: str,
    model: bytes,
    order: Order,
    *,
    timeout_s: float,
    cache: bytes = b"",
    timings: bytes = b"",
    progress: Progress = silent,
) -> Made:
    """Build an engine.

    Args:
        library: TensorRT's Python module.
        model: An ONNX model.
        order: What it is built with.
        timeout_s: After so many seconds the build is given up.
        cache: The calibration cache, where scales come from one.
        timings: The timing cache of an earlier build for the same GPU and version.
        progress: Told of TensorRT's own steps.

    Raises:
        ModelError: TensorRT does not accept the model.
        TargetError: TensorRT crashed or took too long, or its version is not known.
    """
    files = {name: data for name, data in ((MODEL, model), (CACHE, cache), (TIMINGS, timings)) if data}
    arguments = {"library": library, "order": asdict(order)}
    outcome = call_isolated(
        f"{__name__}:make", arguments, files, what="TensorRT builds", timeout_s=timeout_s, progress=progress
    )
    return Made(
        engine=outcome.files[ENGINE],
        timings=outcome.files.get(TIMINGS, b""),
        layers=tuple(json.loads(outcome.files[LAYERS])),
        machine=outcome.result,
        log=outcome.log,
        seconds=outcome.seconds,
        peak_bytes=outcome.peak_bytes,
    )


def make(folder: Path, library: str, order: Mapping[str, Any]) -> dict[str, str]:
    """Build within the process; `make_engine` is what to call."""
    source, result = folder / "in", folder / "out"
    builder = Builder(library, partial(print, flush=True), partial(tell, folder))
    cache = _read(source / CACHE)
    engine, timings = builder.build(
        _read(source / MODEL),
        order_of(order),
        with_version(cache, builder.version) if cache else b"",
        _read(source / TIMINGS),
    )
    (result / ENGINE).write_bytes(engine)
    if timings:
        (result / TIMINGS).write_bytes(timings)
    (result / LAYERS).write_text(json.dumps(builder.layers(engine)), encoding="utf-8")
    return here(library, builder.version)


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""
