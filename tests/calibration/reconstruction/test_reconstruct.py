from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

from edgekit.calibration.distortion import distortion_for
from edgekit.calibration.reconstruction.learning import Options
from edgekit.calibration.reconstruction.reconstruct import Check, Reconstruction, reconstruct
from edgekit.calibration.reconstruction.simulation import QuantizedModel, Simulation
from edgekit.calibration.reconstruction.units import Data
from edgekit.errors import ArtifactError
from edgekit.frames import Frames
from edgekit.graph.reference import ReferenceRun
from edgekit.runtime.preprocessing import Preprocessor
from tests.calibration.quantized import LOW, generic_recipe, quantized_net
from tests.graph.models import joining_net, residual_net
from tests.graph.schemes import SIGNED, scheme

OPTIONS = Options(
    steps=40,
    check_every=10,
    checkpoint_every=15,
    sensitivity_every=20,
    accumulate=1,
    rounding_rate=1e-2,
    scale_rate=1e-2,
    bias_rate=1e-2,
)
"""Few steps on a small network, and so larger ones."""


@pytest.fixture(autouse=True)
def one_thread() -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def data(tmp_path: Path) -> Data:
    for index, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3)).astype(np.uint8)):
        cv2.imwrite(str(tmp_path / f"{index}.png"), pixels)
    recipe = generic_recipe()
    preprocessor = Preprocessor(recipe.preprocessing, (1, 3, 16, 16))
    return Data(Frames.open(tmp_path), preprocessor, recipe, distortion_for(recipe))


def low_bit(model: onnx.ModelProto) -> QuantizedModel:
    """W4A4 as a scheme of its own, so that everything is coarse enough for a few steps to show."""
    return quantized_net(model, **LOW)


def same(one: Reconstruction, two: Reconstruction) -> bool:
    a, b = one.result, two.result
    return (
        one.history == two.history
        and all(a.parameters[name].scale.tobytes() == how.scale.tobytes() for name, how in b.parameters.items())
        and all(a.integers[name].tobytes() == values.tobytes() for name, values in b.integers.items())
        and all(a.biases[name].tobytes() == values.tobytes() for name, values in b.biases.items())
        and (a.integers.keys(), a.biases.keys()) == (b.integers.keys(), b.biases.keys())
    )


@pytest.mark.parametrize("unit", ["network", "block"])
@pytest.mark.parametrize("build", [residual_net, joining_net])
def test_four_bits_come_closer_to_the_network(data: Data, build: object, unit: str) -> None:
    options = dataclasses.replace(OPTIONS, unit=unit, blocks=3)
    found = reconstruct(low_bit(build()), data, options)  # type: ignore[operator]
    assert found.after < 0.85 * found.before
    assert found.held_out
    assert found.result.integers
    for name, values in found.result.integers.items():
        assert np.abs(values).max() <= 7, name


@pytest.mark.parametrize("rounding", ["straight", "soft"])
@pytest.mark.parametrize("kind", ["rounding", "scale", "bias"])
def test_each_kind_of_parameter_is_learned_alone(data: Data, kind: str, rounding: str) -> None:
    start = low_bit(residual_net())
    options = dataclasses.replace(
        OPTIONS, steps=80, learn=(kind,), rounding=rounding, rounding_rate=0.1 if rounding == "soft" else 1e-2, drop=0.0
    )
    found = reconstruct(start, data, options)
    assert found.after < found.before
    untouched = Simulation(start).export()
    changed = {
        "scale": any(
            found.result.parameters[name].scale != how.scale
            for name, how in start.parameters.items()
            if how.axis is None
        ),
        "rounding": any((found.result.integers[n] != v).any() for n, v in untouched.integers.items()),
        "bias": any((found.result.biases[n] != v).any() for n, v in untouched.biases.items()),
    }
    assert changed == {name: name == kind for name in changed}


def test_nothing_worse_than_the_start_is_returned(data: Data) -> None:
    start = low_bit(residual_net())
    careless = dataclasses.replace(OPTIONS, bias_rate=50.0, scale_rate=5.0, rounding_rate=50.0)
    found = reconstruct(start, data, careless)
    assert min(check.distortion for check in found.history[1:]) > found.before
    assert found.result is start
    assert found.after == found.before


def test_it_stops_when_it_gets_no_better(data: Data) -> None:
    still = dataclasses.replace(OPTIONS, learn=("bias",), bias_rate=0.0, patience=2)
    found = reconstruct(low_bit(residual_net()), data, still)
    assert [check.step for check in found.history] == [0, 10, 20]


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(data: Data) -> None:
    start = low_bit(joining_net())
    first = reconstruct(start, data, OPTIONS)
    assert same(first, reconstruct(start, data, OPTIONS))
    assert not same(first, reconstruct(start, data, dataclasses.replace(OPTIONS, seed=1)))


class _KilledError(Exception):
    pass


@pytest.mark.parametrize("unit", ["network", "block"])
@pytest.mark.parametrize("at", [17, 36])
def test_resumed_after_a_kill_it_ends_with_the_same_bytes(data: Data, tmp_path: Path, unit: str, at: int) -> None:
    start = low_bit(joining_net())
    options = dataclasses.replace(OPTIONS, unit=unit, blocks=3, steps=20 if unit == "block" else 40)
    checkpoint = tmp_path / "checkpoint.pt"

    def kill(stage: str, done: int, total: int) -> None:
        if done == at:
            raise _KilledError

    with pytest.raises(_KilledError):
        reconstruct(start, data, options, checkpoint=checkpoint, progress=kill)
    assert checkpoint.is_file()
    steps: list[int] = []
    resumed = reconstruct(
        start, data, options, checkpoint=checkpoint, progress=lambda stage, done, total: steps.append(done)
    )
    assert steps[0] > 1
    assert same(resumed, reconstruct(start, data, options))


def test_a_finished_checkpoint_is_not_learned_again(data: Data, tmp_path: Path) -> None:
    start, checkpoint = low_bit(residual_net()), tmp_path / "checkpoint.pt"
    first = reconstruct(start, data, OPTIONS, checkpoint=checkpoint)
    steps: list[int] = []
    again = reconstruct(
        start, data, OPTIONS, checkpoint=checkpoint, progress=lambda stage, done, total: steps.append(done)
    )
    assert steps == []
    assert same(first, again)


def test_a_checkpoint_of_other_work_is_refused(data: Data, tmp_path: Path) -> None:
    start, checkpoint = low_bit(residual_net()), tmp_path / "checkpoint.pt"
    reconstruct(start, data, dataclasses.replace(OPTIONS, steps=10), checkpoint=checkpoint)
    with pytest.raises(ArtifactError, match="another reconstruction"):
        reconstruct(start, data, dataclasses.replace(OPTIONS, steps=10, seed=5), checkpoint=checkpoint)
    with pytest.raises(ArtifactError, match="another reconstruction"):
        reconstruct(low_bit(joining_net()), data, dataclasses.replace(OPTIONS, steps=10), checkpoint=checkpoint)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"\x80\x04N."])
def test_a_damaged_checkpoint_is_an_error(data: Data, tmp_path: Path, content: bytes) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    checkpoint.write_bytes(content)
    with pytest.raises(ArtifactError, match="cannot be read as a checkpoint"):
        reconstruct(low_bit(residual_net()), data, OPTIONS, checkpoint=checkpoint)


def test_every_check_is_reported_with_the_distortion_and_the_head_weights(data: Data) -> None:
    seen: list[Check] = []
    found = reconstruct(low_bit(joining_net()), data, OPTIONS, report=seen.append)
    assert tuple(seen) == found.history
    assert seen[0].error is None
    assert seen[0].distortion == found.before
    assert set(seen[-1].weights) == {"scores", "offsets"}
    assert np.mean(list(seen[-1].weights.values())) == pytest.approx(1.0)


RULES = {
    "inputs": scheme(opset=17),
    "int32 bias": scheme(bias="int32", outputs=True, opset=17),
    "signed": scheme(activations=SIGNED, residual_add="branch", share_scale=("MaxPool", "Concat", "Resize"), opset=17),
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("build", [residual_net, joining_net])
def test_what_is_exported_computes_what_was_simulated(data: Data, build: object, name: str) -> None:
    start = quantized_net(build(), RULES[name])  # type: ignore[operator]
    simulation = Simulation(start)
    random = np.random.default_rng(1)
    with torch.no_grad():
        for tensor in simulation.learned.values():
            tensor += torch.from_numpy(random.normal(0, 0.02, tuple(tensor.shape)).astype(np.float32))
    exported = ReferenceRun(simulation.export().qdq())
    for frame in data.frames:
        values = data.preprocessor(frame.values)
        results = exported(values)
        for output, tensor in simulation(torch.from_numpy(values)).items():
            extent = float(tensor.abs().max())
            assert np.abs(results[output] - tensor.numpy()).max() < 0.02 * extent
            assert np.median(np.abs(results[output] - tensor.numpy())) < 1e-5 * extent
