from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edgekit.recipes import Recipe, load_recipe
from edgekit.runtime.preprocessing import Preprocessor
from edgekit.tasks import Scene, task_for


@dataclass(frozen=True)
class RealModel:
    """A public network in ONNX Runtime, with the recipe of its family."""

    recipe: Recipe
    session: onnxruntime.InferenceSession

    @classmethod
    def load(cls, model: Path, recipe: str) -> RealModel:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(model / "model.onnx", options, providers=["CPUExecutionProvider"])
        return cls(load_recipe(recipe), session)

    def scene(self, pixels: np.ndarray) -> Scene:
        model_input = self.session.get_inputs()[0]
        prepare = Preprocessor(self.recipe.preprocessing, tuple(model_input.shape))
        outputs = self.session.run(None, {model_input.name: prepare(pixels)})
        names = [output.name for output in self.session.get_outputs()]
        heads = dict(zip(names, outputs, strict=True))
        return task_for(self.recipe).decode(heads, prepare.geometry(pixels.shape[:2]))


@pytest.fixture(scope="session")
def lstr(shared_lanes: Path) -> RealModel:
    return RealModel.load(shared_lanes / "models" / "lstr-culane", "lane-curve")


@pytest.fixture(scope="session")
def quantlanenet(shared_lanes: Path) -> RealModel:
    return RealModel.load(shared_lanes / "models" / "quantlanenet-tusimple", "lane-row-anchor")


@pytest.fixture(scope="session")
def pinet(shared_lanes: Path) -> RealModel:
    return RealModel.load(shared_lanes / "models" / "pinetq", "lane-keypoint")


@pytest.fixture(scope="session")
def twinlitenet(shared_lanes: Path) -> RealModel:
    return RealModel.load(shared_lanes / "models" / "twinlitenet-bdd100k", "lane-segmentation")
