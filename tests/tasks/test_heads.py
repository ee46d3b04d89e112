from __future__ import annotations

import numpy as np
import pytest

from edgekit.errors import ArtifactError, UsageError
from edgekit.recipes import CurveDecoder, KeypointDecoder, load_recipe
from edgekit.tasks.heads import decoder_of, head_with, heads_with, read_head


def test_a_head_is_found_by_its_role() -> None:
    recipe = load_recipe("lane-keypoint")
    assert head_with(recipe, "embedding") == "instance"
    assert heads_with(recipe, "mask") == []


def test_a_missing_role_names_what_the_recipe_has() -> None:
    with pytest.raises(UsageError) as raised:
        head_with(load_recipe("lane-curve"), "existence")
    text = str(raised.value)
    assert "role 'existence'" in text
    assert "logits (confidence), curves (geometry)" in text
    assert "'lane-curve'" in text


def test_a_role_given_twice_is_an_error_where_one_is_needed() -> None:
    with pytest.raises(UsageError, match="exactly one head with the role 'mask'"):
        head_with(load_recipe("lane-segmentation"), "mask")


def test_a_decoder_of_another_family_is_refused() -> None:
    recipe = load_recipe("lane-keypoint")
    assert decoder_of(recipe, KeypointDecoder).stride == 8
    with pytest.raises(UsageError, match="CurveDecoder"):
        decoder_of(recipe, CurveDecoder)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_an_output_comes_without_its_batch_axis_as_float32(dtype: type) -> None:
    values = read_head({"a": np.arange(6, dtype=dtype).reshape(1, 2, 3)}, "a", ("rows", 3))
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, [[0, 1, 2], [3, 4, 5]])


def test_a_missing_output_names_those_that_are_there() -> None:
    with pytest.raises(UsageError, match="outputs: b"):
        read_head({"b": np.zeros((1, 2))}, "a", (2,))


@pytest.mark.parametrize("shape", [(2, 2, 3), (1, 2, 4), (1, 2), (1, 2, 3, 1), (1, 0, 3)])
def test_another_shape_is_an_error_that_shows_both(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError) as raised:
        read_head({"a": np.zeros(shape)}, "a", ("rows", 3))
    assert f"{' x '.join(map(str, shape))}; expected 1 x rows x 3" in str(raised.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number_is_an_error(value: float) -> None:
    values = np.zeros((1, 2, 3), np.float32)
    values[0, 1, 1] = value
    with pytest.raises(ArtifactError, match="1 of 6 values are NaN or infinite"):
        read_head({"a": values}, "a", (2, 3))
