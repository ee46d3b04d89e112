"""A profile as one HTML page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from edgekit.report.html.bars import growth, layer_bars, memory_bars
from edgekit.report.html.durations import NAMES, Series, distribution, time_line
from edgekit.report.html.page import cards, facts, notices, page, section, table
from edgekit.report.html.plot import number

PARTS = {
    "end_to_end": "End to end",
    "engine": "Engine",
    "device": "Engine, by the device's clock",
    "preprocess": "Preprocessing",
    "postprocess": "Post-processing",
    "wait": "Wait for the engine",
}
PERCENTILES = ("p50", "p90", "p99", "p99.9")

Json = Mapping[str, Any]


def profile_html(profiles: Sequence[Json], durations: Sequence[Mapping[str, Series]], estimates: Sequence[Json]) -> str:
    """Return the page of profiles of one bundle, each in another engine.

    Args:
        profiles: What `Profile.to_json` returns.
        durations: For each: part of the work to every duration that was measured.
        estimates: Of boards that are not here, as JSON has them.
    """
    first = profiles[0]
    sections = [
        section_
        for profile, taken in zip(profiles, durations, strict=True)
        for section_ in [
            f'<h2 class="engine">{escape(_engine(profile))}</h2>' if len(profiles) > 1 else "",
            *_sections(profile, taken),
        ]
    ]
    return page(
        f"Profile of {str(first['bundle']).rsplit('/', 1)[-1]}",
        f"{'; '.join(map(_engine, profiles))}; on {first['machine']['board'] or first['machine']['cpu']}. "
        f"{first['target']['statement']}",
        first["origin"],
        [*sections, section("Other boards: estimated, not measured", _estimates(estimates), _ESTIMATED)],
    )


_ESTIMATED = (
    "Ranges by the roofline model from published peak figures, in ms a run. Where a descriptor lacks a figure that is "
    "needed, there is no estimate."
)


def _estimates(estimates: Sequence[Json]) -> str:
    rows = [
        (
            each["target"],
            *(_span(each[key]) for key in ("fp_ms", "int8_ms", "speedup")),
            each["int8_pays"],
            ", ".join(each["missing"]) or "-",
        )
        for each in estimates
    ]
    return table(("", "floating point", "INT8", "speed-up", "INT8 pays", "missing"), rows) if rows else ""


def _span(pair: Sequence[float] | None) -> str:
    return f"{number(pair[0])} to {number(pair[1])}" if pair else "-"


def _sections(profile: Json, durations: Mapping[str, Series]) -> list[str]:
    deadline = profile["config"]["deadline_ms"]
    shown = [part for part in ("end_to_end", "engine") if durations.get(part)]
    charts = "".join(
        f"<div><h3>{PARTS[part]}</h3>"
        f"{distribution(durations[part], _known(profile, part), deadline if part == 'end_to_end' else None)}</div>"
        for part in shown
    )
    whole = durations.get("end_to_end") or durations.get("engine")
    layers, rows = profile["layers"], profile["rows"]
    return [
        notices("finding", _partial(profile)),
        cards(_headline(profile)),
        notices("finding", (f"{NAMES[each['model']]}: {each['statement']}" for each in profile["findings"])),
        notices("warning", profile["warnings"]),
        section("Latency distribution", f'<div class="pair">{charts}</div>' if charts else ""),
        section("Time line", time_line(whole, deadline) if whole else "", _schedule(profile)),
        section("Latency in ms", _latency(profile), _few(profile)),
        section("Layers", layer_bars(layers) if layers else "", _LAYERS),
        section("Memory of a fresh process", memory_bars(rows) + growth(rows)),
        section("Machine and conditions", facts(_conditions(profile))),
        section("Origin of the figures", facts(_origins(profile))),
    ]


_LAYERS = (
    "Measured under the engine's own profiler, which slows it down: the shares count. What an engine fuses is one row, "
    "with the nodes of the model that it computes."
)


def _partial(profile: Json) -> Iterator[str]:
    if profile["partial"]:
        yield f"This profile is partial: {profile['partial']}"


def _known(profile: Json, part: str) -> dict[str, dict[str, float | None]]:
    return {
        row["model"]: {name: row["latency"][part]["percentiles"][name]["value"] for name in PERCENTILES}
        for row in profile["rows"]
        if part in row["latency"]
    }


def _headline(profile: Json) -> Iterator[tuple[str, str, str]]:
    row = next((row for row in profile["rows"] if row["model"] == "int8"), profile["rows"][-1])
    name = NAMES[row["model"]]
    percentiles = row["latency"]["end_to_end"]["percentiles"]
    median, tail = percentiles["p50"], percentiles["p99"]
    yield f"{name} end to end, p50", _ms(median["value"]), _interval(median)
    yield f"{name} end to end, p99", _ms(tail["value"]), _interval(tail) if tail["value"] else _bound(tail)
    for part in ("end_to_end", "engine"):
        gain = profile["speedup"].get(part)
        if gain:
            low_high = gain["interval_95"]
            told = f"95 %: {low_high[0]:.2f} to {low_high[1]:.2f}" if low_high else "too few rounds for an interval"
            yield f"INT8 against FP, {PARTS[part].lower()}", f"x{gain['ratio']:.2f}", told
    missed = row.get("deadline")
    if missed:
        yield (
            f"{name} deadline misses",
            f"{missed['rate']:.2%}",
            f"{missed['missed']:,} of {missed['frames']:,} frames, {missed['dropped']:,} of them dropped",
        )
    if row["memory"]:
        yield f"{name} peak memory", f"{row['memory']['peak'] / 1e6:.0f} MB", "resident, a fresh process"
    if row.get("gpu_memory") is not None:
        yield f"{name} GPU memory", f"{row['gpu_memory'] / 1e6:.0f} MB", "taken when the engine was loaded"
    energy = row.get("energy")
    if energy:
        yield f"{name} energy", number(energy["joules_per_frame"], "J"), f"a frame; {energy['source']}"


def _ms(value: float | None) -> str:
    return "too few samples" if value is None else number(value, "ms")


def _interval(percentile: Json) -> str:
    found = percentile.get("interval_95")
    return f"95 %: {number(found[0])} to {number(found[1])}" if found else "too few rounds for an interval"


def _bound(percentile: Json) -> str:
    bound = percentile["upper_95"]
    return f"below {number(bound, 'ms')} with 95 %" if bound is not None else f"{percentile['needed']:,} needed"


def _latency(profile: Json) -> str:
    rows = []
    for part, title in PARTS.items():
        for row in profile["rows"]:
            if part not in row["latency"]:
                continue
            latency = row["latency"][part]
            jitter = (latency.get("jitter") or {}).get("spread", {}).get("value")
            rows.append(
                (
                    f"{title}, {NAMES[row['model']]}",
                    *(_cell(latency["percentiles"][name]) for name in PERCENTILES),
                    number(latency["max"]),
                    number(latency["mean"]),
                    "-" if jitter is None else number(jitter),
                    f"{latency['samples']:,}",
                )
            )
    return table(("", *PERCENTILES, "max", "mean", "p99 - p50", "runs"), rows)


def _cell(percentile: Json) -> str:
    if percentile["value"] is not None:
        interval = percentile.get("interval_95")
        return number(percentile["value"]) + (f"\n{number(interval[0])} to {number(interval[1])}" if interval else "")
    return "-" if percentile["upper_95"] is None else f"< {number(percentile['upper_95'])}"


def _few(profile: Json) -> str:
    absent = {
        name: percentile["needed"]
        for row in profile["rows"]
        for latency in row["latency"].values()
        for name, percentile in latency["percentiles"].items()
        if percentile["value"] is None
    }
    if not absent:
        return ""
    needed = ", ".join(f"{name} needs {count:,} runs" for name, count in absent.items())
    return f"Too few samples where there is -: {needed}. < x: it lies below x with 95 % confidence."


def _schedule(profile: Json) -> str:
    config = profile["config"]
    schedule = config["schedule"]
    name = schedule["name"] if isinstance(schedule, Mapping) else schedule
    return f"Schedule: {name}. Rigor: {config['rigor']}, {config['rounds']:,} rounds; the models take turns."


def _engine(profile: Json) -> str:
    config, versions = profile["config"], profile["machine"]["versions"]
    threads = {0: "threads as the engine chooses", 1: "1 thread"}.get(config["threads"], f"{config['threads']} threads")
    return f"{config['engine']} {versions.get(config['engine'], '')}, {threads}".replace(" ,", ",")


def _conditions(profile: Json) -> dict[str, str]:
    machine, config = profile["machine"], profile["config"]
    noise, meanwhile = machine["noise_floor"], machine["meanwhile"]
    limits = machine["limits"]
    return {
        "bundle": str(profile["bundle"]),
        "compiled for": profile["target"]["name"],
        "engine": f"{_engine(profile)}; " + ", ".join(f"{key} {value}" for key, value in config["options"].items()),
        "CPU": machine["cpu"],
        "board": machine["board"],
        "instruction sets": " ".join(machine["isa"]),
        "cores": f"{len(machine['affinity'])} of {machine['cores']} usable{', virtual' if machine['virtual'] else ''}",
        "limits": ", ".join(f"{name} {value}" for name, value in limits.items() if value is not None),
        "memory": f"{machine['memory'] / 1e9:.1f} GB",
        "system": machine["system"],
        "governor": ", ".join(machine["governor"]) or "not readable",
        "frequency": _twice(machine, "frequency_mhz", "MHz"),
        "temperature": _twice(machine, "temperature_c", "°C"),
        "load": _twice(machine, "load", ""),
        "noise floor": f"{noise['before']['cv']:.1%} before, {noise['after']['cv']:.1%} after ({noise['loop']}; "
        f"limit {noise['limit']:.0%})",
        "meanwhile": f"other processes {meanwhile['others']:.2f} cores, stolen by the hypervisor "
        f"{meanwhile['stolen']:.1%}",
        "versions": ", ".join(f"{name} {version}" for name, version in machine["versions"].items()),
        **_frame(config),
    }


def _frame(config: Json) -> dict[str, str]:
    height, width = config["frame_size"]
    if config["reads"] == "features":
        return {"one call": f"{height} candidates of {width} features"}
    return {"frame": f"{width} x {height} px"}


def _twice(machine: Json, key: str, unit: str) -> str:
    values = [machine[when][key] for when in ("before", "after")]
    if None in values:
        return "not readable"
    return f"{number(values[0], unit)} before, {number(values[1], unit)} after"


def _origins(profile: Json) -> dict[str, str]:
    rows = profile["rows"]
    return {
        "latency, misses": f"{profile['origin']}: this engine, on this machine",
        "memory": f"{profile['origin']}: a fresh process for each model" if any(row["memory"] for row in rows) else "",
        "layers": f"{profile['origin']}: by the engine's own profiler" if profile["layers"] else "",
        "weights": "counted in the file: "
        + ", ".join(f"{NAMES[row['model']]} {row['weight_bytes'] / 1e6:.2f} MB" for row in rows),
        "activations": ", ".join(
            f"{NAMES[row['model']]} {row['arena']['planned'] / 1e6:.2f} MB" for row in rows if row.get("arena")
        )
        and "estimated from the graph's shapes: "
        + ", ".join(
            f"{NAMES[row['model']]} {row['arena']['planned'] / 1e6:.2f} MB" for row in rows if row.get("arena")
        ),
        "energy": f"{profile['origin']}: {rows[-1]['energy']['source']}" if rows[-1].get("energy") else "",
        "intervals": "95 %, circular block bootstrap over the rounds",
    }
