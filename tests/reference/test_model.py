from __future__ import annotations

import math

import numpy as np
import onnx
import onnxruntime
import pytest

from edgekit.recipes import load_recipe
from edgekit.reference import model_path
from edgekit.reference.road import FRAME_SIZE, render
from edgekit.runtime.preprocessing import Preprocessor
from edgekit.tasks import task_for
from edgekit.tasks.base import Agreement
from edgekit.tasks.lanes.metrics import compare_lanes

HELD_OUT_SEED, HELD_OUT_FRAMES = 2_000, 60
LANE_WIDTH_PX = 12  # CULane's 30 px of a frame 1640 px wide, on one of 640


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return onnx.load(model_path())


def test_it_is_small(model: onnx.ModelProto) -> None:
    weights = sum(math.prod(tensor.dims) for tensor in model.graph.initializer)
    assert model_path().stat().st_size <= 1_600_000
    assert 50_000 < weights <= 400_000


def test_it_is_a_valid_static_model_with_the_outputs_of_its_family(model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    shapes = {
        value.name: tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim)
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {
        "image": (1, 3, 160, 320),
        "cls": (1, 4, 20, 40),
        "vertical": (1, 4, 20, 1),
        "offset": (1, 4, 20, 40),
    }
    assert [opset.domain for opset in model.opset_import] == [""]


def test_it_has_the_operators_that_quantization_rules_are_about(model: onnx.ModelProto) -> None:
    operators = {node.op_type for node in model.graph.node}
    assert {"Conv", "Relu", "Add", "Concat", "Resize", "MaxPool", "Sigmoid"} <= operators
    groups = [attribute.i for node in model.graph.node for attribute in node.attribute if attribute.name == "group"]
    assert max(groups) > 1


def test_its_weights_have_names_that_say_where_they_belong(model: onnx.ModelProto) -> None:
    names = [weight.name for weight in model.graph.initializer]
    assert len(set(names)) == len(names)
    assert not [name for name in names if name.startswith("onnx::")]


def test_it_finds_the_lanes_of_frames_that_it_never_saw() -> None:
    recipe = load_recipe("reference-lane")
    preprocessor, task = Preprocessor(recipe.preprocessing, (1, 3, 160, 320)), task_for(recipe)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model_path(), options, providers=["CPUExecutionProvider"])
    total = Agreement()
    for index in range(HELD_OUT_FRAMES):
        frame = render(HELD_OUT_SEED, index)
        outputs = session.run(["cls", "vertical", "offset"], {"image": preprocessor(frame.pixels)})
        heads = dict(zip(("cls", "vertical", "offset"), map(np.asarray, outputs), strict=True))
        scene = task.decode(heads, preprocessor.geometry(FRAME_SIZE))
        total += compare_lanes(frame.lanes, scene.lanes, FRAME_SIZE, width_px=LANE_WIDTH_PX)
    assert total.reference_lanes > 120
    assert total.f1 is not None
    assert total.f1 >= 0.93
