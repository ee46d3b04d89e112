"""Where a network's input lies on a grid of its own: camera pixels are 256 levels, and 8 bit can hold all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import onnx

from edgekit.calibration.ranges.histogram import Grid
from edgekit.calibration.ranges.observe import Observations
from edgekit.graph.view import GraphView
from edgekit.recipes import Preprocessing

LARGEST_PIXEL = 255
MIDDLE_PIXEL = 128


def pixel_step(preprocessing: Preprocessing) -> float | None:
    """Return the distance of two pixel values in the network's input; none where it differs between channels.

    None too where the input is no image.

    A mean moves zero away from the pixels' levels, and a std may give each channel another distance.
    """
    plain = (
        preprocessing.kind == "image" and not any(preprocessing.mean) and all(std == 1.0 for std in preprocessing.std)
    )
    return 1.0 / preprocessing.divide_by if plain else None


def pixel_grids(model: onnx.ModelProto, preprocessing: Preprocessing) -> dict[str, Grid]:
    """Return the grids of the model's input and of what is only a padded or shifted copy of it.

    Args:
        model: A model whose input the preprocessing makes of uint8 frames.
        preprocessing: The recipe's.
    """
    step = pixel_step(preprocessing)
    if step is None:
        return {}
    view = GraphView(model)
    grids = {model.graph.input[0].name: Grid(step, 0, LARGEST_PIXEL)}
    for node in model.graph.node:
        source = grids.get(node.input[0]) if node.input else None
        if source is None or node.op_type not in ("Pad", "Sub"):
            continue
        if node.op_type == "Sub" and view.is_constant(node.input[1]) and view.constant(node.input[1]).size == 1:
            levels = float(view.constant(node.input[1]).reshape(-1)[0]) / step
            if abs(levels - round(levels)) < 1e-3:
                grids[node.output[0]] = Grid(step, source.first - round(levels), source.last - round(levels))
        elif node.op_type == "Pad" and len(node.input) == 2 and not node.attribute:
            grids[node.output[0]] = source
    return grids


def with_grids(observations: Observations, grids: Mapping[str, Grid]) -> Observations:
    """Return observations that know on which grid the values of some tensors lie."""
    return {name: replace(seen, grid=grids.get(name, seen.grid)) for name, seen in observations.items()}
