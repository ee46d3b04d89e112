"""From what was timed to a profile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.bundle import REFERENCE, Bundle
from edgekit.emulation import EMULATED, is_emulated
from edgekit.profiling import machine
from edgekit.profiling.bootstrap import bootstrap
from edgekit.profiling.deadline import misses
from edgekit.profiling.energy import Energy
from edgekit.profiling.findings import find
from edgekit.profiling.latency import speedup, summarize
from edgekit.profiling.liveness import arena
from edgekit.profiling.machine import Disturbance, Machine, Noise, State
from edgekit.profiling.measure import Measured, parts_of
from edgekit.profiling.result import MODELS, Conditions, Method, Model, Profile, Row, Subject
from edgekit.profiling.weights import weight_bytes


@dataclass(frozen=True)
class Beginning:
    """What is known of a measurement before it begins.

    Attributes:
        subject: What is measured.
        machine: On what machine.
        state: The state that it is in.
        noise: Its noise floor.
        no_energy: Why no energy is counted; empty where it is.
        meter: What counts it.
        device_bytes: What each model's engine took of its device's memory; none where it has none of its own.
    """

    subject: Subject
    machine: Machine
    state: State
    noise: Noise
    no_energy: str
    meter: str
    device_bytes: Mapping[Model, int | None]


def concluded(bundle: Bundle, beginning: Beginning, measured: Measured, disturbance: Disturbance) -> Profile:
    """Return a profile with everything but layers and memory."""
    noise = (beginning.noise, machine.noise_floor())
    conditions = Conditions(
        beginning.machine, beginning.state, machine.state(), noise, disturbance, beginning.no_energy
    )
    models = {"fp": bundle.read(REFERENCE), "int8": bundle.engine_members()["model.onnx"]}
    fp, int8 = (parts_of(measured.samples[model]) for model in MODELS)
    found = bundle.manifest.agreement
    agreements = {"fp": None, "int8": found.engine_to_reference or found.onnxruntime_to_reference}
    return Profile(
        subject=beginning.subject,
        method=measured.method,
        conditions=conditions,
        rows=tuple(_row(model, measured, models[model], beginning, agreements[model]) for model in MODELS),
        speedup={part: speedup(fp[part].parts[part], int8[part].parts[part]) for part in ("engine", "end_to_end")},
        findings=tuple(
            finding for model in MODELS for finding in find(model, measured.samples[model], measured.method.pace)
        ),
        warnings=tuple(_warnings(conditions, measured.method, beginning.subject.threads)),
        origin="emulated" if is_emulated() else "measured",
    )


def _row(
    model: Model, measured: Measured, onnx: bytes, beginning: Beginning, agreement: Mapping[str, float] | None
) -> Row:
    works = measured.samples[model]
    deadline = measured.method.deadline_ms
    return Row(
        model=model,
        latency={part: summarize(samples.parts[part]) for part, samples in parts_of(works).items()},
        samples=works,
        seconds=measured.seconds[model],
        misses=misses(works["frame"], deadline) if deadline is not None else None,
        memory=None,
        device_bytes=beginning.device_bytes[model],
        weight_bytes=weight_bytes(onnx),
        arena=arena(onnx),
        energy=_energy(measured.joules[model], beginning.meter) if measured.joules else None,
        agreement=agreement,
    )


def _energy(joules: NDArray[np.float64], meter: str) -> Energy:
    intervals = bootstrap(lambda pick: [float(joules[pick].mean())], joules[:, None], 0)
    return Energy(meter, float(joules.mean()), intervals[0] if intervals else None)


def _warnings(conditions: Conditions, method: Method, threads: int) -> Iterator[str]:
    if is_emulated():
        yield EMULATED
    yield from machine.warnings(conditions.machine, conditions.noise, conditions.disturbance, threads)
    for name, warm in method.warm_up.items():
        if not warm.steady:
            yield f"The speed of '{name}' was not steady after {warm.seconds:.1f} s of warming up."
