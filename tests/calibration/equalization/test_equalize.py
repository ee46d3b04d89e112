from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import edgekit
from edgekit.calibration.artifact import FP_MODEL, QDQ_MODEL
from edgekit.calibration.equalization import equalize as module
from edgekit.calibration.equalization.equalize import Equalized, Plain, equalize
from edgekit.calibration.judging.probe import Reading
from edgekit.calibration.requantize import requantize
from edgekit.errors import ModelError, UsageError
from edgekit.frames import Frames
from edgekit.graph.clean import largest_difference
from edgekit.graph.reference import ReferenceRun
from edgekit.graph.view import GraphView
from edgekit.progress import silent
from edgekit.recipes import EqualizeStep, Preprocessing, Recipe, ScaleStep
from edgekit.reference.road import RoadFrames
from edgekit.runtime.preprocessing import Preprocessor
from edgekit.targets import Scheme, TensorScheme, load_target
from tests.calibration.planted import GENERIC, frames
from tests.graph.models import NetBuilder, residual_net
from tests.graph.schemes import SIGNED, scheme

STEP = EqualizeStep(step="equalize")
NORMALIZED = GENERIC.model_copy(
    update={"preprocessing": Preprocessing(size=(16, 16), mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))}
)
RECIPE = """
extends = "generic"
name = "mine"

[[step]]
step = "equalize"

[[step]]
step = "observe"

[[step]]
step = "scale"
activations = "mse"
"""
UNSIGNED_RULES, SIGNED_RULES = scheme(), scheme(activations=SIGNED, opset=17)


def unequal() -> onnx.ModelProto:
    """Channels whose results differ by up to a factor of a thousand, which the next layer's weights undo."""
    net = NetBuilder()
    first = net.node("Relu", [net.conv("image", (3, 16), "first")], "first_relu")
    second = net.node("Relu", [net.conv(first, (16, 16), "second")], "second_relu")
    model = net.model(net.conv(second, (16, 4), "last"))
    factors = np.logspace(-1.5, 1.5, 16).astype(np.float32)
    weights = {weight.name: weight for weight in model.graph.initializer}
    for name, by in {
        "first_w": factors[:, None, None, None],
        "first_b": factors,
        "second_w": factors[::-1, None, None, None] / factors[None, :, None, None],
        "second_b": factors[::-1],
        "last_w": 1 / factors[::-1][None, :, None, None],
    }.items():
        weights[name].CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights[name]) * by, name))
    return model


def plain(
    model: onnx.ModelProto,
    rules: Scheme,
    recipe: Recipe = GENERIC,
    grids: Mapping[str, TensorScheme] | None = None,
) -> Plain:
    target = load_target("jetson-orin").model_copy(update={"scheme": rules})
    return Plain(model, target, grids or {}, recipe, ScaleStep(step="scale", activations="min-max"))


def run(start: Plain, source: Frames) -> Equalized:
    return equalize(start, source, Preprocessor(start.recipe.preprocessing, (1, 3, 16, 16)), STEP, silent)


@pytest.mark.parametrize("rules", [UNSIGNED_RULES, SIGNED_RULES], ids=["unsigned", "signed"])
def test_channels_of_unequal_ranges_lose_their_noise(tmp_path: Path, rules: Scheme) -> None:
    model = unequal()
    found = run(plain(model, rules, NORMALIZED), frames(tmp_path))
    assert found.record["noise"] < 0.1
    assert found.record["distortion"]["after"] < 0.1 * found.record["distortion"]["before"]
    assert found.record["predicted_noise"]["after"] < 0.01 * found.record["predicted_noise"]["before"]
    assert found.record["layers"] == found.record["layers_scaled"] == 2
    assert found.record["inputs_shifted"] == 0
    assert found.record["largest_difference"] < 1e-5
    assert largest_difference(model, found.model) < 1e-5


def test_the_same_frames_give_the_same_network(tmp_path: Path) -> None:
    start = plain(residual_net(), SIGNED_RULES)
    one, two = run(start, frames(tmp_path)), run(start, frames(tmp_path))
    assert one.model == two.model
    assert one.record == two.record


def test_once_equalized_there_is_little_left_to_gain(tmp_path: Path) -> None:
    once = run(plain(unequal(), UNSIGNED_RULES, NORMALIZED), frames(tmp_path))
    twice = run(plain(once.model, UNSIGNED_RULES, NORMALIZED), frames(tmp_path))
    predicted = twice.record["predicted_noise"]
    assert predicted["before"] == pytest.approx(once.record["predicted_noise"]["after"], rel=1e-3)
    assert 0.9 * predicted["before"] < predicted["after"] <= predicted["before"]


def test_what_is_measured_to_be_worse_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Factors from a search that went wrong: whatever it predicted, what was measured decides."""

    def spoiled(model: module.NoiseModel) -> np.ndarray:
        return np.exp(np.random.default_rng(0).normal(0, 4, len(model.parts)))

    monkeypatch.setattr(module, "least_noise", spoiled)
    model = residual_net()
    found = run(plain(model, UNSIGNED_RULES, NORMALIZED), frames(tmp_path))
    assert found.model == model
    assert found.record["tried"][1]["cost"] > 1.0
    assert found.record["layers_scaled"] == found.record["inputs_shifted"] == 0
    assert found.record["noise"] == 1.0


def test_a_rewriting_that_changes_outputs_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOLERANCE", 1e-9)
    model = unequal()
    found = run(plain(model, UNSIGNED_RULES, NORMALIZED), frames(tmp_path))
    assert found.model == model
    assert found.record["tried"][1]["cost"] < 0.1


@pytest.mark.parametrize("target", ["intel-cpu-vnni", "jetson-orin"])
def test_the_quantized_input_is_the_frame(tmp_path: Path, target: str) -> None:
    (tmp_path / "mine.toml").write_text(RECIPE)
    onnx.save(unequal(), tmp_path / "net.onnx")
    source = frames(tmp_path)
    result = edgekit.calibrate(
        tmp_path / "net.onnx",
        source,
        recipe=tmp_path / "mine.toml",
        target=target,
        effort="standard",
        out=tmp_path / "out",
    )
    signed = target == "jetson-orin"
    assert result.report["equalization"]["inputs_shifted"] == signed
    model = onnx.load(result.qdq_model)
    first = GraphView(model).nodes["first_node"].input[0]
    integers = f"{first.removesuffix('_dequantized')}_quantized"
    kind = onnx.TensorProto.INT8 if signed else onnx.TensorProto.UINT8
    model.graph.output.append(onnx.helper.make_tensor_value_info(integers, kind, None))
    preprocess = Preprocessor(GENERIC.preprocessing, (1, 3, 16, 16))
    for frame in source:
        seen = ReferenceRun(model)(preprocess(frame.values))[integers].astype(int)
        wanted = frame.values[:, :, ::-1].transpose(2, 0, 1).astype(int)
        if signed:
            assert np.array_equal(seen[0, :, 1:-1, 1:-1] + 128, wanted)
            assert np.all(seen[0, :, 0] == -128)
        else:
            assert np.array_equal(seen[0], wanted)
    assert result.scales.tensors[first.removesuffix("_dequantized")].method == "exact"


def test_shared_weights_that_are_copied_keep_their_grid(tmp_path: Path) -> None:
    net = NetBuilder()
    first = net.node("Relu", [net.conv("image", (3, 8), "first")], "relu")
    second = net.node("Relu", [net.conv(first, (8, 8), "second", kernel=1)], "second_relu")
    third = net.node("Relu", [net.node("Conv", [second, "second_w", "second_b"], "third")], "third_relu")
    model = net.model(net.conv(third, (8, 2), "last", kernel=1))
    narrow = UNSIGNED_RULES.weights.model_copy(update={"bits": 4})
    start = plain(model, UNSIGNED_RULES, NORMALIZED, {"second_w": narrow})
    moved = module._build(start, module.Rewriting(factors={"first_node": np.linspace(0.5, 2, 8)}))
    tensors = {weight.node: weight.tensor for weight in moved.placement.weights}
    assert tensors["second_node"] != tensors["third_node"]
    assert moved.grids[tensors["second_node"]] == moved.grids[tensors["third_node"]] == narrow
    assert set(moved.grids) & set(tensors.values()) == {tensors["second_node"], tensors["third_node"]}


def test_another_target_is_served_from_the_equalized_network(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(RECIPE)
    onnx.save(unequal(), tmp_path / "net.onnx")
    source = frames(tmp_path)
    result = edgekit.calibrate(
        tmp_path / "net.onnx",
        source,
        recipe=tmp_path / "mine.toml",
        target="jetson-orin",
        effort="standard",
        out=tmp_path / "out",
    )
    record = result.report["equalization"]
    assert (record["inputs_shifted"], record["layers_scaled"]) == (1, 2)
    floating = onnx.load(result.folder / FP_MODEL)
    assert largest_difference(unequal(), floating) < 1e-5
    content, scales = requantize(result, load_target("intel-cpu-vnni"))
    assert {tensor.dtype for tensor in scales.tensors.values() if tensor.kind == "activation"} == {"uint8"}
    assert [tensor.zero_point for tensor in scales.tensors.values() if tensor.method == "exact"] == [(128,)]
    reference, sample = ReferenceRun(unequal()), result.golden()[0].input
    for quantized in (ReferenceRun(content), ReferenceRun(onnx.load(result.folder / QDQ_MODEL))):
        wanted, values = reference(sample)["last"], quantized(sample)["last"]
        assert np.linalg.norm(values - wanted) < 0.02 * np.linalg.norm(wanted)


def test_it_has_to_come_before_what_it_changes(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text(
        'extends = "reference-lane"\nname = "mine"\n[[step]]\nstep = "observe"\n[[step]]\nstep = "equalize"\n'
        '[[step]]\nstep = "scale"\n'
    )
    with pytest.raises(UsageError, match="before the step 'observe'"):
        edgekit.calibrate(data=RoadFrames(0, 8), recipe=recipe, effort="standard", out=tmp_path / "out")


def test_relative_noise_is_the_geometric_mean_of_amplitudes() -> None:
    base = Reading((1.0, 1.0), {"a": (1.0, 4.0), "b": (9.0, 9.0)})
    assert module.relative_noise(base, base) == 1.0
    better = Reading((1.0, 1.0), {"a": (0.25, 1.0), "b": (9.0, 9.0)})
    assert module.relative_noise(better, base) == pytest.approx(np.sqrt(0.5))
    assert module.relative_cost(Reading((100.0, 100.0), better.noise), base) == pytest.approx(2 * np.sqrt(0.5))


def test_an_activation_that_is_not_finite_is_named_with_its_frame(tmp_path: Path) -> None:
    net = NetBuilder()
    last = net.node("Sqrt", [net.conv("image", (3, 4), "first")], "root")
    with pytest.raises(ModelError, match="'root' is not finite") as raised:
        run(plain(net.model(net.conv(last, (4, 2), "last")), UNSIGNED_RULES), frames(tmp_path))
    assert "frame" in raised.value.found
