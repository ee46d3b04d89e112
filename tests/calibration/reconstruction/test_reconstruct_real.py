"""Real networks of every family: what is exported is what was simulated, and a few steps bring lanes back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edgekit.calibration.distortion import distortion_for
from edgekit.calibration.focus import FocusOptions, focus_weights
from edgekit.calibration.judging.probe import Probe
from edgekit.calibration.ranges.observe import observe
from edgekit.calibration.reconstruction.learning import Options
from edgekit.calibration.reconstruction.reconstruct import reconstruct
from edgekit.calibration.reconstruction.simulation import QuantizedModel, Simulation
from edgekit.calibration.reconstruction.units import Data
from edgekit.calibration.scales import choose_scales, parameters_of
from edgekit.frames import Frames
from edgekit.graph.clean import at_opset, clean
from edgekit.graph.placement import place
from edgekit.graph.read import read_model
from edgekit.graph.reference import ReferenceRun
from edgekit.recipes import Recipe, ScaleStep, load_recipe
from edgekit.runtime.preprocessing import Preprocessor
from edgekit.targets import Scheme, load_target


@pytest.fixture(autouse=True)
def one_thread() -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


FAMILIES = {
    "lstr-culane": ("lane-curve", "culane"),
    "quantlanenet-tusimple": ("lane-row-anchor", "tusimple"),
    "pinetq": ("lane-keypoint", "us123"),
    "twinlitenet-bdd100k": ("lane-segmentation", "us123"),
}


def real(shared_lanes: Path, name: str, tmp_path: Path, rules: Scheme, count: int) -> tuple[QuantizedModel, Data]:
    recipe_name, folder = FAMILIES[name]
    recipe: Recipe = load_recipe(recipe_name)
    files = sorted((shared_lanes / "frames" / folder).glob("*.jpg"))
    listed = tmp_path / "frames.txt"
    listed.write_text("\n".join(map(str, files[:: max(len(files) // count, 1)][:count])))
    frames = Frames.open(listed)
    model = at_opset(clean(read_model(shared_lanes / "models" / name / "model.onnx"), 17).model, rules.opset)
    preprocessor = Preprocessor(recipe.preprocessing, ReferenceRun(model).input_shape)
    placement = place(model, rules)
    inputs = (preprocessor(frame.values) for frame in frames)
    observations = observe(model, [one.tensor for one in placement.activations], inputs)
    scales = choose_scales(model, placement, rules, observations, ScaleStep(step="scale", activations="mse"))

    def focus(heads: object) -> dict[str, np.ndarray]:
        return focus_weights(recipe, heads, FocusOptions())  # type: ignore[arg-type]

    return (
        QuantizedModel(model, placement, rules, parameters_of(scales)),
        Data(frames, preprocessor, recipe, distortion_for(recipe), focus),
    )


BOARDS = ("intel-cpu-vnni", "jetson-orin")


@pytest.mark.slow
@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("name", FAMILIES)
def test_on_real_models_the_export_agrees_within_a_step(
    shared_lanes: Path, tmp_path: Path, name: str, board: str
) -> None:
    """What each node reads of the same input: a step apart on less than 1 in 10 000 values, further apart on none.

    A value that lies on the edge between two steps may fall to either side, by the last bit of a float32 sum, and what
    comes after amplifies that; so every node's input is compared where both networks still have the same one.
    """
    start, data = real(shared_lanes, name, tmp_path, load_target(board).scheme, 1)
    simulation = Simulation(start)
    graph = start.qdq()
    tensors = [one.tensor for one in start.placement.activations]
    values = data.preprocessor(next(iter(data.frames)).values)
    exported = plain_run(graph, [f"{tensor}_dequantized" for tensor in tensors], values)
    made = {tensor: exported[f"{tensor}_dequantized"] for tensor in tensors}
    readers = {reader: one.tensor for one in start.placement.activations for reader in one.readers}
    quantizers = simulation.quantizers()
    # Each quantized reader is given what the exported network reads there, and its own quantizer's work is compared.
    differences: dict[str, np.ndarray] = {}

    def compare(tensor: str, quantize: object) -> object:
        def run(found: torch.Tensor) -> torch.Tensor:
            scale = start.parameters[tensor].scale
            ours = quantize(found).numpy()  # type: ignore[operator]
            differences[tensor] = np.rint(np.abs(ours - made[tensor]) / scale)
            return torch.from_numpy(made[tensor])

        return run

    forced = {tensor: compare(tensor, quantizers[reader]) for reader, tensor in readers.items()}
    simulation(
        torch.from_numpy(values),
        quantizers={reader: forced.get(readers.get(reader, ""), one) for reader, one in quantizers.items()},
    )
    steps = np.concatenate([one.ravel() for one in differences.values()])
    assert steps.max() <= 1
    assert np.mean(steps > 0) < 1e-4


def plain_run(model: onnx.ModelProto, tensors: list[str], values: np.ndarray) -> dict[str, np.ndarray]:
    """Run a Q/DQ model as it is written: ONNX Runtime's optimizations would round biases to int32 as well."""
    import onnxruntime

    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    tapped.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(tapped.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    results = session.run(None, {session.get_inputs()[0].name: values})
    return dict(zip(names, results, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "bits", "steps", "count"),
    [
        ("lstr-culane", 5, 45, 8),
        ("quantlanenet-tusimple", 4, 24, 6),
        ("pinetq", 4, 24, 8),
        ("twinlitenet-bdd100k", 4, 6, 4),
    ],
)
def test_each_family_comes_closer_in_a_few_steps(
    shared_lanes: Path, tmp_path: Path, name: str, bits: int, steps: int, count: int
) -> None:
    """Weights of few bits, so that seconds show: on the frames that chose the state, and on others that did not."""
    rules = load_target("intel-cpu-vnni").scheme
    rules = rules.model_copy(update={"weights": rules.weights.model_copy(update={"bits": bits})})
    start, data = real(shared_lanes, name, tmp_path, rules, count)
    options = Options(steps=steps, check_every=steps // 3, accumulate=1, sensitivity_frames=2)
    found = reconstruct(start, data, options)
    assert found.held_out
    assert found.after < 0.95 * found.before
    frames = unseen(shared_lanes, name, tmp_path, 4)
    others = Probe(ReferenceRun(start.model), frames, data.preprocessor, data.recipe, data.distortion)
    before, after = (others.read(ReferenceRun(one.qdq())).mean for one in (start, found.result))
    assert after < before


def unseen(shared_lanes: Path, name: str, tmp_path: Path, count: int) -> Frames:
    """Frames that `real` leaves out."""
    used = set((tmp_path / "frames.txt").read_text().splitlines())
    files = [str(file) for file in sorted((shared_lanes / "frames" / FAMILIES[name][1]).glob("*.jpg"))]
    (tmp_path / "unseen.txt").write_text("\n".join(file for file in files if file not in used))
    return Frames.open(tmp_path / "unseen.txt").spread(count)
