"""`edgekit run`: lanes in images or a video."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import edgekit
from edgekit.cli.common import PATH, overwrite, settings, terminal
from edgekit.cli.terminal import Terminal, table
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.bundle import Bundle
    from edgekit.frames import FrameSource
    from edgekit.tasks.base import Scene

_UNSEEN_DRIVE = 1_000_003
"""The seed of generated frames: another drive than calibration sees unless it is asked for this very one."""

_GENERATED_FRAMES = 16


@click.command()
@click.argument("bundle", type=PATH)
@click.option("--data", type=PATH, help="Frames: images in a folder, video, .npz or .txt list.")
@click.option("-o", "--out", type=PATH, help="Draw the lanes into FILE.mp4 or a folder.")
@click.option("--limit", type=click.IntRange(min=1), help="Stop after so many frames.")
@click.option("--threads", type=click.IntRange(min=0), default=0, help="Threads of the engine; 0 lets it choose.")
@overwrite
@settings
@terminal
def run(
    terminal: Terminal,
    /,
    bundle: Path,
    data: Path | None,
    out: Path | None,
    limit: int | None,
    threads: int,
    overwrite: bool,
) -> None:
    """Find lanes in images or a video, and draw them.

    BUNDLE is a file that `edgekit compile` wrote. A bundle of the built-in model needs no --data: it gets generated
    road frames.
    """
    from edgekit.bundle import open_bundle
    from edgekit.cli.pictures import frames_per_second, writing
    from edgekit.report.overlay import draw_scene

    opened = open_bundle(bundle)
    if opened.manifest.recipe.preprocessing.kind == "features":
        raise UsageError(
            problem=f"{bundle} ranks candidates; there is nothing to draw.",
            found=f"the recipe {opened.manifest.recipe.name}",
            fix="Rank in Python: edgekit.load(BUNDLE).rank(user, candidates).",
        )
    source = _frames(opened, data)
    total = min(len(source), limit or len(source))
    engine = opened.manifest.engine
    origin = opened.manifest.golden.origin
    simulated = "" if origin == "measured" else f", {origin}"
    caption = (bundle.name, "INT8", f"{engine.backend} {engine.version}{simulated}")
    found = []
    with ExitStack() as stack:
        session = stack.enter_context(edgekit.load(opened, threads=threads))
        sink = stack.enter_context(writing(out, frames_per_second(data), overwrite)) if out else None
        progress = stack.enter_context(terminal.progress())
        for done, frame in enumerate(islice(source, total), start=1):
            scene = session.scene(frame.values)
            found.append({"name": frame.name, "size": frame.values.shape[:2], **_described(scene)})
            if sink:
                sink(frame.name, draw_scene(frame.values, scene, caption=caption))
            progress("run", done, total)
    for name in source.skipped:
        terminal.warn(f"{name} cannot be read and was left out.")
    terminal.show(table([("frame", "lanes", "scores"), *map(_row, found)], right=[1]))
    terminal.result({"frames": found, "skipped": list(source.skipped), "out": out})
    if out:
        terminal.note(f"\nwritten: {out}")


def _frames(bundle: Bundle, data: Path | None) -> FrameSource:
    if data is not None:
        return edgekit.Frames.open(data)
    if bundle.manifest.recipe.name == "reference-lane":
        from edgekit.reference.road import RoadFrames

        return RoadFrames(_UNSEEN_DRIVE, _GENERATED_FRAMES)
    raise UsageError(
        problem="There are no frames to run on.",
        found="no --data",
        fix="Give a folder of images, a video, an .npz file or a .txt list of image paths with --data.",
    )


def _described(scene: Scene) -> dict[str, Any]:
    """Return what a scene shows: points in px of the frame, masks as their share of the network's input."""
    return {
        "lanes": [{"score": lane.score, "points": lane.points.tolist()} for lane in scene.lanes],
        "masks": {label: float(mask.mean()) for label, mask in scene.masks.items()},
        "tensors": {name: list(values.shape) for name, values in scene.tensors.items()},
    }


def _row(frame: dict[str, Any]) -> tuple[str, str, str]:
    scores = " ".join(f"{lane['score']:.2f}" for lane in frame["lanes"])
    masks = " ".join(f"{label} {share:.1%}" for label, share in frame["masks"].items())
    return frame["name"], str(len(frame["lanes"])), f"{scores} {masks}".strip()
