from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgekit.calibration.bits import grids_of
from edgekit.calibration.ranges.observe import observe
from edgekit.calibration.scales import choose_scales, parameters_of
from edgekit.calibration.selection.variants import NarrowVariants, remembered_scales
from edgekit.graph.placement import place
from tests.calibration.planted import STEP, chain, frames, variants_of
from tests.graph.models import joining_net, residual_net
from tests.graph.schemes import scheme

NODE = "stage/c3"
ONNXRUNTIME = scheme(outputs=True, residual_add="full", bias="int32", operators=("Conv",), share_scale=("MaxPool",))


def quantized_weights(model: onnx.ModelProto) -> list[str]:
    return [i.name.removesuffix("_quantized") for i in model.graph.initializer if i.name.endswith("w_quantized")]


def quantized_tensors(model: onnx.ModelProto) -> list[str]:
    return [node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]


@pytest.mark.parametrize("rules", [scheme(), ONNXRUNTIME], ids=["inputs", "outputs"])
def test_only_quantizes_a_layer_and_what_it_reads(tmp_path: Path, rules: object) -> None:
    variants = variants_of(chain(), frames(tmp_path), rules)  # type: ignore[arg-type]
    only = variants.only([NODE])
    assert quantized_weights(only) == ["c3_w"]
    assert quantized_tensors(only) == ["c2_relu"]
    assert onnx.checker.check_model(only) is None


def test_only_takes_the_pair_of_a_residual_add_along(tmp_path: Path) -> None:
    variants = variants_of(residual_net(), frames(tmp_path), scheme(residual_add="branch"))
    assert quantized_tensors(variants.only(["second_node"])) == ["pooled", "first_relu"]
    assert quantized_tensors(variants.only(["third_node"])) == ["block"]


def test_without_is_what_placement_deploys(tmp_path: Path) -> None:
    variants = variants_of(chain(), frames(tmp_path), scheme())
    assert quantized_weights(variants.without([NODE])) == ["c1_w", "c2_w", "c4_w", "c5_w", "c6_w"]
    assert variants.kept([NODE]) == {NODE}


def test_kept_counts_what_the_rules_leave_out_as_a_consequence(tmp_path: Path) -> None:
    # The last Conv feeds the output, which these rules keep in floating point. Were it kept by name, the result of the
    # one before it would be needed in floating point as well.
    variants = variants_of(chain(), frames(tmp_path), ONNXRUNTIME)
    assert variants.nodes == tuple(f"stage/c{i}" for i in range(1, 6))
    assert variants.kept(["stage/c6"]) == {"stage/c5"}


@pytest.mark.parametrize("rules", [scheme(), ONNXRUNTIME], ids=["inputs", "outputs"])
@pytest.mark.parametrize("keep", [(), ("mixed_node",)], ids=["all", "kept"])
def test_remembered_scales_are_those_of_the_scale_step(rules: object, keep: tuple[str, ...]) -> None:
    model = joining_net()
    image = np.random.default_rng(0).normal(size=(1, 3, 16, 16)).astype(np.float32)
    names = ["image", *(name for node in model.graph.node for name in node.output)]
    seen = observe(model, names, [image])
    chosen = remembered_scales(model, rules, seen, STEP)  # type: ignore[arg-type]
    for kept in ((), keep):
        placement = place(model, rules, kept)  # type: ignore[arg-type]
        expected = parameters_of(choose_scales(model, placement, rules, seen, STEP))  # type: ignore[arg-type]
        found = chosen(placement, {})
        assert set(found) == set(expected)
        for name, how in expected.items():
            np.testing.assert_array_equal(found[name].scale, how.scale)
            np.testing.assert_array_equal(found[name].zero_point, how.zero_point)


def narrow_variants(folder: Path) -> NarrowVariants:
    model, rules = chain(), scheme()
    plain = variants_of(model, frames(folder), rules)
    return NarrowVariants(model, rules, plain.parameters, grids_of(model, plain.full, rules, "w4a4"))


def in_4_bit(model: onnx.ModelProto) -> set[str]:
    """Return what a Clip keeps in the narrow grid, activations by name and weights by the range of their integers."""
    clipped = {node.input[0].removesuffix("_quantized") for node in model.graph.node if node.op_type == "Clip"}
    for initializer in model.graph.initializer:
        values = numpy_helper.to_array(initializer)
        if initializer.name.endswith("w_quantized") and np.abs(values.astype(int)).max() <= 8:
            clipped.add(initializer.name.removesuffix("_quantized"))
    return clipped


def test_what_is_kept_from_4_bit_has_8_and_all_else_stays(tmp_path: Path) -> None:
    variants = narrow_variants(tmp_path)
    assert variants.nodes == tuple(f"stage/c{i}" for i in range(2, 6))
    everything, without = in_4_bit(variants.without(())), in_4_bit(variants.without([NODE]))
    assert everything - without == {"c3_w", "c2_relu"}
    assert without < everything
    assert len(quantized_weights(variants.without([NODE]))) == 6
    assert variants.kept([NODE, "stage/c1"]) == {NODE}


def test_only_leaves_4_bit_to_what_is_named(tmp_path: Path) -> None:
    assert in_4_bit(narrow_variants(tmp_path).only([NODE])) == {"c3_w", "c2_relu"}
