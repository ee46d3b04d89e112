from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from edgekit.errors import UsageError
from edgekit.recipes import (
    Gates,
    Head,
    Preprocessing,
    Recipe,
    RowAnchorDecoder,
    SelectStep,
    load_recipe,
    with_effort,
)
from edgekit.resources import shipped_names
from edgekit.tasks import task_for

EXPECTED = {
    "generic",
    "lane-curve",
    "lane-keypoint",
    "lane-line-anchor",
    "lane-row-anchor",
    "lane-row-anchor-ufld",
    "lane-segmentation",
}
MODELS = {
    "lane-curve": "lstr-culane",
    "lane-keypoint": "pinetq",
    "lane-row-anchor": "quantlanenet-tusimple",
    "lane-segmentation": "twinlitenet-bdd100k",
}
MINE = """
name = "mine"
title = "My network"

[heads.logits]
role = "confidence"

[heads.curves]
role = "geometry"

[decoder]
family = "curve"

[[step]]
step = "observe"

[[step]]
step = "scale"
"""


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def refusal(name: str) -> UsageError:
    with pytest.raises(UsageError) as raised:
        load_recipe(name)
    return raised.value


def test_the_families_that_are_promised_are_shipped() -> None:
    assert set(shipped_names("calib")) >= EXPECTED


@pytest.mark.parametrize("name", shipped_names("calib"))
def test_every_shipped_recipe_loads_and_can_be_decoded(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert [step.step for step in recipe.step][:3] == ["equalize", "observe", "scale"]
    assert callable(task_for(recipe).decode)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_every_shipped_recipe_has_a_gate(name: str) -> None:
    assert load_recipe(name).gates.model_dump(exclude_none=True)


@pytest.mark.parametrize("name", MODELS)
def test_a_recipe_fits_the_public_model_of_its_family(name: str, shared_lanes: Path) -> None:
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(shared_lanes / "models" / MODELS[name] / "model.onnx").graph
    recipe = load_recipe(name)
    assert [value.name for value in graph.output] == [head.output or key for key, head in recipe.heads.items()]
    shape = tuple(size.dim_value for size in graph.input[0].type.tensor_type.shape.dim)
    assert shape == (1, 3, *(recipe.preprocessing.size or ()))


def test_ufld_reads_its_rows_at_culane_row_anchors() -> None:
    decoder = load_recipe("lane-row-anchor-ufld").decoder
    assert isinstance(decoder, RowAnchorDecoder)
    pixels = [round(row * 288, 3) for row in decoder.rows]
    assert pixels == [121, 131, 141, 150, 160, 170, 180, 189, 199, 209, 219, 228, 238, 248, 258, 267, 277, 287]
    # The last of 200 columns ends at the right edge of the input.
    assert 199 * decoder.stride_x == pytest.approx(799)


def test_a_recipe_takes_over_what_it_does_not_say() -> None:
    parent, child = load_recipe("lane-row-anchor"), load_recipe("lane-row-anchor-ufld")
    assert child.step == parent.step
    assert child.gates == parent.gates
    assert child.preprocessing.color == parent.preprocessing.color
    assert child.preprocessing.size != parent.preprocessing.size
    # Its network has one output; the parent's other two must not be asked of it.
    assert list(parent.heads) == ["cls", "vertical", "offset"]
    assert list(child.heads) == ["cls"]


def test_a_file_of_ones_own_is_a_recipe(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path / "mine.toml", MINE))
    assert recipe.name == "mine"
    assert recipe.preprocessing.divide_by == 255.0


def test_a_file_of_ones_own_wins_over_a_shipped_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "lane-curve.toml", MINE)
    monkeypatch.chdir(tmp_path)
    assert load_recipe("lane-curve.toml").name == "mine"
    assert load_recipe("lane-curve").name == "lane-curve"


def test_a_file_may_extend_a_shipped_recipe(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.toml", 'extends = "lane-curve"\nname = "mine"\n[preprocessing]\nsize = [360, 640]\n')
    recipe = load_recipe(path)
    shipped = load_recipe("lane-curve")
    assert recipe.preprocessing == shipped.preprocessing.model_copy(update={"size": (360, 640)})
    assert (recipe.name, recipe.heads, recipe.step) == ("mine", shipped.heads, shipped.step)


def test_a_file_that_is_extended_lies_relative_to_the_one_that_extends_it(tmp_path: Path) -> None:
    (tmp_path / "team").mkdir()
    write(tmp_path / "team" / "base.toml", MINE)
    path = write(tmp_path / "mine.toml", 'extends = "team/base.toml"\ntitle = "Another"\n')
    assert load_recipe(path).title == "Another"
    assert load_recipe(path).name == "mine"


def test_a_decoder_of_another_family_inherits_no_parameter(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.toml", 'extends = "lane-curve"\n[decoder]\nfamily = "generic"\n')
    assert load_recipe(path).decoder.model_dump() == {"family": "generic"}


def test_recipes_that_extend_each_other_are_refused_with_the_circle(tmp_path: Path) -> None:
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    write(one, 'extends = "two.toml"\n')
    write(two, 'extends = "./one.toml"\n')
    error = refusal(str(one))
    assert "extends itself" in error.problem
    assert error.found.count(" -> ") == 2
    assert "'extends'" in error.fix


def test_a_recipe_that_is_extended_but_does_not_exist_is_named(tmp_path: Path) -> None:
    error = refusal(write(tmp_path / "mine.toml", 'extends = "lane-curv"\n'))
    assert "'lane-curv'" in error.problem
    assert "Did you mean 'lane-curve'?" in error.fix


@pytest.mark.parametrize(
    ("wrong", "key", "known", "meant"),
    [
        ('gate = "x"\n', "gate", "decoder, gates, heads, models, name, operators, preprocessing, step, title", "gates"),
        ('[preprocessing]\ncolour = "bgr"\n', "preprocessing.colour", "color, crop_top, divide_by", "color"),
        ('[heads.curves]\nroles = "mask"\n', "heads.curves.roles", "confidence, label, output, role", "role"),
        ('[decoder]\nfamily = "curve"\npionts = 9\n', "decoder.pionts", "family, lane_class, points", "points"),
        ('[[step]]\nstep = "scale"\nweight = "mse"\n', "step[0].weight", "percentile, step, weights", "weights"),
    ],
    ids=["top level", "nested", "head", "decoder", "step"],
)
def test_an_unknown_key_names_file_key_and_known_keys(
    tmp_path: Path, wrong: str, key: str, known: str, meant: str
) -> None:
    path = write(tmp_path / "mine.toml", 'extends = "lane-curve"\n' + wrong)
    error = refusal(path)
    assert error.problem.startswith(path)
    assert error.problem.endswith(f": unknown key '{key}'.")
    assert known in error.found
    assert f"Did you mean '{meant}'?" in error.fix


def test_a_head_that_counts_where_no_head_says_is_refused(tmp_path: Path) -> None:
    error = refusal(write(tmp_path / "mine.toml", MINE + '[heads.offset]\nrole = "offset"\nconfidence = "logit"\n'))
    assert "heads.offset.confidence names 'logit', which is no head of this recipe" in error.problem


def test_a_recipe_without_steps_is_refused(tmp_path: Path) -> None:
    error = refusal(write(tmp_path / "mine.toml", "step = []\n" + MINE.partition("[[step]]")[0]))
    assert "key 'step' is not valid" in error.problem


def test_an_unknown_family_names_the_known_ones(tmp_path: Path) -> None:
    error = refusal(write(tmp_path / "mine.toml", MINE.replace('family = "curve"', 'family = "spline"')))
    assert "key 'decoder' is not valid" in error.problem
    assert "'curve', 'row-anchor', 'keypoint', 'line-anchor', 'segmentation', 'ranking', 'generic'" in error.problem


def test_an_unknown_recipe_suggests_the_nearest() -> None:
    error = refusal("lane-keypoints")
    assert error.problem == "There is no recipe named 'lane-keypoints'."
    assert "Did you mean 'lane-keypoint'?" in error.fix


def test_the_docs_list_every_shipped_recipe_and_every_key(root: Path) -> None:
    text = (root / "docs" / "recipes.md").read_text(encoding="utf-8")
    keys = {key for schema in (Preprocessing, Head, Gates) for key in schema.model_fields}
    for name in shipped_names("calib"):
        recipe = load_recipe(name)
        assert f"| `{recipe.decoder.family}` |" in text
        keys |= {
            name,
            *type(recipe.decoder).model_fields,
            *(key for step in recipe.step for key in type(step).model_fields),
        }
    keys -= {"family", "step"}
    assert [key for key in sorted(keys) if f"`{key}`" not in text] == []
    assert [key for key in Recipe.model_fields if key not in text] == []


def test_a_limit_on_time_needs_a_cost_in_time() -> None:
    step = SelectStep(step="select", cost="macs")
    assert SelectStep.model_validate(step.model_dump()) == step
    with pytest.raises(ValidationError, match="max_slowdown limits time"):
        SelectStep(step="select", cost="macs", max_slowdown=0.1)


def test_effort_decides_which_steps_run() -> None:
    recipe = load_recipe("lane-curve")
    assert [step.step for step in with_effort(recipe, "quick").step] == ["observe", "scale"]
    assert with_effort(recipe, "standard") == recipe
    (select,) = (step for step in recipe.step if isinstance(step, SelectStep))
    (searched,) = (step for step in with_effort(recipe, "max").step if isinstance(step, SelectStep))
    assert (searched.frames, searched.max_rounds) == (2 * select.frames, 2 * select.max_rounds)
    assert searched.max_slowdown == select.max_slowdown
