from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import edgekit
from edgekit.calibration.artifact import Calibration
from edgekit.calibration.selection.deployed import deployed_variants
from edgekit.calibration.selection.variants import Variants
from edgekit.tuning.record import Key, Record, here, key_of, read_record, record_path
from edgekit.tuning.tune import Plan, Tuned, tune
from tests.api.conftest import small_model
from tests.tuning.planted import PlantedEngine

PLAN = Plan(seconds=60.0)


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    folder = tmp_path_factory.mktemp("tuned")
    onnx.save(small_model(), folder / "small.onnx")
    np.savez(folder / "frames.npz", frames=np.random.default_rng(0).integers(0, 256, (8, 48, 64, 3), dtype=np.uint8))
    return edgekit.calibrate(
        folder / "small.onnx",
        data=folder / "frames.npz",
        recipe="generic",
        target="intel-cpu-vnni",
        out=folder / "calibration",
        effort="quick",
    )


@pytest.fixture(scope="module")
def variants(calibration: Calibration) -> Variants:
    floating, quantized = onnx.load(calibration.fp_model), onnx.load(calibration.qdq_model)
    return deployed_variants(floating, quantized, calibration.scales, calibration.target.scheme)


@pytest.fixture
def key(calibration: Calibration) -> Key:
    return key_of(calibration.qdq_model.read_bytes(), calibration.target, "planted 1.0", 1, here())


@pytest.fixture
def path(key: Key, tmp_path: Path) -> Path:
    return record_path(tmp_path, key)


def engine() -> PlantedEngine:
    """Of three convolutions, 8 bit makes the second one slower."""
    names = ("conv1", "conv2", "conv3")
    return PlantedEngine(dict.fromkeys(names, 100.0), {"conv1": 50.0, "conv2": 300.0, "conv3": 50.0})


def tuned(variants: Variants, key: Key, path: Path, stopwatch: PlantedEngine, plan: Plan = PLAN) -> Tuned:
    return tune(variants, key, path, stopwatch, plan)


def test_the_table_says_what_is_kept_and_why(variants: Variants, key: Key, path: Path) -> None:
    found = tuned(variants, key, path, engine())
    assert found.kept == {"conv2"}
    rows = {row.nodes: row for row in found.table.rows}
    kept, first = rows[("conv2",)], rows[("conv1",)]
    assert (kept.precision, kept.origin, first.precision) == ("fp32", "measured", "int8")
    assert kept.times is not None and kept.times.float_us < kept.times.int8_us and kept.times.high < 1.0
    assert first.times is not None and first.times.speedup > 1.0
    assert found.table.whole is not None
    assert found.table.whole.rules.speedup == pytest.approx(300 / 400, rel=0.02)
    assert found.table.whole.placed.speedup == pytest.approx(300 / 200, rel=0.02)


def test_a_second_search_is_the_record_and_measures_nothing(variants: Variants, key: Key, path: Path) -> None:
    first, again = tuned(variants, key, path, engine()), engine()
    assert tuned(variants, key, path, again) == first
    assert again.runs == 0


def test_a_new_measurement_can_be_asked_for(variants: Variants, key: Key, path: Path) -> None:
    tuned(variants, key, path, engine())
    again = engine()
    tuned(variants, key, path, again, replace(PLAN, fresh=True))
    assert again.runs > 0


@pytest.mark.parametrize("field", ["engine", "processor", "model_sha256", "edgekit"])
def test_a_record_of_something_else_is_measured_again_and_says_what_changed(
    variants: Variants, key: Key, path: Path, field: str
) -> None:
    tuned(variants, key, path, engine())
    other, again = key.model_copy(update={field: "another"}), engine()
    found = tuned(variants, other, path, again)
    assert again.runs > 0
    [note] = found.table.notes
    assert re.search(rf"measured again.*{field.replace('_', ' ')} was .*, is another", note)
    assert read_record(path, key)[0] is None


@pytest.mark.parametrize("other", [{"threads": 2}, {"processor": "another"}, {"origin": "remote"}])
def test_other_threads_and_boards_have_a_record_of_their_own(key: Key, tmp_path: Path, other: dict[str, Any]) -> None:
    assert record_path(tmp_path, key) != record_path(tmp_path, key.model_copy(update=other))


def test_a_records_name_is_plain_whatever_the_processor_is_called(key: Key, tmp_path: Path) -> None:
    odd = key.model_copy(update={"processor": "Intel(R) Core(TM) i7 @ 2.8 GHz / ../x"})
    assert record_path(tmp_path, odd).parent == record_path(tmp_path, key).parent
    assert re.fullmatch(r"[a-z0-9-]+\.json", record_path(tmp_path, odd).name)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 1}'])
def test_a_damaged_record_is_measured_again(variants: Variants, key: Key, path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text)
    found = tuned(variants, key, path, engine())
    assert found.kept == {"conv2"}
    assert "cannot be read" in found.table.notes[0]


def test_ctrl_c_loses_nothing(variants: Variants, key: Key, path: Path) -> None:
    whole = engine()
    expected = tuned(variants, key, path, whole)
    path.unlink()
    stopped = engine()
    stopped.stop_after = 3
    with pytest.raises(KeyboardInterrupt):
        tuned(variants, key, path, stopped)
    record, reason = read_record(path, key)
    assert isinstance(record, Record) and not reason
    assert record.result is None and record.comparisons
    resumed = engine()
    assert tuned(variants, key, path, resumed).kept == expected.kept
    assert resumed.runs <= whole.runs - 3


def test_where_the_record_cannot_be_kept_the_search_counts_and_says_so(
    variants: Variants, key: Key, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    found = tuned(variants, key, tmp_path / "file" / "record.json", engine())
    assert found.kept == {"conv2"}
    assert "is not kept" in found.table.notes[-1]


def test_progress_is_told_in_seconds_and_ends(variants: Variants, key: Key, path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    tune(variants, key, path, engine(), PLAN, progress=lambda *step: steps.append(step))
    assert {stage for stage, _, _ in steps} == {"place"}
    assert steps[-1] == ("place", 60, 60)
    assert all(done < 60 for _, done, _ in steps[:-1])


def test_the_record_is_json_that_says_what_it_holds_for(variants: Variants, key: Key, path: Path) -> None:
    tuned(variants, key, path, engine())
    record = json.loads(path.read_text())
    assert record["key"] == key.model_dump(mode="json")
    assert record["result"]["kept"] == ["conv2"]
