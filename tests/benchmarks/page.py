"""The page that the accuracy benchmark writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.benchmarks.bars import COLUMNS, Row, verdicts


@dataclass
class Results:
    """All that the page is written from, as the JSON file beside it holds it.

    Attributes:
        settings: What the run was asked for; only a run with the same settings continues it.
        about: Date, processor, threads, noise, versions.
        rows: What was measured so far.
    """

    settings: dict[str, Any]
    about: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)


TOOLS = """\
## How each tool is used

Each with the settings that its own documentation names for 8-bit post-training quantization, on the same frames.

- `bf16`: the float32 model with `INFERENCE_PRECISION_HINT=bf16`; nothing is quantized. Only on a CPU that has bf16.
- `quantize_static`: ONNX Runtime's, after its `quant_pre_process`: Q/DQ, weights per channel, unsigned activations,
  min-max ranges; `-entropy` with entropy ranges, frame by frame (`CalibStridedMinMax`), which spares memory.
- `nncf`: `nncf.quantize` with its defaults, on the OpenVINO model for OpenVINO and on the ONNX model for ONNX Runtime;
  `-mixed` with the mixed preset and full instead of fast bias correction.
- `modelopt`: NVIDIA Model Optimizer's `modelopt.onnx.quantization.quantize`, INT8, its default entropy ranges, what is
  not quantized left in float32; `-max` with max ranges. Its files are made for TensorRT: signed and symmetric. OpenVINO
  computes wrong results from some of them on a CPU with VNNI, where ONNX Runtime runs the same file well.
- `aimet`: aimet-onnx's `QuantizationSimModel` with its defaults and its per-channel configuration, batch norms folded
  before, exported by `to_onnx_qdq`; `-adaround`, where it was asked for, with `apply_adaround` before.
- `edgekit-float32`: what EdgeKit's cleaning makes of the float32 model, before anything is quantized: what is faster
  there is no merit of 8 bit. From TwinLiteNet it cuts an attention that its training let decay to nothing.
- `edgekit-quick` and `edgekit-standard`: `edgekit calibrate --effort quick` and `--effort standard`. Its check of the
  result, which no other tool does, is left out of the time.

Quantizing time counts from the start of the tool's work in a process of its own, with its imports and with the reading
of the frames, on all cores; memory is the highest of that process. Both are those of the first half. A tool whose
result is the same for every engine quantizes once: its rows share time and memory.

## How to repeat it

Model Optimizer and AIMET want environments of their own; without them their rows say "not installed". Torch comes
first, in its build for CPUs, or gigabytes of CUDA come along:

```sh
python3 -m venv modelopt
modelopt/bin/pip install torch==2.13.0
modelopt/bin/pip install "nvidia-modelopt[onnx]==0.47.0"
python3 -m venv aimet
aimet/bin/pip install torch==2.13.0
aimet/bin/pip install aimet-onnx==2.42.0
python -m tests.benchmarks.accuracy -o docs/accuracy.md \\
    --modelopt-python modelopt/bin/python --aimet-python aimet/bin/python
```

An interrupted run goes on with `--resume`. The machine should do nothing else.
"""


def page(results: Results) -> str:
    """Return the Markdown page."""
    about, halves = results.about, results.settings["halves"]
    named = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    split = (
        "Every other frame calibrates, the rest checks;\n"
        "then the other way round, so that every frame is checked once by a model that has not seen it."
        if halves == 2
        else "Every other frame calibrates, the rest checks."
    )
    head = f"""\
# Accuracy and speed on real lane models

Written by `python -m tests.benchmarks.accuracy`. Origin of every figure: measured.

Measured {about["date"]} on {about["cpu"]}, {about["threads"]} thread; {named}. Noise floor of the machine: \
{100 * about["noise"]:.1f} % (coefficient of variation of a fixed loop).
{about.get("note", "")}
The reference is the float32 model in the same engine: F1 of its lanes (30 px wide, IoU > 0.5), mean lateral
shift of matched lanes in px of the frame, IoU of its masks.
{split}
Recall is that of CULane's labelled ego lanes. Speed is the ratio to float32 (explicit f32, never bf16).
INT8 is the share of multiply-accumulates whose two factors are both 8 bit; - where the file does not tell.

The rows `jetson-orin` are the Q/DQ models that TensorRT would be given, run by ONNX Runtime: what they cost in lanes is
measured, no speed. ONNX Runtime runs on this x86 processor here: its results count for ARM, its speed does not.
"""
    parts = [head, _bars(results.rows), *_models(results.rows), TOOLS]
    return "\n".join(part for part in parts if part)


def _bars(rows: Sequence[Row]) -> str:
    found = verdicts(rows)
    if not found:
        return ""
    lines = ["## Bars", "", "What this project set out to reach, compared before rounding.", ""]
    lines += [f"| engine | model | bar | {' | '.join(COLUMNS)} |", "|---|---|---|---|---|---|"]
    lines += [f"| {engine} | {model} | {bar} | {' | '.join(told)} |" for engine, model, bar, told in found]
    return "\n".join(lines) + "\n"


def _models(rows: Sequence[Row]) -> list[str]:
    header = "| engine | tool | F1 | shift px | IoU | recall | INT8 | ms | speed | quantizing s | peak MB |"
    sections = []
    for model in dict.fromkeys(row.model for row in rows):
        lines = [f"## {model}", "", header, "|" + "---|" * 11]
        lines += [_table_row(row) for row in rows if row.model == model]
        sections.append("\n".join(lines) + "\n")
    return sections


def _table_row(row: Row) -> str:
    if row.refused:
        costs = [_cell(row.seconds, ".1f"), _cell(row.peak_rss_mb, ".0f")]
        return f"| {row.engine} | {row.tool} | {row.refused.replace('|', '/')} |{' |' * 6} {' | '.join(costs)} |"
    cells = [
        row.engine,
        row.tool,
        _cell(row.figures.get("f1"), ".3f"),
        _cell(row.figures.get("lateral_px"), ".2f"),
        _masks(row.figures),
        _cell(row.recall, ".3f"),
        _cell(row.macs_share, ".3f"),
        _cell(row.milliseconds, ".2f"),
        _cell(row.speedup, ".2f"),
        _cell(row.seconds, ".1f"),
        _cell(row.peak_rss_mb, ".0f"),
    ]
    return f"| {' | '.join(cells)} |"


def _masks(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{name[4:]} {value:.3f}" for name, value in figures.items() if name.startswith("iou_")) or "-"


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
