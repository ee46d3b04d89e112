"""A profile as JSON has it; `edgekit.profiling.document` is the schema of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from edgekit.backends import TimedLayer
from edgekit.profiling.bootstrap import Interval
from edgekit.profiling.deadline import Misses
from edgekit.profiling.findings import RULES
from edgekit.profiling.growth import Growth
from edgekit.profiling.latency import PERCENTILES, Latency, Ratio, samples_needed
from edgekit.profiling.layers import Group
from edgekit.profiling.machine import NOISE_LOOP, NOISY
from edgekit.profiling.memory import Memory
from edgekit.profiling.mlperf import summary
from edgekit.profiling.result import Conditions, Method, Profile, Row, Subject
from edgekit.profiling.samples import ENCODING
from edgekit.profiling.schedule import STEADY_RULE

SCHEMA_VERSION = 2

Json = dict[str, Any]


def profile_json(profile: Profile) -> Json:
    """Return a profile as JSON has it."""
    subject, findings = profile.subject, profile.all_findings
    return {
        "schema_version": SCHEMA_VERSION,
        "origin": profile.origin,
        "partial": profile.partial or None,
        "bundle": subject.bundle,
        "target": {
            "name": subject.target,
            "is_this_machine": not subject.mismatch,
            "statement": subject.statement,
            "on_chip_bytes": subject.on_chip_bytes,
        },
        "machine": _machine(profile.conditions),
        "config": _config(subject, profile.method),
        "rows": [_row(row, profile) for row in profile.rows],
        "speedup": {part: _ratio(each) for part, each in profile.speedup.items()},
        "layers": [_group(group) for group in profile.layers],
        "findings": [asdict(finding) | {"rule": RULES[finding.kind]} for finding in findings],
        "warnings": list(profile.warnings),
        # `edgekit.profile_remote` fills it in.
        "remote": None,
    }


def _machine(conditions: Conditions) -> Json:
    return {
        **asdict(conditions.machine),
        "before": asdict(conditions.before),
        "after": asdict(conditions.after),
        "noise_floor": {
            "loop": NOISE_LOOP,
            "limit": NOISY,
            "before": asdict(conditions.noise[0]),
            "after": asdict(conditions.noise[1]),
        },
        "meanwhile": asdict(conditions.disturbance),
        "no_energy": conditions.no_energy or None,
    }


def _config(subject: Subject, method: Method) -> Json:
    return {
        "engine": subject.engine,
        "options": dict(subject.options),
        "threads": subject.threads,
        "rigor": method.rigor,
        "seconds": method.budget.seconds,
        "least_samples": method.budget.samples,
        "schedule": {"name": method.pace.name, **asdict(method.pace)},
        "deadline_ms": method.deadline_ms,
        "rounds": method.rounds,
        "calls_per_block": method.calls_per_block,
        "inputs": method.inputs,
        "reads": subject.reads,
        "frame_size": list(method.frame_size),
        "warm_up_rule": STEADY_RULE,
        "warm_up": {name: asdict(warm) for name, warm in method.warm_up.items()},
    }


def _row(row: Row, profile: Profile) -> Json:
    return {
        "model": row.model,
        "latency": {part: _latency(latency) for part, latency in row.latency.items()},
        "deadline": _misses(row.misses),
        "memory": _memory(row.memory, row.growth),
        "gpu_memory": row.device_bytes,
        "weight_bytes": row.weight_bytes,
        "arena": asdict(row.arena) | {"origin": "estimated"} if row.arena else None,
        "on_chip": _on_chip(row, profile.subject.on_chip_bytes),
        "energy": {
            "source": row.energy.source,
            "joules_per_frame": row.energy.joules,
            **_interval(row.energy.interval),
        }
        if row.energy
        else None,
        "layers": _layers(row.layers),
        "agreement": dict(row.agreement) if row.agreement is not None else None,
        "mlperf": summary(row, profile.method.pace),
        "samples": {
            "unit": "ns",
            "encoding": ENCODING,
            "work": {work: {"seconds": row.seconds[work]} | samples.to_json() for work, samples in row.samples.items()},
        },
    }


def _latency(latency: Latency) -> Json:
    return {
        "unit": "ms",
        "samples": latency.samples,
        "mean": latency.mean,
        "max": latency.max,
        "percentiles": {
            name: {
                "value": latency.percentiles[name],
                **_interval(latency.intervals[name]),
                "upper_95": latency.upper[name],
                **({} if latency.percentiles[name] is not None else _too_few(latency.samples, name)),
            }
            for name in PERCENTILES
        },
        "jitter": {
            name: {"value": value, **_interval(latency.jitter.intervals[name])}
            for name, value in (("spread", latency.jitter.spread), ("successive", latency.jitter.successive))
        },
    }


def _too_few(samples: int, name: str) -> Json:
    return {"absent": "too few samples", "samples": samples, "needed": samples_needed(PERCENTILES[name])}


def _misses(misses: Misses | None) -> Json | None:
    if misses is None:
        return None
    return {
        "deadline_ms": misses.deadline_ms,
        "frames": misses.frames,
        "missed": misses.missed,
        "dropped": misses.dropped,
        "rate": misses.rate,
        **_interval(misses.interval),
        "longest_run": misses.longest,
    }


def _memory(memory: Memory | None, growth: Growth | None) -> Json | None:
    if memory is None:
        return None
    return {
        "interpreter": memory.interpreter,
        "baseline": memory.baseline,
        "loaded": memory.loaded,
        "peak": memory.peak,
        "model": memory.model,
        "proportional": memory.proportional,
        "runs": memory.runs,
        "growth": _growth(growth),
        "watched": [list(point) for point in memory.watched],
    }


def _growth(growth: Growth | None) -> Json | None:
    if growth is None:
        return None
    slope = {"bytes_per_run": growth.bytes_per_run, **_interval(growth.interval)}
    return {"runs": growth.runs, **slope, "leaks": growth.leaks}


def _on_chip(row: Row, on_chip: int | None) -> Json | None:
    """Say whether weights and activations fit into the memory on the target's accelerator."""
    if on_chip is None:
        return None
    activations = row.arena.planned if row.arena else None
    return {
        "origin": "estimated",
        "weights_fit": row.weight_bytes <= on_chip,
        "activations_fit": None if activations is None else activations <= on_chip,
        "both_fit": None if activations is None else row.weight_bytes + activations <= on_chip,
    }


def _layers(layers: tuple[TimedLayer, ...]) -> list[Json]:
    total = sum(layer.microseconds for layer in layers)
    return [
        {
            **asdict(layer.layer),
            "nodes": list(layer.layer.nodes),
            "microseconds": layer.microseconds,
            "share": layer.microseconds / total if total else 0.0,
        }
        for layer in layers
    ]


def _group(group: Group) -> Json:
    return {"nodes": list(group.nodes), **{model: asdict(part) for model, part in group.parts.items()}}


def _ratio(ratio: Ratio | None) -> Json | None:
    return {"ratio": ratio.value, **_interval(ratio.interval)} if ratio else None


def _interval(interval: Interval | None) -> Mapping[str, list[float] | None]:
    return {"interval_95": [interval.low, interval.high] if interval else None}
