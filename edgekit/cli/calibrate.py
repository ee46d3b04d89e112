"""`edgekit calibrate`: from a model and frames to a calibration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

import edgekit
from edgekit.cli.common import PATH, dry_run, overwrite, settings, show_plan, terminal
from edgekit.cli.terminal import Terminal, figures_text, table
from edgekit.errors import GateError

if TYPE_CHECKING:
    from edgekit.calibration.artifact import Calibration
    from edgekit.calibration.write import Request


@click.command()
@click.argument("model", type=PATH, required=False)
@click.option("--data", type=PATH, help="Frames: images in a folder, video, .npz or .txt list; requests as .npz.")
@click.option("--target", default="jetson-orin", show_default=True, help="Board: a name or a TOML file.")
@click.option("--recipe", help="Model family: a name or a TOML file; found by the model's outputs if not given.")
@click.option("--features", type=PATH, help="Of a ranker: the folder with its schema and tables.")
@click.option("-o", "--out", type=PATH, help="Folder to write.  [default: build/MODEL-TARGET]")
@click.option("--max-lateral", type=click.FloatRange(min=0, min_open=True), help="Fail above this mean shift in px.")
@click.option("--min-f1", type=click.FloatRange(0, 1), help="Fail below this F1 against the model before.")
@click.option(
    "--effort",
    type=click.Choice(["quick", "standard", "max"]),
    default="standard",
    show_default=True,
    help="quick: ranges only, seconds. standard: the whole recipe, minutes. max: twice the search.",
)
@click.option(
    "--bits",
    type=click.Choice(["w8a8", "w4a8", "w4a4"]),
    default="w8a8",
    show_default=True,
    help="Of weights and activations; fewer than 8 are simulated.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all random numbers.")
@click.option("--device", default="cpu", show_default=True, help="Where to learn: cpu or cuda.")
@click.option("--resume", is_flag=True, help="Go on from where a calibration was broken off.")
@overwrite
@dry_run
@settings
@terminal
def calibrate(terminal: Terminal, /, resume: bool, overwrite: bool, dry_run: bool, **arguments: Any) -> None:
    """Quantize a model on frames from the road.

    MODEL is an .onnx file with batch 1 and static shapes. Without it, the built-in lane model is quantized on generated
    road frames.
    """
    from edgekit.api.calibrate import resolve

    request = resolve(**arguments)
    if dry_run:
        _plan(terminal, request, overwrite)
        return
    try:
        with terminal.progress() as progress:
            calibration = edgekit.calibrate(**arguments, resume=resume, overwrite=overwrite, progress=progress)
    except GateError:
        _summary(terminal, edgekit.Calibration.open(request.folder))
        raise
    except KeyboardInterrupt:
        if request.checkpoint.is_file():
            terminal.note(
                f"\n{request.checkpoint} holds what was learned so far. "
                "The same command with --resume goes on from there; without --resume it starts anew."
            )
        raise
    _summary(terminal, calibration)
    terminal.result(
        {
            "calibration": calibration.folder,
            "target": calibration.target.name,
            "recipe": calibration.recipe.name,
            "report": calibration.report,
        }
    )
    if not calibration.report["quantized"]["simulated"]:
        terminal.note(f"\nnext: edgekit compile {calibration.folder} -o {calibration.folder}.edge")


def _summary(terminal: Terminal, calibration: Calibration) -> None:
    report, target = calibration.report, calibration.target
    for name in report["frames"]["skipped"]:
        terminal.warn(f"{name} cannot be read and was left out.")
    terminal.show(table(_rows(calibration)))
    if target.builds == "on-device" and not report["quantized"]["simulated"]:
        terminal.note(
            f"\nThe {target.backend} engine is built on the {target.device.soc}, not here: "
            "`edgekit compile` packs the model with the exact command for it."
        )


def _rows(calibration: Calibration) -> list[tuple[str, str]]:
    report, target = calibration.report, calibration.target
    model, quantized, agreement = report["model"], report["quantized"], report["agreement"]
    checked = "held out" if agreement["held_out"] else "the same: there are too few to hold some out"
    gates = [f"{gate['name']} {gate['limit']:g} {'kept' if gate['passed'] else 'FAILED'}" for gate in report["gates"]]
    ground = ", ".join(f"{cm:.1f} cm at {metres} m" for metres, cm in agreement["ground_shift_cm"].items())
    drawn = f"; the worst are drawn in {calibration.folder}/worst" if agreement["worst"] else ""
    unit = _UNITS.get(calibration.recipe.decoder.family, " px")
    return [
        ("calibration", str(calibration.folder)),
        ("model", f"{model['file']}, {model['parameters'] / 1e6:.2f} M parameters, {model['macs'] / 1e9:.3f} GMAC"),
        ("recipe", f"{calibration.recipe.name}: {calibration.recipe.title}"),
        ("target", f"{target.name}: {target.title}"),
        (
            "quantized",
            f"{quantized['nodes']} of {quantized['nodes_with_weights']} layers with weights, "
            f"{quantized['macs_share']:.1%} of the multiplications, {_bits(quantized)}",
        ),
        *([("equalized", _equalization(report["equalization"]))] if "equalization" in report else []),
        *([("selection", _selection(report["selection"]))] if "selection" in report else []),
        *([("learned", _reconstruction(report["reconstruction"]))] if "reconstruction" in report else []),
        ("frames", f"{report['frames']['calibrated_on']} to calibrate, {agreement['frames']} to check ({checked})"),
        ("agreement", f"{figures_text(agreement['figures'])}, against {agreement['reference']}"),
        ("", f"{agreement['origin']} with {agreement['engine']}"),
        (
            "distortion",
            f"{agreement['distortion']:.3f}{unit} a frame{drawn}",
        ),
        *([("on the road", ground)] if ground else []),
        ("gates", ", ".join(gates) or "none"),
        ("took", f"{sum(report['seconds'].values()):.1f} s, peak memory {report['peak_rss_mb']:.0f} MB"),
    ]


_UNITS = {"generic": "", "ranking": " %"}
"""Unit of a decoder family's distortion, where it is not px."""


def _bits(quantized: Mapping[str, Any]) -> str:
    return f"{quantized['bits']}, simulated" if quantized["simulated"] else str(quantized["bits"])


def _equalization(record: Mapping[str, Any]) -> str:
    if not record["layers_scaled"] and not record["inputs_shifted"]:
        return "no: it would have made nothing better"
    predicted = record["predicted_noise"]
    parts = ["the input's pixels exact"] if record["inputs_shifted"] else []
    if record["layers_scaled"]:
        parts += [
            f"{record['layers_scaled']} layers scaled, predicted noise "
            f"x{predicted['after'] / max(predicted['before'], 1e-30):.2f}"
        ]
    return f"{', '.join(parts)}; noise of the heads x{record['noise']:.2f} on {record['distortion']['frames']} frames"


def _reconstruction(found: Mapping[str, Any]) -> str:
    checked = "on frames held out of learning" if found["held_out"] else "on the frames learned from"
    if found["after"] == found["before"]:
        return f"nothing that is better {checked} than what was there; distortion {found['before']:.3f}"
    return f"distortion {checked} {found['before']:.3f} -> {found['after']:.3f}"


def _selection(selection: Mapping[str, Any]) -> str:
    count = len(selection["keep"])
    narrow = selection["precision"] == "4 bit"
    if not count and narrow:
        return "no layer more in 8 bit: none would be worth its cost"
    if not count:
        return "every layer in 8 bit: none in higher precision would be worth its cost"
    higher = "8 bit" if narrow else "higher precision"
    extra = f"{selection['cost'] - 1:.1%}"
    cost = f"an estimated {extra} of time" if selection["unit"] == "time" else f"{extra} of the multiply-accumulates"
    return (
        f"{count} {'layer' if count == 1 else 'layers'} kept in {higher} for {cost}; "
        f"distortion on the frames selected with {selection['before']:.3f} -> {selection['after']:.3f}"
    )


def _plan(terminal: Terminal, request: Request, overwrite: bool) -> None:
    """Show what would be done, once everything that it needs was found and read."""
    from edgekit.calibration import artifact
    from edgekit.graph.read import read_model
    from edgekit.runtime.session import heads_of

    source = read_model(request.model_file)
    heads_of(request.recipe, [value.name for value in source.graph.output])
    steps = [step.model_dump(mode="json") for step in request.recipe.step]
    gates = {"step": "check", **request.recipe.gates.model_dump(exclude_none=True)}
    show_plan(
        terminal,
        {
            "model": str(request.model_file),
            "frames": len(request.frames),
            "recipe": request.recipe.name,
            "target": request.target.name,
            "bits": request.bits,
            "engine": f"{request.target.backend}, built {request.target.builds}",
            "step": [*steps, gates],
            "writes": [str(request.folder / name) for name in (*artifact.FILES, artifact.WORST)],
        },
        request.folder,
        overwrite,
    )
