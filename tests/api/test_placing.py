from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

from edgekit.api import placing
from edgekit.api.compile import compile
from edgekit.calibration.judging.evaluate import Gate
from edgekit.errors import ArtifactError, UsageError
from edgekit.placements import PlacementTable
from edgekit.targets import load_target
from edgekit.tuning.tune import Tuned


def operators(model: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_model_from_string(model).graph.node]


def regated(folder: Path, **gates: Any) -> None:
    recipe = json.loads((folder / "recipe.json").read_text())
    recipe["gates"] |= gates
    (folder / "recipe.json").write_text(json.dumps(recipe))


class TestMeasured:
    @pytest.mark.parametrize("target", ["host", "x86-onnxruntime"])
    def test_a_real_engine_is_never_slower_than_floating_point(self, copy: Path, tmp_path: Path, target: str) -> None:
        board = load_target(target)
        if placing._why_unmeasured(board, placing.Tuning(5.0, False, 1)):
            pytest.skip(f"{target} is not this machine")
        made = compile(copy, target=target, out=tmp_path / "a.edge", tune_seconds=5)
        table = made.manifest.placement
        assert table.origin == "measured" and table.whole is not None
        assert table.whole.placed.speedup >= 1.0 or table.macs_share == 0.0
        engine = made.read("engine/model.onnx")
        assert ("QuantizeLinear" in operators(engine)) == (table.macs_share > 0)
        again = compile(copy, target=target, out=tmp_path / "b.edge", tune_seconds=5)
        assert again.path.read_bytes() == made.path.read_bytes()

    def test_scales_say_what_is_deployed(
        self, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept_second: PlacementTable
    ) -> None:
        monkeypatch.setattr(placing, "_tuned", lambda *_: Tuned(frozenset({"conv2"}), kept_second))
        made = compile(copy, out=tmp_path / "a.edge")
        scales = json.loads(made.read("scales.json"))
        assert scales["nodes"]["conv2"] == {"precision": "fp32", "why": "kept: 8 bit is slower"}
        assert scales["nodes"]["conv1"]["precision"] == "int8"
        assert "w2" not in scales["tensors"] and "w1" in scales["tensors"]
        assert made.manifest.placement == kept_second

    @pytest.mark.parametrize("rules_pay", [True, False])
    def test_what_misses_gates_that_the_rules_keep_gives_way(
        self, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept_second: PlacementTable, rules_pay: bool
    ) -> None:
        assert kept_second.whole is not None
        rules = kept_second.whole.placed if rules_pay else kept_second.whole.rules
        table = kept_second.model_copy(update={"whole": kept_second.whole.model_copy(update={"rules": rules})})
        verdicts = iter([(Gate("f1", 0.99, 0.5, False),), ()])
        monkeypatch.setattr(placing, "_tuned", lambda *_: Tuned(frozenset({"conv2"}), table))
        monkeypatch.setattr(sys.modules[compile.__module__], "judge", lambda *_: next(verdicts))
        made = compile(copy, out=tmp_path / "a.edge")
        placement = made.manifest.placement
        assert ("QuantizeLinear" in operators(made.read("engine/model.onnx"))) == rules_pay
        assert (placement.macs_share > 0) == rules_pay
        expected = "the target's rules are followed instead" if rules_pay else "nothing is in 8 bit instead"
        assert expected in placement.notes[-1]

    def test_gates_that_the_rules_miss_too_blame_no_placement(
        self, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept_second: PlacementTable
    ) -> None:
        regated(copy, min_sqnr_db=80.0)
        monkeypatch.setattr(placing, "_tuned", lambda *_: Tuned(frozenset({"conv2"}), kept_second))
        assert compile(copy, out=tmp_path / "a.edge").manifest.placement == kept_second

    def test_files_that_do_not_belong_together_are_refused(self, copy: Path, tmp_path: Path) -> None:
        model = onnx.load(copy / "model.qdq.onnx")
        model.graph.node[0].doc_string = "changed"
        onnx.save(model, copy / "model.qdq.onnx")
        with pytest.raises(ArtifactError, match="do not belong to each other"):
            compile(copy, out=tmp_path / "a.edge")


class TestUnmeasured:
    def test_no_tuning_follows_the_rules(self, copy: Path, tmp_path: Path) -> None:
        table = compile(copy, out=tmp_path / "a.edge", tune=False).manifest.placement
        assert table.origin == "estimated" and table.whole is None
        assert {row.origin for row in table.rows} == {"estimated"}
        assert all(row.times is None for row in table.rows)
        assert not (copy / "placement").exists()

    @pytest.mark.parametrize("target", ["jetson-orin", "intel-npu", "arm-cortex-a76"])
    def test_engines_of_other_machines_are_not_measured_here(self, copy: Path, tmp_path: Path, target: str) -> None:
        table = compile(copy, target=target, out=tmp_path / "a.edge").manifest.placement
        assert table.origin == "estimated"
        assert table.notes[0].startswith("not measured")

    @pytest.mark.parametrize("wrong", [{"tune_seconds": 0.0}, {"tune_seconds": float("nan")}, {"threads": -1}])
    def test_figures_out_of_range_are_refused(self, copy: Path, tmp_path: Path, wrong: dict[str, Any]) -> None:
        with pytest.raises(UsageError):
            compile(copy, out=tmp_path / "a.edge", **wrong)


@pytest.fixture
def kept_second() -> PlacementTable:
    """A table in which 8 bit pays, and more so with the second convolution in floating point."""
    times = {"float_us": 100.0, "int8_us": 90.0, "speedup": 1.11, "low": 1.1, "high": 1.12}
    slower = times | {"int8_us": 110.0, "speedup": 0.91, "low": 0.9, "high": 0.92}
    row = {"origin": "measured", "why": "8 bit is not slower", "precision": "int8", "times": times}
    return PlacementTable.model_validate(
        {
            "origin": "measured",
            "macs_share": 0.5,
            "whole": {"rules": slower, "placed": times, "bf16": None},
            "rows": [
                row | {"group": "conv1", "nodes": ["conv1"]},
                row | {"group": "conv2", "nodes": ["conv2"], "precision": "fp32", "why": "8 bit is slower"},
                row | {"group": "conv3", "nodes": ["conv3"]},
            ],
        }
    )
