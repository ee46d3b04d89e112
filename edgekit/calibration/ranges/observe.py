"""Run the floating-point model over frames and keep one histogram per activation."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from edgekit.calibration.ranges.histogram import Grid, Histogram
from edgekit.errors import ArtifactError, DataError, ModelError
from edgekit.graph.reference import ReferenceRun

Observations = dict[str, Histogram]


def observe(
    model: onnx.ModelProto,
    tensors: Sequence[str],
    inputs: Iterable[NDArray[np.float32]],
    frames: Sequence[str] = (),
) -> Observations:
    """Collect a histogram of each tensor over all inputs, in one pass.

    Memory does not grow with the number of inputs: one input's activations and the histograms are held at a time.

    Args:
        model: A cleaned model.
        tensors: Names of activations, the model's input among them if wanted.
        inputs: Inputs of the model's shape.
        frames: Names of the frames that they were made from, for errors; it may grow while inputs are read.

    Raises:
        DataError: There is no input.
        ModelError: An activation is NaN or infinite.
    """
    tapped = ReferenceRun(with_taps(model, tensors))
    histograms = {name: Histogram.empty() for name in tensors}
    for values in inputs:
        results = tapped(values) | {tapped.input_name: values}
        for name in tensors:
            histograms[name] = _add(histograms[name], results[name], name, frames)
    if any(histogram.batches == 0 for histogram in histograms.values()):
        raise DataError(problem="There is no frame to observe.", fix="Give at least one readable frame with --data.")
    return histograms


def save_observations(observations: Observations, path: Path) -> None:
    """Write histograms to an .npz file: everything that scales are chosen from."""
    names = sorted(observations)
    np.savez_compressed(
        path,
        names=np.array(names),
        counts=np.stack([observations[name].counts for name in names]),
        exponents=np.array([observations[name].exponent for name in names]),
        limits=np.array([(observations[name].low, observations[name].high) for name in names]),
        batches=np.array([observations[name].batches for name in names]),
        grids=np.array([_row(observations[name].grid) for name in names]),
    )


def load_observations(path: Path) -> Observations:
    """Read histograms that `save_observations` wrote.

    Raises:
        ArtifactError: The file is missing or damaged.
    """
    try:
        with path.open("rb") as stream, np.load(stream) as archive:
            rows = zip(
                archive["names"].tolist(),
                archive["counts"],
                archive["exponents"].tolist(),
                archive["limits"].tolist(),
                archive["batches"].tolist(),
                archive["grids"].tolist(),
                strict=True,
            )
            return {
                name: Histogram(counts, exponent, low, high, batches, _grid(*grid))
                for name, counts, exponent, (low, high), batches, grid in rows
            }
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ArtifactError(
            problem=f"{path} cannot be read.", found=str(error), fix="Calibrate again: the folder is damaged."
        ) from error


def _row(grid: Grid | None) -> tuple[float, int, int]:
    return (0.0, 0, 0) if grid is None else (grid.step, grid.first, grid.last)


def _grid(step: float, first: float, last: float) -> Grid | None:
    return Grid(step, int(first), int(last)) if step else None


def with_taps(model: onnx.ModelProto, tensors: Sequence[str]) -> onnx.ModelProto:
    """Return a model that has these tensors among its outputs, too."""
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    present = {value.name for value in (*model.graph.output, *model.graph.input)}
    tapped.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors if name not in present)
    known = {value.name: value for value in model.graph.value_info}
    for output in tapped.graph.output:
        if output.name in known:
            output.CopyFrom(known[output.name])
    return tapped


def _add(histogram: Histogram, values: NDArray[np.float32], name: str, frames: Sequence[str]) -> Histogram:
    try:
        return histogram.add(values)
    except ValueError as error:
        count = histogram.batches
        frame = frames[count] if count < len(frames) else f"frame {count + 1}"
        raise ModelError(
            problem=f"The activation '{name}' is not finite.",
            found=f"{int((~np.isfinite(values)).sum())} NaN or infinite values on {frame}",
            fix="Check the preprocessing (mean, std, colour order) of the recipe, and the model's export. "
            "Where it is this frame alone, and it shows no road, leave it out.",
        ) from error
