"""The page of the ablation: every method's figures, and what the full method adds to plain reconstruction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

TARGET = "intel-cpu-vnni"
RANGES = ("min-max", "MSE", "MSE, biases corrected")
PLAIN, FOCUS, SELECTION, BOTH = "QDrop-style", "+ Focus", "+ Selection of heads", "both"
PLAIN_LAYERS, FULL = "QDrop-style, + Selection of layers", "all three"


@dataclass(frozen=True)
class Row:
    """What one method reached.

    Attributes:
        figures: Against the floating-point model on the judging frames: F1, lateral px, IoU.
        distortion: Mean Lane Distortion Score of a judging frame.
        seconds: That the method took, after ranges were chosen.
        steps: Steps of Adam until it stopped.
        chosen: Share of the multiply-accumulates in 8 bit that were chosen to be; the first and last layers' beside.
    """

    model: str
    bits: str
    method: str
    seed: int
    figures: dict[str, float]
    distortion: float
    seconds: float
    steps: int = 0
    chosen: float = 0.0


def page(rows: Sequence[Row], processor: str, versions: Mapping[str, str]) -> str:
    """Return the Markdown page; figures of several seeds are averaged."""
    named = ", ".join(f"{name} {number}" for name, number in versions.items())
    lines = [
        "# Ablation at 4 bit",
        "",
        "Written by `python -m tests.benchmarks.ablation -o docs/ablation.md`. Origin of every figure: measured, of a",
        "network whose 4 bit are simulated in 8-bit dtypes.",
        "",
        f"Measured until {date.today().isoformat()} on {processor}, 1 thread; {named}.",
        "From seed to seed the halves of the frames change places; figures are means over the seeds.",
        "",
        f"The rules are those of `{TARGET}`: Conv and ConvTranspose, weights per channel, unsigned activations. The",
        "first and the last layers stay in 8 bit. Every other frame calibrates, the others judge, by ONNX Runtime: F1",
        "of the lanes (30 px wide, IoU > 0.5), mean lateral shift of matched lanes in px of the frame, IoU of masks",
        "and the mean Lane Distortion Score, all against the floating-point model.",
        "",
        "- **min-max**, **MSE**: ranges alone. **MSE, biases corrected** is where all that follow start.",
        "- **AdaRound**: rounding of weights learned softly, under the mean squared error of the heads.",
        f"- **{PLAIN}**: rounding, activation scales and biases learned under the mean squared error of the heads, the",
        "  whole network at once, half of the activation values skipping quantization at each step.",
        f"- **{FOCUS}**: errors count where post-processing reads. **{SELECTION}**: heads count by how much they",
        f"  distort lanes, estimated anew as it learns. **{BOTH}**: the two.",
        f"- **{FULL}**: the full method. Selection also chooses layers that have 8 bit, as `edgekit calibrate --bits`",
        "  does, for at most a tenth of the multiply-accumulates; the column `8 bit` says for how many. The first and",
        "  the last layers' come on top, in all rows.",
        f"- **{PLAIN_LAYERS}**: plain reconstruction with the same layers in 8 bit.",
        "",
        f"Rows from {PLAIN} to {BOTH} differ in nothing but the objective: same start, frames, steps, rates and seeds.",
        "So do the last two. All that learn keep the state with the least distortion on the same held-out quarter of",
        "the calibrating frames, or half where there are fewer than 32: knowing the Lane Distortion Score there is a",
        "gift to the plain ones, too. Seconds include choosing layers; other work ran beside: they are upper bounds.",
    ]
    lines += _summary(rows)
    for model, bits in dict.fromkeys((row.model, row.bits) for row in rows):
        chosen = [row for row in rows if (row.model, row.bits) == (model, bits)]
        names = list(dict.fromkeys(name for row in chosen for name in row.figures))
        lines += ["", f"## {model}, {bits}, {_seeds(chosen)}", ""]
        lines += [f"| method | {' | '.join(names)} | distortion | 8 bit | steps | seconds |"]
        lines += [f"|---|{'---|' * (len(names) + 4)}"]
        for method in dict.fromkeys(row.method for row in chosen):
            lines.append(_table_row(method, names, [row for row in chosen if row.method == method]))
    return "\n".join(lines) + "\n"


def _summary(rows: Sequence[Row]) -> list[str]:
    """Return what each part adds to plain reconstruction, model by model, over the seeds that all of them have."""
    names = (PLAIN, BOTH, PLAIN_LAYERS, FULL)
    lines = ["", "## The full method against plain reconstruction", ""]
    lines += [f"Points: how far **{FULL}** lies above **{PLAIN}**, in hundredths.", ""]
    lines += [f"| model | bits | seeds | figure | {' | '.join(names)} | points |", f"|{'---|' * (len(names) + 5)}"]
    for model, bits in dict.fromkeys((row.model, row.bits) for row in rows):
        found = {
            name: {row.seed: row for row in rows if (row.model, row.bits, row.method) == (model, bits, name)}
            for name in names
        }
        seeds = set.intersection(*(set(of_seed) for of_seed in found.values()))
        if not seeds:
            continue
        of_method = {name: [of_seed[seed] for seed in sorted(seeds)] for name, of_seed in found.items()}
        figures = [name for name in of_method[PLAIN][0].figures if name == "f1" or name.startswith("iou_")]
        for figure in figures:
            means = [float(np.mean([row.figures[figure] for row in of_method[name]])) for name in names]
            cells = [f"{value:.3f}" for value in means]
            points = f"{round(100 * (means[-1] - means[0]), 1) + 0.0:+.1f}"  # + 0.0: there is no -0.0
            lines.append(f"| {model} | {bits} | {len(seeds)} | {figure} | {' | '.join(cells)} | {points} |")
        cells = [_mean([row.distortion for row in of_method[name]], ".2f") for name in names]
        lines.append(f"| {model} | {bits} | {len(seeds)} | distortion | {' | '.join(cells)} | - |")
    return [
        *lines,
        "",
        "The judging frames hold few lanes: a difference of a few lanes is no evidence. Distortion is steadier than",
        "F1, which a lane at the edge of its threshold moves by whole points.",
    ]


def _seeds(rows: Sequence[Row]) -> str:
    count = len({row.seed for row in rows})
    return f"{count} seeds" if count > 1 else "1 seed"


def _table_row(method: str, names: Sequence[str], rows: Sequence[Row]) -> str:
    cells = [_mean([row.figures[name] for row in rows if name in row.figures], ".3f") for name in names]
    cells += [
        _mean([row.distortion for row in rows], ".2f"),
        _mean([row.chosen for row in rows], ".1%"),
        _mean([row.steps for row in rows], ".0f"),
        _mean([row.seconds for row in rows], ".0f"),
    ]
    return f"| {method} | {' | '.join(cells)} |"


def _mean(values: Sequence[float], form: str) -> str:
    return format(float(np.mean(values)), form) if values else "-"
