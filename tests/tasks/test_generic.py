from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import ArtifactError
from edgekit.recipes import load_recipe
from edgekit.tasks import FrameGeometry, task_for

GEOMETRY = FrameGeometry((8, 8), (8, 8), (1.0, 1.0), (0.0, 0.0))
TASK = task_for(load_recipe("generic"))


@given(db=st.floats(-20, 80), seed=st.integers(0, 99))
def test_the_noise_that_was_added_is_the_noise_that_is_found(db: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    clean = random.normal(size=(1, 40))
    noise = random.normal(size=(1, 40))
    noise *= np.linalg.norm(clean) / np.linalg.norm(noise) * 10 ** (-db / 20)
    one = TASK.decode({"a": clean}, GEOMETRY)
    two = TASK.decode({"a": clean + noise}, GEOMETRY)
    assert TASK.compare(one, two).sqnr_db == pytest.approx(db, abs=1e-6)


def test_outputs_and_frames_add_up() -> None:
    one = TASK.decode({"a": np.array([[3.0, 4.0]]), "b": np.array([[1]])}, GEOMETRY)
    two = TASK.decode({"a": np.array([[3.0, 2.0]]), "b": np.array([[2]])}, GEOMETRY)
    agreement = TASK.compare(one, two) + TASK.compare(one, one)
    assert (agreement.frames, agreement.signal, agreement.noise) == (2, 52.0, 5.0)
    assert TASK.compare(one, one).sqnr_db == float("inf")


def test_half_precision_does_not_overflow() -> None:
    scene = TASK.decode({"a": np.full((1, 4), 60000, np.float16)}, GEOMETRY)
    assert TASK.compare(scene, scene).signal == 4 * 60000.0**2


@pytest.mark.parametrize("other", [{"b": np.zeros((1, 2))}, {"a": np.zeros((1, 3))}])
def test_other_outputs_cannot_be_compared(other: dict[str, np.ndarray]) -> None:
    one = TASK.decode({"a": np.zeros((1, 2))}, GEOMETRY)
    with pytest.raises(ArtifactError, match="cannot be compared"):
        TASK.compare(one, TASK.decode(other, GEOMETRY))
