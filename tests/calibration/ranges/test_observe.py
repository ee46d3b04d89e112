from __future__ import annotations

import itertools
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from edgekit.calibration.ranges.observe import load_observations, observe, save_observations
from edgekit.errors import ArtifactError, DataError, ModelError
from edgekit.graph.reference import ReferenceRun
from tests.graph.models import residual_net

TENSORS = ["image", "stem_relu", "block", "head"]


def inputs(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(1).normal(size=(count, 1, 3, 16, 16)).astype(np.float32))


def test_histograms_hold_every_value_of_every_input() -> None:
    batches = inputs(5)
    observations = observe(residual_net(), TENSORS, batches)
    run = ReferenceRun(residual_net())
    heads = np.stack([run(values)["head"] for values in batches])
    assert observations["head"].counts.sum() == heads.size
    assert observations["head"].high == pytest.approx(heads.max(), rel=1e-6)
    assert observations["image"].low == np.min(batches)
    assert observations["stem_relu"].low == 0
    assert observations["block"].batches == 5


def test_no_input_is_an_error() -> None:
    with pytest.raises(DataError, match="no frame"):
        observe(residual_net(), TENSORS, [])


def test_an_activation_that_overflows_is_named_with_the_frame() -> None:
    broken = inputs(2)
    broken[1][0, 0, 0, 0] = np.inf
    with pytest.raises(ModelError, match=r"'image' is not finite(.|\n)*on frame 2"), np.errstate(invalid="ignore"):
        observe(residual_net(), TENSORS, broken)


def test_saved_observations_are_the_same_and_byte_identical(tmp_path: Path) -> None:
    observations = observe(residual_net(), TENSORS, inputs(3))
    for name in ("a.npz", "b.npz"):
        save_observations(observations, tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    for name, histogram in load_observations(tmp_path / "a.npz").items():
        assert np.array_equal(histogram.counts, observations[name].counts)
        assert (histogram.low, histogram.high) == (observations[name].low, observations[name].high)
        assert histogram.exponent == observations[name].exponent


def test_damaged_observations_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "o.npz"
    save_observations(observe(residual_net(), TENSORS, inputs(1)), path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ArtifactError, match="Calibrate again"):
        load_observations(path)


def test_memory_does_not_grow_with_the_number_of_frames(root: Path) -> None:
    """30 against 200 frames, each in a process of its own. Keeping the 170 inputs alone would add 104 MB, not 10 %."""
    peaks = [_peak_rss_mb(root, count) for count in (30, 200)]
    assert peaks[1] < 1.1 * peaks[0]


def _peak_rss_mb(root: Path, frames: int) -> float:
    code = f"""
        import resource
        import numpy as np
        from edgekit.calibration.ranges.observe import observe
        from edgekit.calibration.pipeline import observable
        from edgekit.graph.clean import clean
        from edgekit.graph.read import read_model
        from edgekit.reference import model_path
        from edgekit.reference.road import RoadFrames
        from edgekit.recipes import load_recipe
        from edgekit.runtime.preprocessing import Preprocessor
        from edgekit.targets import load_target

        model = clean(read_model(model_path()), 17).model
        recipe = load_recipe("reference-lane")
        prepare = Preprocessor(recipe.preprocessing, (1, 3, 160, 320))
        names = observable(model, load_target("jetson-orin"))
        few = [frame.values for frame in RoadFrames(0, 5)]
        inputs = (prepare(few[index % 5]) for index in range({frames}))
        observe(model, names, inputs)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=root, capture_output=True, text=True, check=True
    )
    return float(result.stdout)


def test_inputs_are_taken_one_at_a_time() -> None:
    alive = 0
    most = 0

    def produce() -> object:
        nonlocal alive, most
        for _ in itertools.repeat(None, 20):
            alive += 1
            most = max(most, alive)
            yield inputs(1)[0]
            alive -= 1

    observe(residual_net(), ["image"], produce())  # type: ignore[arg-type]
    assert most == 1
