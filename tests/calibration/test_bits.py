"""Which tensors get a narrow grid, and that ONNX Runtime computes on it what the simulation computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgekit.calibration.bits import first_layers, grids_of, last_layers, with_bits
from edgekit.calibration.ranges.observe import observe
from edgekit.calibration.reconstruction.simulation import QuantizedModel, Simulation
from edgekit.calibration.scales import choose_scales, node_scales, parameters_of
from edgekit.graph.clean import at_opset, clean
from edgekit.graph.numerics import dequantize, integer_limits, quantize, scale_and_zero_point
from edgekit.graph.placement import Placement, QuantizedActivation, place
from edgekit.graph.qdq import QuantizationParameters, write_qdq
from edgekit.graph.read import read_model
from edgekit.graph.reference import ReferenceRun
from edgekit.graph.view import GraphView, Reader
from edgekit.recipes import Bits, ScaleStep
from edgekit.targets import Scheme, TensorScheme, load_target
from tests.calibration.quantized import inputs
from tests.graph.models import NetBuilder, joining_net, residual_net
from tests.graph.schemes import SIGNED, UNSIGNED, WEIGHTS, scheme

NARROW = WEIGHTS.model_copy(update={"narrow_range": True})
FULL = scheme(outputs=True, bias="int32", residual_add="full", share_scale=("MaxPool", "Concat", "Resize"), opset=17)


def narrow_model(model: onnx.ModelProto, rules: Scheme, bits: Bits) -> QuantizedModel:
    placement = place(model, rules)
    grids = grids_of(model, placement, rules, bits)
    observations = observe(model, [one.tensor for one in placement.activations], inputs())
    scales = choose_scales(model, placement, rules, observations, ScaleStep(step="scale"), grids)
    return QuantizedModel(model, placement, rules, parameters_of(scales), grids=grids)


def test_first_and_last_layers_are_found_on_the_graph() -> None:
    view = GraphView(residual_net())
    assert first_layers(view) == {"stem_node"}
    assert last_layers(view) == {"head_node"}
    assert last_layers(GraphView(joining_net())) == {"score_node", "offsets_node"}


def test_layers_that_read_the_input_are_first_and_each_output_has_its_last() -> None:
    net = NetBuilder()
    small = net.node("AveragePool", ["image"], "small", kernel_shape=[1, 1])
    one, two = net.conv("image", (3, 4), "one"), net.conv(small, (3, 4), "two")
    joined = net.node("Add", [one, two], "joined")
    deep = net.conv(joined, (4, 4), "deep")
    view = GraphView(net.model(net.node("Add", [deep, joined], "sum"), net.conv(deep, (4, 2), "head")))
    assert first_layers(view) == {"one_node", "two_node"}
    assert last_layers(view) == {"deep_node", "head_node", "one_node", "two_node"}


def test_w4a4_leaves_the_ends_and_what_only_they_read_at_8_bit() -> None:
    model, rules = residual_net(), scheme(opset=17)
    placement = place(model, rules)
    grids = grids_of(model, placement, rules, "w4a4")
    assert set(grids) == {"first_w", "second_w", "third_w", "pooled", "first_relu", "block"}
    assert grids["first_w"] == WEIGHTS.model_copy(update={"bits": 4})
    assert grids["pooled"] == UNSIGNED.model_copy(update={"bits": 4})
    assert set(grids_of(model, placement, rules, "w4a8")) == {"first_w", "second_w", "third_w"}
    assert grids_of(model, placement, rules, "w8a8") == {}


def test_a_group_shares_one_grid() -> None:
    model = joining_net()
    placement = place(model, FULL)
    grids = grids_of(model, placement, FULL, "w4a4")
    for group in {one.group for one in placement.activations}:
        assert len({grids.get(one.tensor) for one in placement.activations if one.group == group}) == 1
    assert "joined" in grids and "image" not in grids


def test_a_part_of_a_placement_keeps_the_grids_of_the_whole() -> None:
    model, rules = residual_net(), scheme(opset=17)
    whole = grids_of(model, place(model, rules), rules, "w4a4")
    kept = place(model, rules, keep=["first_node"])
    assert {one.tensor for one in kept.weights} & set(whole) == {"second_w", "third_w"}


@pytest.mark.parametrize(("start", "limits"), [(UNSIGNED, (0, 15)), (SIGNED, (-8, 7)), (NARROW, (-7, 7))])
def test_four_bits_of_a_scheme(start: TensorScheme, limits: tuple[int, int]) -> None:
    assert integer_limits(with_bits(start, 4)) == limits
    assert integer_limits(with_bits(start.model_copy(update={"reduce_range": True}), 4)) == limits


@pytest.mark.parametrize(("start", "limits"), [(UNSIGNED, (0, 65535)), (SIGNED, (-32768, 32767))])
def test_sixteen_bits_of_a_scheme(start: TensorScheme, limits: tuple[int, int]) -> None:
    assert integer_limits(with_bits(start, 16)) == limits


def identity(size: int) -> onnx.ModelProto:
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size]) for name in ("x", "y")]
    node = helper.make_node("Identity", ["x"], ["y"], name="node")
    graph = helper.make_graph([node], "one", info[:1], info[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.mark.parametrize(
    "grid",
    [with_bits(UNSIGNED, 4), with_bits(SIGNED, 4), with_bits(UNSIGNED, 2), with_bits(UNSIGNED, 16)],
    ids=["u4", "s4", "u2", "u16"],
)
@settings(deadline=None, max_examples=25)
@given(
    values=st.lists(st.floats(-1e3, 1e3, width=32), min_size=8, max_size=8),
    low=st.floats(-100, 0),
    high=st.floats(0.01, 100),
)
def test_onnxruntime_rounds_and_clips_an_activation_as_the_reference_does(
    grid: TensorScheme, values: list[float], low: float, high: float
) -> None:
    scale, zero_point = scale_and_zero_point(low, high, grid)
    placement = Placement((QuantizedActivation("x", "x", (Reader("node", 0),)),), (), {})
    how = {"x": QuantizationParameters(scale, zero_point)}
    model = write_qdq(identity(len(values)), placement, scheme(), how, grids={"x": grid})
    # The ends of the grid and their neighbourhood are where a Clip could go wrong.
    ends = (np.array(integer_limits(grid)) - float(zero_point)) * float(scale)
    numbers = np.array([values], np.float32)
    numbers[0, :6] = [*ends, *(ends + 0.49 * scale), *(ends - 0.49 * scale)]
    expected = dequantize(quantize(numbers, scale, zero_point, grid), scale, zero_point)
    np.testing.assert_array_equal(ReferenceRun(model)(numbers)["y"], expected)


@pytest.mark.parametrize("build", [residual_net, joining_net])
@pytest.mark.parametrize("bits", ["w4a8", "w4a4"])
@pytest.mark.parametrize(
    "rules", [scheme(opset=17), scheme(activations=SIGNED, opset=17), FULL], ids=["u8", "s8", "full"]
)
def test_the_written_model_computes_what_is_simulated(
    build: Callable[[], onnx.ModelProto], bits: Bits, rules: Scheme
) -> None:
    model = narrow_model(build(), rules, bits)
    written = model.qdq()
    onnx.checker.check_model(written, full_check=True)
    run, simulation = ReferenceRun(written), Simulation(model)
    for values in inputs(3):
        found = run(values)
        for name, wanted in simulation(torch.from_numpy(values)).items():
            # Sums in another order move a value over a rounding edge now and then; a wrong grid moves them all.
            close = np.isclose(found[name], wanted.numpy(), rtol=1e-4, atol=1e-4)
            assert close.mean() > 0.98


def test_integers_stay_within_four_bits() -> None:
    model = narrow_model(residual_net(), scheme(opset=17), "w4a4")
    stored = {one.name: numpy_helper.to_array(one) for one in model.qdq().graph.initializer}
    assert stored["second_w_quantized"].max() == 7
    assert stored["second_w_quantized"].min() >= -8
    assert stored["second_w_quantized"].dtype == np.int8
    assert np.abs(stored["head_w_quantized"].astype(int)).max() >= 127


def test_a_learned_narrow_model_is_written_and_its_bounds_follow_the_scale() -> None:
    simulation = Simulation(narrow_model(residual_net(), scheme(opset=17), "w4a4"))
    with torch.no_grad():
        simulation.learned["scale/block"] += 3.0
        simulation.learned["rounding/second_w"] *= -1.0
    learned = simulation.export()
    values = next(iter(inputs(1)))
    wanted = simulation(torch.from_numpy(values))["head"].numpy()
    np.testing.assert_allclose(ReferenceRun(learned.qdq())(values)["head"], wanted, atol=1e-4)


def test_narrow_weights_are_clipped_where_that_pays() -> None:
    model, rules = residual_net(), scheme(opset=17)
    placement = place(model, rules)
    grids = grids_of(model, placement, rules, "w4a8")
    observations = observe(model, [one.tensor for one in placement.activations], inputs())

    def error(method: str) -> float:
        step = ScaleStep.model_validate({"step": "scale", "narrow_weights": method})
        scales = choose_scales(model, placement, rules, observations, step, grids)
        assert (scales["second_w"].method, scales["second_w"].bits) == (method, 4)
        assert (scales["stem_w"].method, scales["stem_w"].bits) == ("min-max", None)
        how = parameters_of(scales)["second_w"]
        weights = GraphView(model).constant("second_w")
        integers = quantize(weights, how.scale, how.zero_point, grids["second_w"], how.axis)
        return float(((dequantize(integers, how.scale, how.zero_point, how.axis) - weights) ** 2).mean())

    assert error("mse") < 0.9 * error("min-max")


def test_scales_json_says_which_layers_are_simulated() -> None:
    model, rules = residual_net(), scheme(opset=17)
    placement = place(model, rules)
    nodes = node_scales(placement, grids_of(model, placement, rules, "w4a4"))
    assert (nodes["second_node"].precision, nodes["head_node"].precision) == ("int4", "int8")
    assert "simulated in int8" in nodes["second_node"].why


@pytest.mark.parametrize("name", ["lstr-culane", "quantlanenet-tusimple", "pinetq", "twinlitenet-bdd100k"])
def test_real_models_have_few_layers_at_their_ends(shared_lanes: Path, name: str) -> None:
    rules = load_target("intel-cpu-vnni").scheme
    model = at_opset(clean(read_model(shared_lanes / "models" / name / "model.onnx"), 17).model, rules.opset)
    placement = place(model, rules)
    grids = grids_of(model, placement, rules, "w4a4")
    narrow = sum(weight.tensor in grids for weight in placement.weights)
    assert 0.75 < narrow / len(placement.weights) < 1
    assert model.graph.input[0].name not in grids
