from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.calibration.selection.sensitivity import Options, analyse
from tests.calibration.planted import ROWS, analysis_of, chain, row_net
from tests.graph.schemes import SIGNED, scheme


@pytest.mark.parametrize("ruined", ["c2", "c4", "c6"])
@pytest.mark.parametrize("rules", [scheme(), scheme(activations=SIGNED)], ids=["unsigned", "signed"])
def test_a_ruined_layer_ranks_first(tmp_path: Path, ruined: str, rules: object) -> None:
    found = analyse(analysis_of(chain(ruined), tmp_path, rules=rules))  # type: ignore[arg-type]
    worst = max(found.groups, key=lambda unit: unit.only)
    assert worst.nodes == (f"stage/{ruined}",)
    assert worst.only > 0.5
    assert worst.without is not None
    assert worst.without < 0.1 * found.everything


def test_a_ruined_layer_is_found_inside_its_group(tmp_path: Path) -> None:
    found = analyse(analysis_of(chain("c4"), tmp_path, options=Options(groups=2, refine=1, threads=1)))
    assert [unit.nodes for unit in found.groups] == [
        ("stage/c1", "stage/c2", "stage/c3"),
        ("stage/c4", "stage/c5", "stage/c6"),
    ]
    assert [unit.name for unit in found.layers] == ["stage/c4", "stage/c5", "stage/c6"]
    assert max(found.layers, key=lambda unit: unit.only).name == "stage/c4"


def test_harmless_groups_are_dropped_after_a_quarter_of_the_frames(tmp_path: Path) -> None:
    analysis = analysis_of(chain("c4"), tmp_path)
    found = analyse(analysis)
    frames = {unit.name: unit.frames for unit in found.groups}
    assert frames.pop("stage/c4") == 8
    assert set(frames.values()) == {2}
    assert all(unit.without is None for unit in found.groups if unit.frames == 2)
    # All, then a quarter of the frames for five groups, and twice all of them for the one that matters.
    assert found.runs == 8 + 5 * 2 + 2 * 8
    assert found.models == 1 + 5 + 2


@pytest.mark.parametrize("groups", [1, 2, 12])
def test_the_cost_is_bounded_by_the_groups_and_the_layers_inside_the_refined_ones(tmp_path: Path, groups: int) -> None:
    options = Options(groups=groups, harmless=0.0, threads=1)
    found = analyse(analysis_of(chain(), tmp_path, options=options))
    inside = sorted((len(unit.nodes) for unit in found.groups if len(unit.nodes) > 1), reverse=True)
    models = 1 + 2 * len(found.groups) + 2 * sum(inside[: options.refine])
    assert 1 < found.models <= models
    assert found.runs <= models * len(found.frames)


def test_the_same_analysis_gives_the_same_text(tmp_path: Path) -> None:
    texts = [json.dumps(analyse(analysis_of(chain("c3"), tmp_path)).to_json()) for _ in range(2)]
    assert texts[0] == texts[1]
    data = json.loads(texts[0])
    assert (data["schema_version"], data["precision"]) == (2, "8 bit")
    assert data["unit"] == ""
    assert len(data["frames"]) == 8


def test_shares_of_work_add_up(tmp_path: Path) -> None:
    found = analyse(analysis_of(chain(), tmp_path))
    assert sum(unit.macs_share for unit in found.groups) == pytest.approx(1.0)


def test_heads_are_told_apart_and_so_is_the_foreground(tmp_path: Path) -> None:
    analysis = analysis_of(row_net(), tmp_path, recipe=ROWS)
    heads = {head.name: head for head in analysis.heads()}
    assert [head.role for head in heads.values()] == ["confidence", "existence", "offset"]
    assert heads["offset"].distortion > 0
    # Offsets are read in the winning column alone.
    assert heads["offset"].foreground == heads["offset"].distortion
    assert heads["offset"].background == pytest.approx(0, abs=1e-9)
    assert analyse(analysis).unit == "px"


def test_heads_that_do_not_change_cost_nothing(tmp_path: Path) -> None:
    analysis = analysis_of(row_net(), tmp_path, recipe=ROWS, rules=scheme(operators=("Gemm",)))
    found = analyse(analysis)
    assert found.everything == pytest.approx(0, abs=1e-9)
    assert found.groups == ()
    assert [head.distortion for head in found.heads] == pytest.approx([0, 0, 0], abs=1e-9)


def test_progress_is_told(tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    options = replace(Options(threads=1), groups=2, refine=1)
    analyse(analysis_of(chain("c4"), tmp_path, options=options), lambda *step: steps.append(step))
    assert [step[1:] for step in steps if step[0] == "sensitivity of groups"] == [(1, 2), (2, 2)]
    assert [step[1:] for step in steps if step[0] == "sensitivity of layers"] == [(1, 3), (2, 3), (3, 3)]
