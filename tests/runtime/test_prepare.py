from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgekit.errors import DataError, UsageError
from edgekit.recipes import Preprocessing, load_recipe
from edgekit.runtime.prepare import RowPreprocessor, preprocessor_for
from edgekit.runtime.preprocessing import Preprocessor

FEATURES = load_recipe("ranker").preprocessing


def test_the_recipe_says_which() -> None:
    assert isinstance(preprocessor_for(FEATURES, (4, 3)), RowPreprocessor)
    assert isinstance(preprocessor_for(Preprocessing(), (1, 3, 8, 8)), Preprocessor)


def test_rows_are_the_input_as_they_are() -> None:
    prepare = preprocessor_for(FEATURES, (4, 3))
    rows = np.arange(12, dtype=np.float64).reshape(4, 3)
    assert prepare(rows).dtype == np.float32
    assert prepare(rows).tolist() == rows.tolist()
    assert prepare(np.asfortranarray(rows)).flags.c_contiguous
    assert prepare(prepare.example((4, 3))).shape == prepare.input_shape
    assert prepare.geometry((4, 3)).input_size == (4, 3)


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (np.zeros((3, 3), np.float32), "float32 3 x 3"),
        (np.zeros((4, 2), np.float32), "float32 4 x 2"),
        (np.zeros((4, 3), np.uint8), "uint8 4 x 3"),
        (np.zeros((8, 8, 3), np.uint8), "uint8 8 x 8 x 3"),
    ],
)
def test_other_values_are_refused(rows: Any, found: str) -> None:
    with pytest.raises(DataError, match=found):
        preprocessor_for(FEATURES, (4, 3))(rows)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_refused_with_its_place(value: float) -> None:
    rows = np.zeros((4, 3), np.float32)
    rows[2, 1] = value
    with pytest.raises(DataError, match="in row 2, column 1"):
        preprocessor_for(FEATURES, (4, 3))(rows)


def test_a_model_of_images_takes_no_rows() -> None:
    with pytest.raises(UsageError, match=r"input 1 x 3 x 8 x 8; a ranker's is candidates x width"):
        preprocessor_for(FEATURES, (1, 3, 8, 8))


def test_features_are_not_prepared_like_images() -> None:
    with pytest.raises(ValueError, match="remove color, divide_by"):
        Preprocessing(kind="features", color="bgr", divide_by=1.0)
    assert Preprocessing.model_validate(FEATURES.model_dump()) == FEATURES
