"""Weights lie where post-processing reads, sum as documented, and keep the background of what decides on lanes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgekit.calibration.focus import FocusOptions, focus_weights, foreground
from edgekit.errors import ArtifactError, UsageError
from edgekit.frames import Frames
from edgekit.graph.clean import clean
from edgekit.graph.read import input_of, read_model
from edgekit.graph.reference import ReferenceRun
from edgekit.recipes import Recipe, load_recipe
from edgekit.runtime.preprocessing import Preprocessor
from edgekit.runtime.session import heads_of
from edgekit.tasks import Scene, task_for

settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")

Heads = dict[str, NDArray[np.float32]]
HARD = FocusOptions(kind="hard", dilation=0)


def random_heads(shapes: dict[str, tuple[int, ...]], seed: int, scale: float) -> Heads:
    rng = np.random.default_rng(seed)
    return {name: (rng.standard_normal(shape) * scale).astype(np.float32) for name, shape in shapes.items()}


def line_anchor_with_two_heads() -> Recipe:
    recipe = load_recipe("lane-line-anchor")
    proposals = recipe.heads["proposals"]
    scores = proposals.model_copy(update={"role": "confidence"})
    return recipe.model_copy(update={"heads": {"proposals": proposals, "scores": scores}})


FAMILIES: dict[str, tuple[Recipe, dict[str, tuple[int, ...]], set[str]]] = {
    "curve": (load_recipe("lane-curve"), {"logits": (1, 5, 3), "curves": (1, 5, 8)}, {"logits"}),
    "row-anchor": (
        load_recipe("lane-row-anchor"),
        {"cls": (1, 2, 6, 9), "vertical": (1, 2, 6, 1), "offset": (1, 2, 6, 9)},
        {"vertical"},
    ),
    "background-column": (load_recipe("lane-row-anchor-ufld"), {"cls": (1, 10, 6, 2)}, {"cls"}),
    "line-anchor": (load_recipe("lane-line-anchor"), {"proposals": (1, 7, 77)}, set()),
    "line-anchor, two heads": (
        line_anchor_with_two_heads(),
        {"proposals": (1, 7, 75), "scores": (1, 7, 2)},
        {"scores"},
    ),
    "keypoint": (
        load_recipe("lane-keypoint"),
        {"confidence": (1, 1, 6, 7), "offset": (1, 2, 6, 7), "instance": (1, 4, 6, 7)},
        {"confidence"},
    ),
    "segmentation": (
        load_recipe("lane-segmentation"),
        {"da_logits": (1, 2, 12, 16), "ll_logits": (1, 3, 12, 16)},
        {"da_logits", "ll_logits"},
    ),
    "generic": (load_recipe("generic"), {"any": (1, 3, 4), "other": (1, 2)}, set()),
}
each_family = pytest.mark.parametrize("family", FAMILIES)
options = st.builds(
    FocusOptions,
    kind=st.sampled_from(["hard", "soft", "floor"]),
    alpha=st.floats(0, 1),
    background=st.floats(0.01, 1),
    dilation=st.integers(0, 9),
)


@each_family
@given(options=options, seed=st.integers(0, 2**16), scale=st.sampled_from([0.1, 1.0, 30.0]))
@settings(max_examples=40)
def test_weights_have_the_shape_of_their_head_and_a_mean_of_one(
    family: str, options: FocusOptions, seed: int, scale: float
) -> None:
    recipe, shapes, confidences = FAMILIES[family]
    heads = random_heads(shapes, seed, scale)
    weights = focus_weights(recipe, heads, options)
    assert list(weights) == list(heads)
    for name, values in weights.items():
        assert values.shape == heads[name].shape
        assert values.dtype == np.float32
        assert values.min() >= 0
        assert values.mean(dtype=np.float64) == pytest.approx(1, abs=1e-5)
        if name in confidences:
            assert values.min() >= options.background * (1 - 1e-5)
        if options.kind == "floor":
            assert values.min() >= options.alpha * (1 - 1e-5)


@each_family
def test_nothing_is_focused_where_all_weight_is_spread_evenly(family: str) -> None:
    recipe, shapes, _ = FAMILIES[family]
    even = FocusOptions(kind="floor", alpha=1, background=1)
    for values in focus_weights(recipe, random_heads(shapes, 0, 3.0), even).values():
        np.testing.assert_allclose(values, 1, rtol=1e-6)


def without_lanes() -> dict[str, tuple[Recipe, Heads]]:
    """Heads that decode to an empty road, by family."""
    frames: dict[str, tuple[Recipe, Heads]] = {}
    for family, (recipe, shapes, _) in FAMILIES.items():
        heads = random_heads(shapes, 1, 1.0)
        for name, background in (("logits", 0), ("ll_logits", 0), ("da_logits", 0), ("scores", 0)):
            if name in heads:
                np.moveaxis(heads[name], 2 if name in ("logits", "scores") else 1, 0)[background] = 20
        if family == "background-column":
            heads["cls"][:, -1] = 20
        if family == "line-anchor":
            heads["proposals"][..., 0] = 20
        for name in ("vertical", "confidence"):
            if name in heads:
                heads[name] = np.abs(heads[name]) / 100
        frames[family] = (recipe, heads)
    return frames


@each_family
@pytest.mark.parametrize("kind", ["hard", "soft", "floor"])
def test_a_frame_without_lanes_weighs_everything_alike(family: str, kind: Any) -> None:
    recipe, heads = without_lanes()[family]
    for values in focus_weights(recipe, heads, FocusOptions(kind=kind)).values():
        assert (values == 1).all()


def test_only_the_curves_of_lane_queries_count() -> None:
    recipe, shapes, _ = FAMILIES["curve"]
    heads = random_heads(shapes, 0, 0.1)
    heads["logits"][0, :, 0] = 2
    heads["logits"][0, [1, 3], 1] = 9
    weights = focus_weights(recipe, heads, HARD)
    assert np.flatnonzero(weights["curves"][0].any(axis=1)).tolist() == [1, 3]
    np.testing.assert_allclose(weights["curves"][0, 1], 5 / 2)
    assert weights["logits"][0, 1, 0] > weights["logits"][0, 0, 0] > 0


def test_row_anchors_count_at_the_winning_column_of_rows_that_exist() -> None:
    recipe, shapes, _ = FAMILIES["row-anchor"]
    heads = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    heads["vertical"][0, 1, 2:4] = 0.9
    heads["cls"][0, :, :, 5] = 8
    heads["cls"][0, 1, 3, 0] = 7.9
    weights = focus_weights(recipe, heads, FocusOptions(kind="hard", dilation=1))
    rows = np.argwhere(weights["offset"][0] > 0)
    assert rows.tolist() == [[1, row, column] for row in (2, 3) for column in (4, 5, 6)]
    # A column that might win instead is looked at as well, unless the choice is hard.
    soft = focus_weights(recipe, heads, FocusOptions(kind="soft", dilation=0))
    assert soft["cls"][0, 1, 3, 0] > 5 * soft["cls"][0, 1, 3, 1]
    assert soft["offset"][0, 1, 3, 0] == 0


def test_the_background_column_counts_in_rows_with_a_lane() -> None:
    recipe, shapes, _ = FAMILIES["background-column"]
    heads = {"cls": np.zeros(shapes["cls"], np.float32)}
    heads["cls"][0, 9] = 9
    heads["cls"][0, 4, 2, 1] = 20
    read = foreground(recipe, heads, dilation=1)["cls"]
    assert np.argwhere(read[0]).tolist() == [[column, 2, 1] for column in (3, 4, 5, 9)]
    soft = focus_weights(recipe, heads, FocusOptions(kind="soft", dilation=1))["cls"][0]
    assert soft[9, 2, 1] == pytest.approx(soft[4, 2, 1])
    assert soft[9, 2, 0] < soft[9, 2, 1] / 10


def test_line_anchors_count_up_to_their_length_and_never_in_start_x() -> None:
    recipe, shapes, _ = FAMILIES["line-anchor"]
    heads = {"proposals": np.zeros(shapes["proposals"], np.float32)}
    heads["proposals"][0, 2, :5] = [0, 6, 10 / 71, 123, 20]
    read = foreground(recipe, heads)["proposals"][0]
    assert np.flatnonzero(read.any(axis=1)).tolist() == [2]
    assert np.flatnonzero(read[2]).tolist() == [0, 1, 2, 4, *range(5, 35)]
    assert np.flatnonzero(foreground(recipe, heads, dilation=3)["proposals"][0, 2])[-1] == 34 + 3
    two, shapes, _ = FAMILIES["line-anchor, two heads"]
    split = {"proposals": heads["proposals"][..., 2:], "scores": heads["proposals"][..., :2]}
    apart = foreground(two, split)
    np.testing.assert_array_equal(apart["proposals"][0], read[:, 2:])
    assert apart["scores"].sum() == 2
    background = focus_weights(recipe, heads, HARD)["proposals"][0, 0]
    assert (background[:2] > 0).all()
    assert (background[2:] == 0).all()


def test_offset_and_embedding_grow_about_the_key_points_and_confidence_does_not() -> None:
    recipe, shapes, _ = FAMILIES["keypoint"]
    heads = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    heads["confidence"][0, 0, 0, 3] = 0.9
    read = foreground(recipe, heads, dilation=1)
    assert np.argwhere(read["confidence"][0, 0]).tolist() == [[0, 3]]
    for name in ("offset", "instance"):
        assert np.argwhere(read[name][0, 0]).tolist() == [[row, column] for row in (0, 1) for column in (2, 3, 4)]
        assert (read[name] == read[name][:, :1]).all()


def test_px_about_an_outline_count_as_much_as_those_of_the_mask() -> None:
    recipe, shapes, _ = FAMILIES["segmentation"]
    heads = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    for logits in heads.values():
        logits[0, 0] = 9
        logits[0, 1, :, 5:8] = 18
    heads["ll_logits"][0, 1, :, 8] = 8.9
    weights = focus_weights(recipe, heads, FocusOptions(kind="soft", dilation=0))["ll_logits"][0, 0, 0]
    assert weights[8] == pytest.approx(weights[6], rel=0.01)
    assert weights[9] < weights[6] / 2
    read = foreground(recipe, heads, dilation=2)["da_logits"][0, 1, 0]
    assert np.flatnonzero(read).tolist() == list(range(3, 10))


def test_a_head_that_the_decoder_does_not_read_is_weighed_evenly() -> None:
    recipe, shapes, _ = FAMILIES["curve"]
    heads = random_heads({**shapes, "extra": (1, 4, 4)}, 3, 5.0)
    assert (focus_weights(recipe, heads, FocusOptions())["extra"] == 1).all()
    assert foreground(recipe, heads)["extra"].all()


def test_torch_tensors_give_what_arrays_give() -> None:
    torch = pytest.importorskip("torch")
    recipe, shapes, _ = FAMILIES["keypoint"]
    heads = random_heads(shapes, 5, 1.0)
    tensors = {name: torch.tensor(values, requires_grad=True) for name, values in heads.items()}
    expected = focus_weights(recipe, heads, FocusOptions())
    for name, values in focus_weights(recipe, tensors, FocusOptions()).items():
        np.testing.assert_array_equal(values, expected[name])


def test_a_head_that_is_missing_or_broken_is_an_error() -> None:
    recipe, shapes, _ = FAMILIES["curve"]
    heads = random_heads(shapes, 0, 1.0)
    with pytest.raises(UsageError, match="no output for the head 'logits'"):
        focus_weights(recipe, {"curves": heads["curves"]}, FocusOptions())
    heads["logits"][0, 0, 0] = np.nan
    with pytest.raises(ArtifactError, match="not finite"):
        focus_weights(recipe, heads, FocusOptions())


Decoded = Callable[[str, str, str], list[tuple[Recipe, Heads, Scene]]]


@pytest.fixture
def decoded(shared_lanes: Path) -> Decoded:
    """Run a public network over three frames: its recipe, its heads and what they decode to."""

    def run(model: str, name: str, frames: str) -> list[tuple[Recipe, Heads, Scene]]:
        recipe = load_recipe(name)
        graph = clean(read_model(shared_lanes / "models" / model / "model.onnx"), 17).model
        prepare, network = Preprocessor(recipe.preprocessing, tuple(input_of(graph)[1])), ReferenceRun(graph, 1)
        found = []
        for frame in Frames.open(shared_lanes / "frames" / frames).spread(3):
            outputs = network(prepare(frame.values))
            heads = {head: outputs[output] for head, output in heads_of(recipe, outputs).items()}
            scene = task_for(recipe).decode(heads, prepare.geometry(frame.values.shape[:2]))
            assert scene.lanes
            found.append((recipe, heads, scene))
        return found

    return run


def to_input(scene: Scene) -> NDArray[np.float32]:
    """Return the points of all lanes in px of the network's input."""
    points = np.concatenate([lane.points for lane in scene.lanes])
    return ((points - scene.geometry.offset) / scene.geometry.scale).astype(np.float32)


def test_lstr_is_focused_on_as_many_queries_as_it_has_lanes(decoded: Decoded) -> None:
    for recipe, heads, scene in decoded("lstr-culane", "lane-curve", "culane"):
        queries = focus_weights(recipe, heads, HARD)["curves"][0].any(axis=1)
        assert queries.sum() == len(scene.lanes)


def test_quantlanenet_is_focused_on_the_cells_of_its_lanes(decoded: Decoded) -> None:
    for recipe, heads, scene in decoded("quantlanenet-tusimple", "lane-row-anchor", "tusimple"):
        cells = np.argwhere(focus_weights(recipe, heads, HARD)["offset"][0])[:, 1:]
        points = to_input(scene)
        expected = np.stack([np.rint((points[:, 1] - 3.5) / 8), np.floor(points[:, 0] / 8 + 1e-4)], axis=1)
        # Slots with a single row are no lanes.
        assert len(cells) - 4 <= len(expected) <= len(cells)
        assert {tuple(cell) for cell in expected.astype(int)} <= {tuple(cell) for cell in cells}


def test_pinet_is_focused_on_the_cells_of_its_lanes(decoded: Decoded) -> None:
    for recipe, heads, scene in decoded("pinetq", "lane-keypoint", "us123"):
        points = to_input(scene)
        cells = np.clip(np.floor(points / 8), 0, 31).astype(int)
        weights = focus_weights(recipe, heads, FocusOptions(kind="hard", dilation=1))["offset"][0, 0]
        assert (weights[cells[:, 1], cells[:, 0]] > 0).all()
        exact = np.argwhere(focus_weights(recipe, heads, HARD)["instance"][0, 0])
        centers = exact[:, ::-1] * 8 + 4
        nearest = np.linalg.norm(centers[:, None] - points[None], axis=2).min(axis=1)
        # All but the points of clusters that are too small to be a lane lie within a cell of one.
        assert np.mean(nearest < 12) > 0.8


def test_twinlitenet_is_focused_on_its_lines_and_on_its_road(decoded: Decoded) -> None:
    for recipe, heads, scene in decoded("twinlitenet-bdd100k", "lane-segmentation", "us123"):
        weights = focus_weights(recipe, heads, FocusOptions())
        points = np.rint(to_input(scene)).astype(int)
        on_lines = weights["ll_logits"][0, 0][points[:, 1], points[:, 0]]
        assert np.median(on_lines) > 5
        assert np.median(weights["ll_logits"]) < 1
        road = scene.masks["drivable"]
        assert weights["da_logits"][0, 0][road].min() > 1 > weights["da_logits"][0, 0][:100].mean()
