from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgekit.recipes import Recipe, load_recipe
from edgekit.tasks import FrameGeometry, task_for
from edgekit.tasks.lanes.keypoint import _clusters

RECIPE = load_recipe("lane-keypoint")
GEOMETRY = FrameGeometry((720, 1280), (256, 256), (5.0, 432 / 256), (0.0, 288.0))
SIZE = 32


def heads() -> dict[str, np.ndarray]:
    return {
        "confidence": np.zeros((1, 1, SIZE, SIZE), np.float32),
        "offset": np.zeros((1, 2, SIZE, SIZE), np.float32),
        "instance": np.zeros((1, 4, SIZE, SIZE), np.float32),
    }


def put(outputs: dict[str, np.ndarray], rows: range, column: int, feature: float, confidence: float = 0.9) -> None:
    for row in rows:
        outputs["confidence"][0, 0, row, column] = confidence
        outputs["offset"][0, :, row, column] = (0.25, 0.5)
        outputs["instance"][0, :, row, column] = feature


def with_decoder(recipe: Recipe, **changes: object) -> Recipe:
    return recipe.model_copy(update={"decoder": recipe.decoder.model_copy(update=changes)})


def test_cells_with_alike_features_become_lanes_in_the_frame() -> None:
    outputs = heads()
    put(outputs, range(10, 30), 20, feature=3.0)
    put(outputs, range(5, 25), 4, feature=0.0, confidence=1.0)
    left, right = task_for(RECIPE).decode(outputs, GEOMETRY).lanes
    assert left.points.dtype == np.float32
    np.testing.assert_allclose(left.points[:, 0], (4 + 0.25) * 8 * 5)
    np.testing.assert_allclose(left.points[:, 1], (np.arange(5, 25) + 0.5) * 8 * 432 / 256 + 288)
    np.testing.assert_allclose(right.points[:, 0], (20 + 0.25) * 8 * 5)
    assert (left.score, round(right.score, 5)) == (1.0, 0.9)


def test_the_confidence_must_be_above_the_threshold() -> None:
    outputs = heads()
    put(outputs, range(10, 30), 20, feature=0.0, confidence=np.float32(0.75))
    assert len(task_for(with_decoder(RECIPE, threshold=0.75)).decode(outputs, GEOMETRY).lanes) == 0
    assert len(task_for(with_decoder(RECIPE, threshold=0.7499)).decode(outputs, GEOMETRY).lanes) == 1


def test_a_cluster_of_too_few_points_is_no_lane() -> None:
    outputs = heads()
    put(outputs, range(10, 15), 20, feature=0.0)
    assert task_for(RECIPE).decode(outputs, GEOMETRY).lanes == ()
    assert len(task_for(with_decoder(RECIPE, min_points=5)).decode(outputs, GEOMETRY).lanes) == 1


def test_points_beyond_the_last_cluster_are_dropped() -> None:
    outputs = heads()
    for lane in range(4):
        put(outputs, range(10, 30), 4 + 6 * lane, feature=2.0 * lane)
    scene = task_for(with_decoder(RECIPE, max_lanes=3)).decode(outputs, GEOMETRY)
    assert [len(lane.points) for lane in scene.lanes] == [20, 20, 20]


def plain_clusters(features: np.ndarray, max_distance: float, max_clusters: int) -> list[list[int]]:
    """The rule as it is written down, with every mean taken anew."""
    members: list[list[int]] = []
    for index, feature in enumerate(features):
        norms = [np.linalg.norm((feature - features[cluster].mean(axis=0)) ** 2) for cluster in members]
        if norms and min(norms) <= max_distance:
            members[int(np.argmin(norms))].append(index)
        elif len(members) < max_clusters:
            members.append([index])
    return members


@given(seed=st.integers(0, 10_000), count=st.integers(0, 60), most=st.integers(1, 12))
def test_clusters_follow_the_running_mean(seed: int, count: int, most: int) -> None:
    features = np.random.default_rng(seed).normal(0, 0.4, (count, 4))
    assert _clusters(features, 0.08, most) == plain_clusters(features, 0.08, most)
