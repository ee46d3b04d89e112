from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from edgekit.calibration.ranges.observe import observe
from edgekit.calibration.scales import TensorScale, choose_scales, parameters_of
from edgekit.errors import UsageError
from edgekit.graph.clean import at_opset, clean
from edgekit.graph.numerics import dequantize
from edgekit.graph.placement import place
from edgekit.graph.qdq import write_qdq
from edgekit.graph.read import read_model
from edgekit.graph.reference import ReferenceRun
from edgekit.recipes import ScaleStep
from edgekit.targets import Scheme
from tests.graph.models import NetBuilder, joining_net, residual_net
from tests.graph.schemes import SIGNED, scheme

SHARED = ("MaxPool", "Concat", "Resize")
RULES = {
    "inputs": scheme(),
    "tensorrt": scheme(activations=SIGNED, residual_add="branch", share_scale=SHARED, opset=17),
    "onnxruntime": scheme(outputs=True, bias="int32", residual_add="full", share_scale=SHARED),
}


def quantized(model: onnx.ModelProto, rules: Scheme) -> tuple[onnx.ModelProto, dict[str, TensorScale]]:
    model = at_opset(clean(model, 17).model, rules.opset)
    placement = place(model, rules)
    inputs = np.random.default_rng(3).uniform(-1, 1, (4, *ReferenceRun(model).input_shape)).astype(np.float32)
    observations = observe(model, [one.tensor for one in placement.activations], inputs)
    scales = choose_scales(model, placement, rules, observations, ScaleStep(step="scale", activations="min-max"))
    return write_qdq(model, placement, rules, parameters_of(scales)), scales


@pytest.mark.parametrize("build", [residual_net, joining_net])
@pytest.mark.parametrize("name", RULES)
def test_the_model_is_valid_and_close_to_the_original(name: str, build: object) -> None:
    original = build()  # type: ignore[operator]
    model, _ = quantized(original, RULES[name])
    onnx.checker.check_model(model, full_check=True)
    values = np.random.default_rng(5).uniform(-1, 1, (1, 3, 16, 16)).astype(np.float32)
    exact, coarse = ReferenceRun(original)(values), ReferenceRun(model)(values)
    for output in exact:
        extent = np.abs(exact[output]).max()
        assert 0 < np.abs(exact[output] - coarse[output]).max() < 0.06 * extent


@pytest.mark.parametrize("name", RULES)
def test_onnx_and_onnxruntime_agree(name: str) -> None:
    rules = RULES[name].model_copy(update={"opset": 21})
    model, _ = quantized(residual_net(), rules)
    values = np.random.default_rng(5).uniform(-1, 1, (1, 3, 16, 16)).astype(np.float32)
    (expected,) = ReferenceEvaluator(model).run(None, {"image": values})
    np.testing.assert_allclose(ReferenceRun(model)(values)["head"], expected, atol=2e-2)


def test_scales_survive_the_round_trip_through_the_model() -> None:
    model, scales = quantized(joining_net(), RULES["onnxruntime"])
    stored = {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}
    for name, tensor in scales.items():
        assert stored[f"{name}_scale"].dtype == np.float32
        assert stored[f"{name}_scale"].reshape(-1).tolist() == list(tensor.scale)
        assert stored[f"{name}_zero_point"].reshape(-1).tolist() == list(tensor.zero_point)


def test_weights_are_stored_in_8_bit_and_float_copies_are_dropped() -> None:
    original = residual_net()
    model, scales = quantized(original, RULES["inputs"])
    stored = {weight.name: weight for weight in model.graph.initializer}
    assert "first_w" not in stored
    assert stored["first_w_quantized"].data_type == onnx.TensorProto.INT8
    how = parameters_of(scales)["first_w"]
    integers = numpy_helper.to_array(stored["first_w_quantized"])
    weight = next(numpy_helper.to_array(one) for one in original.graph.initializer if one.name == "first_w")
    back = dequantize(integers, how.scale, how.zero_point, how.axis)
    assert np.abs(back - weight).max() <= how.scale.max() / 2 * 1.001


def test_a_quantized_bias_has_the_scale_of_the_accumulator() -> None:
    model, scales = quantized(residual_net(), RULES["onnxruntime"])
    stored = {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}
    scale = stored["first_node/first_b_scale"]
    product = np.float32(scales["pooled"].scale[0]) * np.array(scales["first_w"].scale, np.float32)
    np.testing.assert_allclose(scale, product, rtol=1e-6)
    assert stored["first_node/first_b_quantized"].dtype == np.int32


def test_onnxruntime_runs_it_with_integer_kernels(tmp_path: Path) -> None:
    import onnxruntime

    model, _ = quantized(residual_net(), RULES["onnxruntime"])
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    operators = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert operators.count("QLinearConv") == 4
    assert "QLinearAdd" in operators


@pytest.mark.parametrize("name", ["lstr-culane", "quantlanenet-tusimple", "pinetq", "twinlitenet-bdd100k"])
def test_real_models_keep_every_rule(shared_lanes: Path, name: str) -> None:
    model = read_model(shared_lanes / "models" / name / "model.onnx")
    for rules in RULES.values():
        small = at_opset(clean(model, 17).model, rules.opset)
        placement = place(small, rules)
        names = [one.tensor for one in placement.activations]
        assert len(set(names)) == len(names)
        # One scale each, as in a group; random ranges do: only the structure is looked at.
        view_inputs = np.random.default_rng(0).uniform(0, 1, ReferenceRun(small).input_shape).astype(np.float32)
        observations = observe(small, names, itertools.repeat(view_inputs, 1))
        scales = choose_scales(small, placement, rules, observations, ScaleStep(step="scale", activations="min-max"))
        onnx.checker.check_model(write_qdq(small, placement, rules, parameters_of(scales)), full_check=True)
        for group in {one.group for one in placement.activations}:
            members = {scales[one.tensor].scale for one in placement.activations if one.group == group}
            assert len(members) == 1


def parts(rules: Scheme, build: object = residual_net) -> tuple[onnx.ModelProto, Any, Any]:
    model = build()  # type: ignore[operator]
    placement = place(model, rules)
    inputs = np.random.default_rng(3).uniform(-1, 1, (4, 1, 3, 16, 16)).astype(np.float32)
    observations = observe(model, [one.tensor for one in placement.activations], inputs)
    scales = choose_scales(model, placement, rules, observations, ScaleStep(step="scale", activations="min-max"))
    return model, placement, parameters_of(scales)


def stored_in(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}


def test_learned_integers_take_the_place_of_rounding_to_nearest() -> None:
    rules = scheme(opset=17)
    model, placement, how = parts(rules)
    nearest = stored_in(write_qdq(model, placement, rules, how))
    learned = {"first_w": np.clip(nearest["first_w_quantized"] + 1, -127, 127).astype(np.int8)}
    written = stored_in(write_qdq(model, placement, rules, how, integers=learned))
    np.testing.assert_array_equal(written["first_w_quantized"], learned["first_w"])
    np.testing.assert_array_equal(written["second_w_quantized"], nearest["second_w_quantized"])


@pytest.mark.parametrize("bias", ["float", "int32"])
def test_a_bias_replaces_the_node_s_own(bias: str) -> None:
    rules = scheme(opset=17, bias=bias)
    model, placement, how = parts(rules)
    values = np.random.default_rng(5).uniform(-1, 1, (1, 3, 16, 16)).astype(np.float32)
    own = next(numpy_helper.to_array(one) for one in model.graph.initializer if one.name == "head_b")
    plain = ReferenceRun(write_qdq(model, placement, rules, how))(values)["head"]
    moved = write_qdq(model, placement, rules, how, biases={"head_node": own + np.float32([1, 2, 3, 4])})
    difference = ReferenceRun(moved)(values)["head"] - plain
    np.testing.assert_allclose(difference.mean(axis=(0, 2, 3)), [1, 2, 3, 4], atol=1e-3)


@pytest.mark.parametrize("bias", ["float", "int32"])
def test_a_node_without_a_bias_gets_one(bias: str) -> None:
    net = NetBuilder()
    small = net.model(net.conv("image", (3, 4), "only", bias=False))
    rules = scheme(opset=17, bias=bias)
    model, placement, how = parts(rules, lambda: small)
    values = np.random.default_rng(5).uniform(-1, 1, (1, 3, 16, 16)).astype(np.float32)
    plain = ReferenceRun(write_qdq(model, placement, rules, how))(values)["only"]
    given = write_qdq(model, placement, rules, how, biases={"only_node": np.float32([1, -2, 3, 0])})
    onnx.checker.check_model(given, full_check=True)
    difference = ReferenceRun(given)(values)["only"] - plain
    np.testing.assert_allclose(difference.mean(axis=(0, 2, 3)), [1, -2, 3, 0], atol=1e-3)


@pytest.mark.parametrize(
    ("name", "integers"),
    [
        ("first_w", np.zeros((8, 8, 3, 2), np.int8)),
        ("first_w", np.zeros((8, 8, 3, 3), np.int16)),
        ("first_w", np.full((8, 8, 3, 3), -128, np.int8)),
        ("no_such_w", np.zeros((8, 8, 3, 3), np.int8)),
    ],
)
def test_integers_that_do_not_fit_are_refused(name: str, integers: np.ndarray) -> None:
    rules = scheme(opset=17)
    model, placement, how = parts(rules)
    with pytest.raises(UsageError, match=f"integers for '{name}'"):
        write_qdq(model, placement, rules, how, integers={name: integers})


@pytest.mark.parametrize(("node", "length"), [("first_node", 7), ("added_node", 8), ("no_such_node", 8)])
def test_a_bias_that_does_not_fit_is_refused(node: str, length: int) -> None:
    rules = scheme(opset=17)
    model, placement, how = parts(rules)
    with pytest.raises(UsageError, match=f"bias for the node '{node}'"):
        write_qdq(model, placement, rules, how, biases={node: np.zeros(length, np.float32)})
