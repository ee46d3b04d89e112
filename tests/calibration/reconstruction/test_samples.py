from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgekit.calibration.reconstruction.samples import SampleFile


def sample(seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {"a": random.normal(size=(1, 3, 4)).astype(np.float32), "b": random.normal(size=(2,)).astype(np.float32)}


def test_samples_come_back_bit_for_bit_in_any_order(tmp_path: Path) -> None:
    file = SampleFile(tmp_path / "samples")
    for seed in range(4):
        file.append(sample(seed))
    assert len(file) == 4
    for seed in (3, 0, 2, 2):
        read = file.read(seed)
        assert list(read) == ["a", "b"]
        for name, values in sample(seed).items():
            assert torch.equal(read[name], torch.from_numpy(values))


def test_a_sample_of_another_shape_is_refused(tmp_path: Path) -> None:
    file = SampleFile(tmp_path / "samples")
    file.append(sample(0))
    with pytest.raises(ValueError, match="among samples of"):
        file.append({"a": np.zeros((1, 3, 5), np.float32), "b": np.zeros(2, np.float32)})


@pytest.mark.parametrize("index", [-1, 1])
def test_a_sample_that_is_not_there_is_an_error(tmp_path: Path, index: int) -> None:
    file = SampleFile(tmp_path / "samples")
    file.append(sample(0))
    with pytest.raises(IndexError, match=f"sample {index} of 1"):
        file.read(index)
