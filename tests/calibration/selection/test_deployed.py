from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import edgekit
from edgekit.calibration.artifact import Calibration
from edgekit.calibration.scales import parameters_of
from edgekit.calibration.selection.deployed import deployed_variants
from edgekit.calibration.selection.variants import Variants
from edgekit.graph.clean import at_opset
from edgekit.graph.placement import place
from edgekit.graph.qdq import bias_channels, write_qdq
from edgekit.graph.view import GraphView
from tests.api.conftest import small_model


@pytest.fixture(scope="module", params=["intel-cpu-vnni", "x86-onnxruntime"])
def calibration(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    """With integers that are not the nearest, and biases of its own: as learning leaves them, without its minutes."""
    folder = tmp_path_factory.mktemp("learned")
    onnx.save(small_model(), folder / "small.onnx")
    np.savez(folder / "frames.npz", frames=np.random.default_rng(0).integers(0, 256, (8, 48, 64, 3), dtype=np.uint8))
    made = edgekit.calibrate(
        folder / "small.onnx",
        data=folder / "frames.npz",
        recipe="generic",
        target=request.param,
        out=folder / "calibration",
        effort="quick",
    )
    onnx.save(learned(made), made.qdq_model)
    return made


def learned(calibration: Calibration) -> onnx.ModelProto:
    random, scheme = np.random.default_rng(1), calibration.target.scheme
    model = at_opset(onnx.load(calibration.fp_model), scheme.opset)
    placement, view = place(model, scheme, calibration.scales.kept), GraphView(model)
    stored = {tensor.name: tensor for tensor in onnx.load(calibration.qdq_model).graph.initializer}
    integers, biases = {}, {}
    for weight in placement.weights:
        nearest = numpy_helper.to_array(stored[f"{weight.tensor}_quantized"])
        moved = nearest.astype(np.int64) + random.integers(-1, 2, nearest.shape)
        integers[weight.tensor] = moved.clip(-127, 127).astype(nearest.dtype)
        # Far beyond 2^24 steps of the scale too, where float32 has no room for every integer.
        spread = random.choice([1e-2, 1e3], bias_channels(view, weight))
        biases[weight.node] = (spread * random.standard_normal(len(spread))).astype(np.float32)
    return write_qdq(model, placement, scheme, parameters_of(calibration.scales.tensors), integers, biases)


def variants_of(calibration: Calibration) -> Variants:
    return deployed_variants(
        onnx.load(calibration.fp_model),
        onnx.load(calibration.qdq_model),
        calibration.scales,
        calibration.target.scheme,
    )


def test_with_nothing_more_kept_it_is_the_calibrated_model_to_the_byte(calibration: Calibration) -> None:
    assert variants_of(calibration).without(()).SerializeToString() == calibration.qdq_model.read_bytes()


def test_a_kept_node_costs_no_other_its_learned_integers_and_biases(calibration: Calibration) -> None:
    variants = variants_of(calibration)
    first, *others = variants.nodes
    kept = {tensor.name: tensor for tensor in variants.without({first}).graph.initializer}
    whole = {tensor.name: tensor for tensor in onnx.load(calibration.qdq_model).graph.initializer}
    still = {weight.node for weight in variants.placement({first}).weights}
    assert first not in still and still and still <= set(others)
    for weight in variants.placement({first}).weights:
        name = f"{weight.tensor}_quantized"
        assert np.array_equal(numpy_helper.to_array(kept[name]), numpy_helper.to_array(whole[name]))
        for bias in (f"{weight.node}/bias", f"{weight.node}/bias_quantized"):
            assert (bias in kept) == (bias in whole)
            if bias in whole:
                assert np.array_equal(numpy_helper.to_array(kept[bias]), numpy_helper.to_array(whole[bias]))


def test_with_all_kept_it_is_the_floating_point_model(calibration: Calibration, tmp_path: Path) -> None:
    variants = variants_of(calibration)
    operators = {node.op_type for node in variants.without(variants.nodes).graph.node}
    assert not operators & {"QuantizeLinear", "DequantizeLinear"}
