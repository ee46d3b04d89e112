from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekit.api.compile import compile
from edgekit.api.matrix import Matrix, agreement_matrix, disagreeing
from edgekit.api.replays import FLOAT, Replay
from edgekit.backends import BACKENDS
from edgekit.calibration.artifact import Calibration
from edgekit.emulation import DEFAULT_ROOT
from edgekit.errors import ArtifactError

pytest.importorskip("openvino", reason="OpenVINO comes with the extra 'openvino'")


@pytest.fixture(scope="module")
def matrix(small_calibration: Calibration, tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    return agreement_matrix(small_calibration.folder, arm_root=tmp_path_factory.mktemp("no-root"))


def place(matrix: Matrix, engine: str, model: str) -> int:
    return next(i for i, one in enumerate(matrix.replays) if one.engine.startswith(engine) and one.model == model)


def test_floating_point_is_first_and_each_model_runs_in_onnxruntime_here(
    matrix: Matrix, small_calibration: Calibration
) -> None:
    assert matrix.replays[0].model == FLOAT
    models = [one.model for one in matrix.replays if one.is_reference]
    assert models[:2] == [FLOAT, small_calibration.target.name]
    for index, one in enumerate(matrix.replays):
        reference = matrix.reference_of(index)
        assert one.is_reference if reference is None else matrix.replays[reference].model == one.model


def test_every_backend_took_part_or_the_reason_why_not_is_told(matrix: Matrix) -> None:
    ran = {one.engine.split()[0].rstrip(",") for one in matrix.replays}
    absent = {one.engine.split()[0].rstrip(",") for one in matrix.absent}
    assert {"onnxruntime", "openvino", "torch"} <= ran
    assert ran | absent == {*BACKENDS, "torch"}
    assert all(one.reason for one in matrix.absent)


def test_emulated_cores_that_are_not_here_are_named(matrix: Matrix) -> None:
    cores = [one for one in matrix.absent if one.engine.startswith("onnxruntime, cortex-")]
    assert len(cores) == 3
    assert all("no emulated" in one.reason for one in cores)


def test_the_torch_simulation_is_the_calibrations_own_model(matrix: Matrix, small_calibration: Calibration) -> None:
    simulation = place(matrix, "torch", small_calibration.target.name)
    assert matrix.replays[simulation].origin == "simulated"
    reference = matrix.reference_of(simulation)
    assert reference is not None
    near, far = matrix.distances[reference, simulation], matrix.distances[0, simulation]
    assert max(near.rms.values()) < max(far.rms.values())


def test_engines_agree_and_differ_from_floating_point(matrix: Matrix) -> None:
    assert matrix.agrees
    assert all(max(matrix.distances[0, other].largest.values()) > 0.1 for other in range(1, len(matrix.replays)))


def test_a_step_is_that_of_the_golden_range_where_the_output_is_not_quantized(matrix: Matrix) -> None:
    values = np.stack([one["scores"] for one in matrix.replays[0].outputs])
    step = matrix.steps["scores"]
    assert step.source == "its golden range / 255"
    assert step.size == pytest.approx(np.ptp(values) / 255)


def test_the_step_of_an_output_that_is_quantized_as_well_is_its_scale(
    matrix: Matrix, small_calibration: Calibration
) -> None:
    """`features` is an output, and what the last convolution reads."""
    (scale,) = small_calibration.scales.tensors["features"].scale
    assert matrix.steps["features"].source == "its own scale"
    assert matrix.steps["features"].size == pytest.approx(scale)


def test_distances_are_in_those_steps(matrix: Matrix) -> None:
    one, two = (matrix.replays[i].outputs for i in (0, 1))
    gap = max(float(np.abs(a["scores"] - b["scores"]).max()) for a, b in zip(one, two, strict=True))
    assert matrix.distances[0, 1].largest["scores"] == pytest.approx(gap / matrix.steps["scores"].size)


def test_json_names_the_origins_of_every_distance(matrix: Matrix) -> None:
    told = matrix.to_json()
    count = len(matrix.replays)
    assert len(told["distances"]) == count * (count - 1) // 2
    for each in told["distances"]:
        assert set(each["origins"]) == {told["replays"][index]["origin"] for index in each["between"]}


def test_a_bundle_is_held_against_its_own_engine_alone(small_calibration: Calibration, tmp_path: Path) -> None:
    bundle = compile(small_calibration, target="intel-cpu-vnni", out=tmp_path / "a.edge", tune=False)
    found = agreement_matrix(bundle.path, arm_root=tmp_path)
    assert [one.model for one in found.replays] == [FLOAT, "intel-cpu-vnni", "intel-cpu-vnni"]
    reasons = {one.engine: one.reason for one in found.absent}
    assert "calibration" in reasons["torch"]
    assert "compiled for intel-cpu-vnni alone" in reasons["onnxruntime"]
    assert found.agrees


def test_an_engine_that_computes_something_else_is_found(matrix: Matrix) -> None:
    engine = place(matrix, "openvino", matrix.replays[1].model)
    broken = [{name: values[..., ::-1] for name, values in one.items()} for one in matrix.replays[engine].outputs]
    replays: list[Replay] = list(matrix.replays)
    replays[engine] = replace(replays[engine], outputs=broken)
    assert list(disagreeing(replays)) == [engine]
    assert "times the noise of quantization" in disagreeing(replays)[engine]


def test_what_is_neither_calibration_nor_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="not a calibration"):
        agreement_matrix(tmp_path)
    with pytest.raises(ArtifactError, match="no bundle"):
        agreement_matrix(tmp_path / "gone.edge")


@pytest.mark.slow
def test_a_real_lane_model_agrees_everywhere(lane_calibration: Calibration, root: Path) -> None:
    """On emulated Arm cores too, where they are set up."""
    found = agreement_matrix(lane_calibration.folder, arm_root=root / DEFAULT_ROOT)
    assert found.agrees
    for index, one in enumerate(found.replays):
        reference = found.reference_of(index)
        # A processor that rounds in its own way may choose another column in a row where the network is undecided.
        if reference is not None and one.origin != "simulated":
            figures = found.distances[reference, index].figures
            assert figures["f1"] == 1.0, one.engine
            assert figures["lateral_px"] < 0.5, one.engine
