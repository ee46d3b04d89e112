"""Small networks in which one layer is ruined by 8 bit, and what an analysis of them needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from edgekit.calibration.distortion import distortion_for
from edgekit.calibration.judging.probe import Probe
from edgekit.calibration.ranges.observe import observe
from edgekit.calibration.selection.sensitivity import Analysis, Options
from edgekit.calibration.selection.variants import Variants, remembered_scales
from edgekit.frames import Frames
from edgekit.graph.reference import ReferenceRun
from edgekit.recipes import GenericDecoder, Head, ObserveStep, Preprocessing, Recipe, RowAnchorDecoder, ScaleStep
from edgekit.runtime.preprocessing import Preprocessor
from edgekit.targets import Scheme
from tests.graph.models import NetBuilder
from tests.graph.schemes import scheme

STEP = ScaleStep(step="scale", activations="min-max", weights="min-max")
GENERIC = Recipe(
    name="any",
    title="any",
    decoder=GenericDecoder(family="generic"),
    step=(ObserveStep(step="observe"), STEP),
    preprocessing=Preprocessing(size=(16, 16)),
)
ROWS = Recipe(
    name="rows",
    title="rows",
    heads={
        "cls": Head(role="confidence"),
        "vertical": Head(role="existence", confidence="cls"),
        "offset": Head(role="offset", confidence="cls"),
    },
    decoder=RowAnchorDecoder(family="row-anchor", stride_x=2, stride_y=2, first_y=0.5),
    step=(ObserveStep(step="observe"), STEP),
    preprocessing=Preprocessing(size=(16, 16)),
)


def chain(ruined: str = "", count: int = 6) -> onnx.ModelProto:
    """Convolutions c1 .. cN, each with a Relu; the nodes are called stage/c1 and so on.

    Channel 0 of every result is zero on every frame, so a huge weight on it changes nothing in floating point. In 8 bit
    it takes the whole range: `ruined` names the layer that has one.
    """
    net = NetBuilder()
    last = "image"
    for index in range(1, count + 1):
        name = f"c{index}"
        last = net.node("Relu", [net.conv(last, (3 if index == 1 else 8, 8), name)], f"{name}_relu")
    model = net.model(last)
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight).copy()
        values[0] = 0
        if weight.name == f"{ruined}_w":
            values[1:, 0] = 300.0
        weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    for node in model.graph.node:
        node.name = f"stage/{node.output[0]}"
    return model


def row_net() -> onnx.ModelProto:
    """Two lane slots on a grid of 8 x 8, with the heads of a row-anchor network."""
    net = NetBuilder()
    stem = net.node("Relu", [net.conv("image", (3, 8), "stem")], "stem_relu")
    low = net.node("MaxPool", [stem], "low", kernel_shape=[2, 2], strides=[2, 2])
    body = net.node("Relu", [net.conv(low, (8, 8), "body")], "body_relu")
    net.conv(body, (8, 2), "cls")
    net.conv(body, (8, 2), "offset")
    pooled = net.node("AveragePool", [net.conv(body, (8, 2), "exists")], "pooled", kernel_shape=[1, 8])
    net.node("Sigmoid", [pooled], "vertical")
    return net.model("cls", "vertical", "offset")


def frames(folder: Path, count: int = 8) -> Frames:
    values = np.random.default_rng(3).integers(0, 256, (count, 16, 16, 3), np.uint8)
    np.savez(folder / "frames.npz", frames=values)
    return Frames.open(folder / "frames.npz")


def variants_of(model: onnx.ModelProto, source: Frames, rules: Scheme, recipe: Recipe = GENERIC) -> Variants:
    prepare = Preprocessor(recipe.preprocessing, (1, 3, 16, 16))
    tensors = [name for node in model.graph.node for name in node.output]
    seen = observe(model, ["image", *tensors], (prepare(frame.values) for frame in source))
    return Variants(model, rules, remembered_scales(model, rules, seen, STEP))


def analysis_of(
    model: onnx.ModelProto,
    folder: Path,
    *,
    recipe: Recipe = GENERIC,
    rules: Scheme | None = None,
    options: Options | None = None,
) -> Analysis:
    source = frames(folder)
    prepare = Preprocessor(recipe.preprocessing, (1, 3, 16, 16))
    probe = Probe(ReferenceRun(model, 1), source, prepare, recipe, distortion_for(recipe))
    return Analysis(probe, variants_of(model, source, rules or scheme(), recipe), options or Options(threads=1))
