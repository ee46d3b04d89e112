from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgekit.calibration.ranges.observe import Observations, observe
from edgekit.calibration.scales import (
    NodeScale,
    Provenance,
    Scales,
    TensorScale,
    choose_scales,
    parameters_of,
    read_scales,
)
from edgekit.errors import ArtifactError
from edgekit.graph.numerics import dequantize, quantize
from edgekit.graph.placement import place
from edgekit.recipes import ScaleStep
from edgekit.targets import Scheme, TensorScheme
from tests.graph.models import NetBuilder, joining_net, residual_net
from tests.graph.schemes import SIGNED, scheme

STEP = ScaleStep(step="scale", activations="min-max")


def observed(rules: Scheme, build: object = residual_net) -> tuple[dict[str, TensorScale], Observations]:
    model = build()  # type: ignore[operator]
    placement = place(model, rules)
    inputs = np.random.default_rng(1).normal(size=(4, 1, 3, 16, 16)).astype(np.float32)
    observations = observe(model, [one.tensor for one in placement.activations], inputs)
    return choose_scales(model, placement, rules, observations, STEP), observations


def scales_with(tensors: dict[str, TensorScale], **changes: object) -> Scales:
    provenance = {
        "model_sha256": "a",
        "frames_sha256": "b",
        "frames": 4,
        "preprocessing_sha256": "c",
        "recipe": "generic",
        "recipe_sha256": "d",
        "target": "host",
        "target_sha256": "e",
        "seed": 0,
        "versions": {"edgekit": "0"},
    }
    return Scales(
        schema_version=1,
        tensors=tensors,
        nodes={"stem_node": NodeScale(precision="int8", why="test")},
        provenance=Provenance.model_validate(provenance | changes),
    )


def test_activations_cover_what_was_observed() -> None:
    scales, observations = observed(scheme())
    for name, seen in observations.items():
        tensor = scales[name]
        low = (0 - tensor.zero_point[0]) * tensor.scale[0]
        high = (255 - tensor.zero_point[0]) * tensor.scale[0]
        assert low == pytest.approx(min(seen.low, 0), abs=tensor.scale[0])
        assert high == pytest.approx(max(seen.high, 0), abs=tensor.scale[0])
        assert (tensor.frames, tensor.observed) == (4, (seen.low, seen.high))
        assert tensor.clipped_share < 0.01


def test_symmetric_signed_activations_have_zero_point_zero() -> None:
    scales, _ = observed(scheme(activations=SIGNED))
    assert all(set(tensor.zero_point) == {0} for tensor in scales.values())


def test_weights_have_one_scale_per_channel_or_one_in_all() -> None:
    per_channel, _ = observed(scheme())
    assert (len(per_channel["stem_w"].scale), per_channel["stem_w"].axis) == (8, 0)
    whole = TensorScheme(dtype="int8", symmetric=True, granularity="tensor")
    per_tensor, _ = observed(scheme(weights=whole))
    assert (len(per_tensor["stem_w"].scale), per_tensor["stem_w"].axis) == (1, None)
    assert per_tensor["stem_w"].scale[0] == max(per_channel["stem_w"].scale)


def test_a_reduced_range_halves_the_grid() -> None:
    reduced = TensorScheme(dtype="int8", symmetric=True, granularity="channel", reduce_range=True)
    wide, _ = observed(scheme())
    narrow, _ = observed(scheme(weights=reduced))
    np.testing.assert_allclose(np.array(narrow["stem_w"].scale), np.array(wide["stem_w"].scale) * 127 / 63, rtol=1e-6)


def test_least_squared_error_clips_heavy_tailed_weights_and_lowers_the_error() -> None:
    net = NetBuilder(channels=64)
    heavy = np.random.default_rng(2).standard_t(3, (1, 64, 9, 9)).astype(np.float32)
    model = net.model(net.node("Conv", ["image", net.constant("w", heavy)], "head"))
    placement = place(model, scheme())
    observations = observe(model, ["image"], [np.ones((1, 64, 16, 16), np.float32)])
    errors = {}
    for method in ("min-max", "mse"):
        step = ScaleStep(step="scale", weights=method)
        how = parameters_of(choose_scales(model, placement, scheme(), observations, step))["w"]
        integers = quantize(heavy, how.scale, how.zero_point, scheme().weights, how.axis)
        errors[method] = float(((dequantize(integers, how.scale, how.zero_point, how.axis) - heavy) ** 2).sum())
    assert errors["mse"] < 0.98 * errors["min-max"]


def test_tensors_of_a_group_share_one_scale() -> None:
    scales, _ = observed(scheme(share_scale=("Concat", "Resize", "MaxPool")), joining_net)
    shared = {scales[name].scale for name in ("stem_relu", "low", "deep_relu", "high", "joined")}
    assert len(shared) == 1


def test_a_tensor_that_was_always_zero_gets_a_grid_that_lets_values_through() -> None:
    model = residual_net()
    placement = place(model, scheme())
    silent = [np.zeros((1, 3, 16, 16), np.float32)]
    observations = observe(model, [one.tensor for one in placement.activations], silent)
    assert choose_scales(model, placement, scheme(), observations, STEP)["image"].scale[0] == pytest.approx(1 / 255)


def test_a_large_bias_widens_the_scale_of_a_tiny_channel() -> None:
    rules = scheme(bias="int32", outputs=True)
    model = residual_net()
    weight = next(one for one in model.graph.initializer if one.name == "first_w")
    values = np.frombuffer(weight.raw_data, np.float32).copy().reshape(8, 8, 3, 3)
    values[2] = 1e-11
    weight.raw_data = values.tobytes()
    placement = place(model, rules)
    inputs = np.random.default_rng(1).normal(size=(2, 1, 3, 16, 16)).astype(np.float32)
    observations = observe(model, [one.tensor for one in placement.activations], inputs)
    scales = choose_scales(model, placement, rules, observations, STEP)
    bias = next(one for one in model.graph.initializer if one.name == "first_b")
    largest = abs(float(np.frombuffer(bias.raw_data, np.float32)[2]))
    assert largest / (scales["pooled"].scale[0] * scales["first_w"].scale[2]) <= 2**31 - 1


def test_a_tensor_that_was_not_observed_is_named() -> None:
    model = residual_net()
    with pytest.raises(ArtifactError, match="first 'image'"):
        choose_scales(model, place(model, scheme()), scheme(), {}, STEP)


def test_json_keeps_every_bit(tmp_path: Path) -> None:
    tensors, _ = observed(scheme())
    written = scales_with(tensors)
    path = tmp_path / "scales.json"
    path.write_text(written.to_json())
    read = read_scales(path)
    assert read == written
    assert read.to_json() == written.to_json()
    for name, how in parameters_of(read.tensors).items():
        assert np.array_equal(how.scale, parameters_of(tensors)[name].scale)
        assert how.zero_point.dtype == tensors[name].dtype


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        (json.dumps({"schema_version": 99}), "newer EdgeKit"),
        (json.dumps({"schema_version": 1, "extra": 1}), "extra|missing"),
    ],
)
def test_a_damaged_file_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "scales.json"
    path.write_text(text)
    with pytest.raises(ArtifactError, match=message):
        read_scales(path)


def test_a_changed_provenance_names_what_changed() -> None:
    one, two = scales_with({}), scales_with({}, seed=1, frames_sha256="x")
    assert one.provenance.changed(one.provenance) == []
    assert one.provenance.changed(two.provenance) == ["frames_sha256", "seed"]
