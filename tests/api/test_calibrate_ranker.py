"""Calibrating a ranker: requests in place of frames, lists in place of lanes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

import edgekit
from edgekit.calibration.artifact import Calibration
from edgekit.errors import DataError, GateError, UsageError
from edgekit.features.folder import read_features, write_features
from edgekit.features.schema import Field, Schema
from edgekit.graph.reference import ReferenceRun
from tests.rankers import CANDIDATES, network, requests, write_ranker


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranker")
    write_ranker(folder)
    return folder


@pytest.fixture(scope="module")
def calibration(source: Path) -> Calibration:
    return edgekit.calibrate(
        source / "ranker.onnx",
        source / "requests.npz",
        recipe="ranker",
        features=source / "shop.features",
        target="intel-cpu-vnni",
        out=source / "calibration",
        seed=3,
    )


def test_all_steps_of_the_recipe_run(calibration: Calibration) -> None:
    report = calibration.report
    assert [step["step"] for step in report["steps"]] == ["equalize", "observe", "scale", "select", "reconstruct"]
    assert set(report["agreement"]["figures"]) == {"order_change", "ndcg", "auc", "top_overlap"}
    assert report["sensitivity"]["unit"] == "%"
    assert report["sensitivity"]["heads"][0]["name"] == "score"
    assert all(gate["passed"] for gate in report["gates"])


def test_layers_of_a_ranker_are_computed_in_8_bit(calibration: Calibration) -> None:
    assert calibration.report["quantized"]["macs_share"] > 0.9
    quantized = onnx.load(calibration.qdq_model)
    assert sum(node.op_type == "DequantizeLinear" for node in quantized.graph.node) >= 4


def test_the_figures_are_those_of_the_models(calibration: Calibration) -> None:
    from edgekit.tasks.ranking import order_change

    held_out = requests(12)[3::4]
    one, two = ReferenceRun(onnx.load(calibration.fp_model)), ReferenceRun(onnx.load(calibration.qdq_model))
    changes = [order_change(one(rows)["score"].ravel(), two(rows)["score"].ravel()) for rows in held_out]
    assert calibration.report["agreement"]["figures"]["order_change"] == pytest.approx(float(np.mean(changes)))


def test_the_features_go_along(source: Path, calibration: Calibration) -> None:
    written = read_features(source / "shop.features")
    assert read_features(calibration.folder / "features").identity == written.identity
    assert calibration.scales.provenance.features_sha256 == written.identity


def test_there_are_no_pictures_of_requests(calibration: Calibration, tmp_path: Path) -> None:
    assert calibration.report["agreement"]["worst"] == {}
    edgekit.write_report(calibration.folder, tmp_path / "report.html")
    assert "overlap of the head" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_same_inputs_give_the_same_bytes(source: Path, calibration: Calibration) -> None:
    again = edgekit.calibrate(
        source / "ranker.onnx",
        source / "requests.npz",
        recipe="ranker",
        features=source / "shop.features",
        target="intel-cpu-vnni",
        out=source / "again",
        seed=3,
    )
    for name in ("scales.json", "model.qdq.onnx"):
        assert (again.folder / name).read_bytes() == (calibration.folder / name).read_bytes()


def quick(source: Path, out: Path, **changes: object) -> Calibration:
    arguments: dict[str, object] = {
        "recipe": "ranker",
        "features": source / "shop.features",
        "target": "arm-cortex-a76",
        "effort": "quick",
    } | changes
    model, data = arguments.pop("model", source / "ranker.onnx"), arguments.pop("data", source / "requests.npz")
    return edgekit.calibrate(model, data, out=out, **arguments)  # type: ignore[arg-type]


def test_scores_may_be_flat_and_the_number_of_candidates_free(source: Path, tmp_path: Path) -> None:
    model = network(flat=True)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "candidates"
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    model.graph.output[0].type.tensor_type.shape.dim.add().dim_param = "candidates"
    onnx.save(model, tmp_path / "free.onnx")
    found = quick(source, tmp_path / "out", model=tmp_path / "free.onnx")
    fixed = onnx.load(found.fp_model).graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in fixed] == [CANDIDATES, 20]


def test_a_ranker_needs_its_features(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="together with its features"):
        quick(source, tmp_path / "out", features=None)
    with pytest.raises(UsageError, match="which have no features"):
        quick(source, tmp_path / "out", recipe="generic")


def test_features_of_another_width_are_refused(source: Path, tmp_path: Path) -> None:
    schema = Schema(name="other", field=(Field(name="a", kind="categorical", side="user", dimension=3),))
    write_features(tmp_path / "other.features", schema, {"a": np.zeros((2, 3), np.float32)})
    with pytest.raises(UsageError, match="'other' is 3 wide, the model's input 20"):
        quick(source, tmp_path / "out", features=tmp_path / "other.features")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (np.zeros((3, CANDIDATES, 19), np.float32), "no request of this ranker"),
        (np.zeros((3, CANDIDATES - 1, 20), np.float32), "no request of this ranker"),
        (np.full((3, CANDIDATES, 20), np.nan, np.float32), "no finite number"),
    ],
)
def test_requests_that_do_not_fit_are_refused(source: Path, tmp_path: Path, rows: np.ndarray, problem: str) -> None:
    np.savez(tmp_path / "requests.npz", frames=rows)
    with pytest.raises(DataError, match=problem):
        quick(source, tmp_path / "out", data=tmp_path / "requests.npz")


def test_pictures_are_no_requests(source: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "frames.npz", frames=np.zeros((3, 8, 8, 3), np.uint8))
    with pytest.raises(DataError, match="no request of this ranker"):
        quick(source, tmp_path / "out", data=tmp_path / "frames.npz")


def test_a_gate_that_is_missed_is_told(source: Path, tmp_path: Path) -> None:
    (tmp_path / "strict.toml").write_text('extends = "ranker"\n[gates]\nmax_order_change = 1e-9\n')
    with pytest.raises(GateError, match=r"order_change is [\d.e-]+, the gate is 1e-09") as caught:
        quick(source, tmp_path / "out", recipe=tmp_path / "strict.toml")
    assert "worst frames" not in caught.value.fix
    assert json.loads((tmp_path / "out" / "report.json").read_text())["gates"]
