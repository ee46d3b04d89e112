from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit.backends import backend_for
from edgekit.bundle import GoldenVector
from edgekit.process import is_measurable
from edgekit.profiling.memory import Call, in_fresh_process
from edgekit.profiling.work import (
    DEVICE,
    ENGINE,
    FRAME,
    ONE_OPERATOR_MODEL,
    engine_work,
    frame_work,
    start_engine,
)
from edgekit.recipes import load_recipe
from edgekit.runtime.preprocessing import Preprocessor
from edgekit.runtime.session import Session, heads_of
from edgekit.tasks import task_for

ENGINES = ("onnxruntime", "openvino")


def session_on(engine: str, kind: type[Session] = Session) -> Session:
    """A session on a real engine: the network halves a 4 x 6 image."""
    pytest.importorskip(engine)
    helper = pytest.importorskip("onnx", reason="onnx comes with the extra 'calibrate'").helper
    shape = [1, 3, 4, 6]
    graph = helper.make_graph(
        [helper.make_node("Mul", ["image", "half"], ["out"])],
        "halve",
        [helper.make_tensor_value_info("image", 1, shape)],
        [helper.make_tensor_value_info("out", 1, shape)],
        [helper.make_tensor("half", 1, [], [0.5])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    recipe = load_recipe("generic")
    return kind(
        backend_for(engine).load({"model.onnx": model.SerializeToString()}, {}, 1),
        "image",
        Preprocessor(recipe.preprocessing, (1, 3, 4, 6)),
        heads_of(recipe, ["out"]),
        task_for(recipe),
    )


def vectors() -> list[GoldenVector]:
    return [GoldenVector(f"{value}.png", (8, 12), np.full((1, 3, 4, 6), value, np.float32), {}) for value in (1, 2)]


def test_the_one_operator_model_is_what_it_says() -> None:
    onnx = pytest.importorskip("onnx", reason="onnx comes with the extra 'calibrate'")
    model = onnx.load_model_from_string(ONE_OPERATOR_MODEL)
    onnx.checker.check_model(model)
    assert [node.op_type for node in model.graph.node] == ["Relu"]


@pytest.mark.parametrize("engine", ENGINES)
def test_every_part_of_a_run_is_timed(engine: str) -> None:
    with session_on(engine) as session:
        alone, whole = engine_work("fp", [session], vectors()), frame_work("fp", [session], vectors())
        assert (alone.parts, whole.parts) == (ENGINE, FRAME)
        for _ in range(3):
            (duration,) = alone.run()
            assert duration > 0
            preprocess, engine_time, postprocess, end_to_end = whole.run()
            assert min(preprocess, engine_time, postprocess) > 0
            assert preprocess + engine_time + postprocess == end_to_end


def test_golden_inputs_are_taken_in_turn() -> None:
    class Recorded(Session):
        def infer(self, values: NDArray[Any]) -> dict[str, NDArray[Any]]:
            seen.append(float(values[0, 0, 0, 0]))
            return super().infer(values)

    seen: list[float] = []
    with session_on("onnxruntime", Recorded) as session:
        alone, whole = engine_work("fp", [session], vectors()), frame_work("fp", [session], vectors())
        for work in (alone, alone, alone, whole, whole, whole):
            work.run()
    assert seen == [1, 2, 1, 1, 2, 1]


@pytest.mark.skipif(not is_measurable(), reason="this system does not tell a process its peak memory")
@pytest.mark.parametrize("engine", ENGINES)
def test_a_started_engine_takes_no_more_when_a_model_without_weights_is_loaded(engine: str) -> None:
    pytest.importorskip(engine)
    start = Call(f"{start_engine.__module__}:{start_engine.__name__}", {"backend": engine, "options": {}, "threads": 1})
    memory = in_fresh_process(start, prepare=start, runs=0)
    assert memory.baseline - memory.interpreter > 20 << 20
    assert memory.loaded - memory.baseline < 4 << 20


def test_an_engine_with_a_clock_of_its_own_is_timed_by_that_too() -> None:
    class OnGpu:
        device_ns, device_bytes = 0, 4096

        def run(self, inputs: Any) -> dict[str, NDArray[Any]]:
            self.device_ns += 1_000
            return {"out": inputs["image"]}

        def close(self) -> None:
            """Nothing is open."""

    recipe = load_recipe("generic")
    preprocessor = Preprocessor(recipe.preprocessing, (1, 3, 4, 6))
    session = Session(OnGpu(), "image", preprocessor, heads_of(recipe, ["out"]), task_for(recipe))
    engine, frame = (work("gpu", [session], vectors()) for work in (engine_work, frame_work))
    assert (engine.parts, frame.parts) == ((*ENGINE, DEVICE), (*FRAME, DEVICE))
    assert [work.run()[-1] for work in (engine, frame, engine)] == [1_000, 2_000, 3_000]
    assert engine_work("cpu", [session_on("onnxruntime")], vectors()).parts == ENGINE
