from __future__ import annotations

import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgekit
from edgekit.api import profile as api
from edgekit.api.profile import profile
from edgekit.backends import backend_for
from edgekit.bundle import Bundle, array_bytes, arrays_bytes, open_bundle, write_bundle
from edgekit.errors import ArtifactError, DeadlineWarning, TargetError, UsageError
from edgekit.manifest import (
    Agreements,
    EngineRecord,
    Golden,
    GoldenRecord,
    Input,
    Manifest,
    Provenance,
    SceneLimits,
    Tensor,
)
from edgekit.placements import PlacementTable
from edgekit.process import is_measurable
from edgekit.profiling.document import Document
from edgekit.profiling.result import Profile
from edgekit.profiling.samples import read_samples
from edgekit.recipes import load_recipe
from edgekit.report.table import profile_text
from edgekit.targets import Target, load_target

onnx = pytest.importorskip("onnx", reason="onnx comes with the extra 'calibrate'")

SIZE = (1, 3, 64, 96)
FRAME_SIZE = (120, 200)
CHANNELS = 16
SECONDS = 0.2


def convolutions(activations: str = "") -> bytes:
    """Two 3x3 convolutions; in Q/DQ with 8-bit weights where a dtype of the activations is given."""
    helper, tensors, nodes = onnx.helper, [], []

    def constant(name: str, value: Any) -> str:
        tensors.append(onnx.numpy_helper.from_array(np.asarray(value), name))
        return name

    random, last = np.random.default_rng(0), "image"
    for index, inputs in enumerate((3, CHANNELS)):
        weight = random.normal(scale=0.1, size=(CHANNELS, inputs, 3, 3)).astype(np.float32)
        scale, zero = (
            constant(f"scale{index}", np.float32(0.05)),
            constant(f"zero{index}", np.array(128 if activations == "uint8" else 0, activations or "int8")),
        )
        if activations:
            nodes.append(helper.make_node("QuantizeLinear", [last, scale, zero], [f"q{index}"]))
            nodes.append(helper.make_node("DequantizeLinear", [f"q{index}", scale, zero], [f"x{index}"]))
            last = f"x{index}"
            stored = constant(f"w{index}", np.clip(np.round(weight / 0.004), -127, 127).astype(np.int8))
            steps = [constant(f"ws{index}", np.float32(0.004)), constant(f"wz{index}", np.int8(0))]
            nodes.append(helper.make_node("DequantizeLinear", [stored, *steps], [f"v{index}"]))
            weights = f"v{index}"
        else:
            weights = constant(f"w{index}", weight)
        output = "out" if index else "hidden"
        nodes.append(helper.make_node("Conv", [last, weights], [output], name=f"conv{index}", pads=[1, 1, 1, 1]))
        last = output
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "convolutions",
        [helper.make_tensor_value_info("image", 1, SIZE)],
        [helper.make_tensor_value_info("out", 1, (1, CHANNELS, *SIZE[2:]))],
        [tensor for tensor in tensors if tensor.name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


def bundle_for(target: Target, path: Path, vectors: int = 2) -> Bundle:
    model, reference = convolutions(target.scheme.activations.dtype), convolutions()
    backend = backend_for(target.backend)
    built = backend.build(model, target).members
    runner = backend_for("onnxruntime").load({"model.onnx": model}, {}, 1)
    records, members = [], {f"engine/{name}": data for name, data in built.items()}
    for index in range(vectors):
        values = np.random.default_rng(index).random(SIZE, np.float32)
        names = (f"golden/{index}.input.npy", f"golden/{index}.outputs.npz")
        members |= {names[0]: array_bytes(values), names[1]: arrays_bytes([runner.run({"image": values})["out"]])}
        records.append(GoldenRecord(frame=f"{index}.png", frame_size=FRAME_SIZE, input=names[0], outputs=names[1]))
    manifest = Manifest(
        edgekit=edgekit.__version__,
        target=target,
        recipe=load_recipe("generic"),
        input=Input(name="image", shape=SIZE, dtype="float32", observed=(0.0, 1.0)),
        outputs=(Tensor(name="out", shape=(1, CHANNELS, *SIZE[2:]), dtype="float32"),),
        engine=EngineRecord(
            backend=target.backend,
            version=backend.available().version,
            built=target.builds,
            options=target.options,
            members=tuple(sorted(built)),
        ),
        golden=Golden(
            engine="onnxruntime",
            tolerance={"out": 1.0},
            rule="made by hand",
            limits=SceneLimits(max_lateral_px=1.0, min_f1=0.9, min_iou=0.9),
            vectors=tuple(records),
        ),
        agreement=Agreements(engine_to_reference=None, engine_to_onnxruntime=None, onnxruntime_to_reference={}),
        placement=PlacementTable(origin="estimated", macs_share=1.0, rows=()),
        provenance=Provenance(model_sha256="", scales_sha256="", calibration={}),
    )
    return write_bundle(path, manifest, members | {"reference/model.onnx": reference, "scales.json": b"{}"})


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bundle]:
    folder = tmp_path_factory.mktemp("bundles")

    def made(target: str) -> Bundle:
        path = folder / f"{target}.edge"
        return open_bundle(path) if path.exists() else bundle_for(load_target(target), path)

    return made


@pytest.fixture(scope="module", params=["arm-cortex-a76", "intel-cpu-vnni"], ids=["onnxruntime", "openvino"])
def measured(
    request: pytest.FixtureRequest, bundles: Callable[[str], Bundle]
) -> tuple[Profile, list[tuple[str, int, int]]]:
    pytest.importorskip(load_target(request.param).backend)
    told: list[tuple[str, int, int]] = []

    def progress(stage: str, done: int, total: int) -> None:
        told.append((stage, done, total))

    return profile(bundles(request.param), seconds=SECONDS, progress=progress), told


def test_both_models_are_measured_in_every_part(measured: tuple[Profile, Any]) -> None:
    result, _ = measured
    assert [row.model for row in result.rows] == ["fp", "int8"]
    for row in result.rows:
        assert set(row.latency) == {"engine", "preprocess", "postprocess", "end_to_end"}
        for latency in row.latency.values():
            assert latency.samples == result.method.rounds * result.method.calls_per_block
            assert 0 < (latency.percentiles["p50"] or 0) <= latency.max
        parts = [row.latency[part].mean for part in ("preprocess", "postprocess")]
        assert sum(parts) < row.latency["end_to_end"].mean
    assert set(result.speedup) == {"engine", "end_to_end"}


def test_the_speedup_is_that_of_the_medians(measured: tuple[Profile, Any]) -> None:
    result, _ = measured
    medians = [row.latency["engine"].percentiles["p50"] for row in result.rows]
    ratio = result.speedup["engine"]
    assert ratio is not None
    assert ratio.value == pytest.approx((medians[0] or 0) / (medians[1] or 1))


@pytest.mark.skipif(not is_measurable(), reason="this system does not tell a process its peak memory")
def test_memory_is_that_of_a_process_of_its_own_for_each_model(measured: tuple[Profile, Any]) -> None:
    result, _ = measured
    for row in result.rows:
        assert row.memory is not None
        assert row.memory.interpreter < row.memory.baseline <= row.memory.peak
        assert row.memory.runs > 1


def test_weights_are_counted(measured: tuple[Profile, Any]) -> None:
    result, _ = measured
    elements = CHANNELS * 3 * 9 + CHANNELS * CHANNELS * 9
    assert result.row("fp").weight_bytes == 4 * elements
    assert elements <= result.row("int8").weight_bytes < elements + 50


def test_the_figures_are_of_this_machine_and_say_so(measured: tuple[Profile, Any]) -> None:
    result, _ = measured
    found = result.to_json()
    assert found["schema_version"] == 2
    assert found["origin"] == "measured"
    assert found["machine"]["arch"] == platform.machine()
    assert (
        found["machine"]["versions"][found["config"]["engine"]]
        == backend_for(result.subject.engine).available().version
    )
    if result.subject.target == "arm-cortex-a76" and platform.machine() == "x86_64":
        assert not found["target"]["is_this_machine"]
        assert "not of the target arm-cortex-a76" in " ".join(profile_text(found).split())


def test_both_models_run_with_the_same_options_and_threads(measured: tuple[Profile, Any]) -> None:
    result, _ = measured
    config = result.to_json()["config"]
    assert config["threads"] == 1
    assert (config["inputs"], config["frame_size"]) == (2, list(FRAME_SIZE))
    if config["engine"] == "openvino":
        assert config["options"]["precision"] == "f32"


def test_json_holds_all_and_makes_the_table(measured: tuple[Profile, Any]) -> None:
    result, _ = measured
    again = json.loads(json.dumps(result.to_json(), allow_nan=False))
    Document.model_validate(again)
    assert profile_text(again) == profile_text(result.to_json())
    percentile = again["rows"][0]["latency"]["engine"]["percentiles"]["p99.9"]
    assert percentile["absent"] == "too few samples"
    assert percentile["needed"] == 6636
    assert again["config"]["warm_up"]["fp engine"]["calls"] > 0


def test_progress_is_told_to_the_end(measured: tuple[Profile, Any]) -> None:
    _, told = measured
    ends = {stage: (done, total) for stage, done, total in told}
    assert list(ends) == ["warm up", "measure", "layers", *(["memory"] if is_measurable() else [])]
    assert all(done == total for done, total in ends.values())


def test_an_engine_that_is_built_on_the_board_is_not_profiled_here(bundles: Callable[[str], Bundle]) -> None:
    with pytest.raises(TargetError, match="built on the device") as refused:
        profile(bundles("jetson-orin"), seconds=SECONDS)
    assert refused.value.exit_code == 4
    assert "trtexec" in refused.value.fix


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_time_that_is_no_time_is_refused_before_anything_is_loaded(seconds: float) -> None:
    with pytest.raises(UsageError, match="no time"):
        profile("not-there.edge", seconds=seconds)


def test_less_than_no_threads_are_refused(bundles: Callable[[str], Bundle]) -> None:
    with pytest.raises(UsageError, match="threads"):
        profile(bundles("arm-cortex-a76"), threads=-1)


def test_a_bundle_that_is_not_there_is_an_artifact_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no bundle .*lane\.edge"):
        profile(tmp_path / "lane.edge")


def test_a_bundle_without_golden_inputs_is_refused(tmp_path: Path) -> None:
    bundle = bundle_for(load_target("arm-cortex-a76"), tmp_path / "empty.edge", vectors=0)
    with pytest.raises(ArtifactError, match="no golden inputs"):
        profile(bundle, seconds=SECONDS)


@pytest.fixture(scope="module")
def paced(bundles: Callable[[str], Bundle]) -> Profile:
    bundle = bundles("arm-cortex-a76")
    with pytest.warns(DeadlineWarning, match=r"shorter than the way of one frame .* measured all the same"):
        return profile(bundle, seconds=1.0, fps=100, burst=2, deadline_ms=0.001)


def test_under_a_camera_every_part_is_there_and_waiting_too(paced: Profile) -> None:
    parts = ("wait", "preprocess", "engine", "postprocess")
    for row in paced.rows:
        assert set(row.latency) == {*parts, "end_to_end"}
        total = sum(row.samples["frame"].parts[part] for part in parts)
        np.testing.assert_array_equal(total, row.samples["frame"].parts["end_to_end"])
        np.testing.assert_array_equal(
            read_samples(paced.to_json(), row.model, "wait"), row.samples["frame"].parts["wait"]
        )
    config = paced.to_json()["config"]
    assert (config["schedule"]["fps"], config["schedule"]["burst"], config["calls_per_block"] % 2) == (100, 2, 0)
    Document.model_validate(json.loads(json.dumps(paced.to_json())))


def test_a_deadline_shorter_than_a_frame_is_missed_by_all(paced: Profile) -> None:
    for row in paced.rows:
        assert row.misses is not None
        assert row.misses.missed == row.misses.frames == row.latency["end_to_end"].samples
        assert row.misses.longest == paced.method.calls_per_block
    assert "100.00%" in profile_text(paced.to_json())


def test_streams_run_at_once(bundles: Callable[[str], Bundle]) -> None:
    # Long enough for blocks of several runs on a busy machine.
    result = profile(bundles("arm-cortex-a76"), seconds=1.0, streams=2)
    assert result.method.pace.streams == 2
    for row in result.rows:
        streams = row.samples["frame"].started.reshape(result.method.rounds, 2, -1)
        overlap = streams[:, :, 0].max(axis=1) < streams[:, :, -1].min(axis=1)
        assert overlap.any()


class Stop(KeyboardInterrupt):
    """What Ctrl-C raises, told apart from a real one."""


@pytest.mark.parametrize(
    ("stop", "raised"), [(Stop("now"), Stop), (RuntimeError("device lost"), TargetError)], ids=["Ctrl-C", "crash"]
)
def test_what_was_measured_until_it_stopped_is_kept(
    bundles: Callable[[str], Bundle], monkeypatch: pytest.MonkeyPatch, stop: BaseException, raised: type[BaseException]
) -> None:
    load, rounds = api.load, 0

    def loaded(*arguments: Any, **options: Any) -> Any:
        session = load(*arguments, **options)
        infer = session.infer

        def failing(values: Any) -> Any:
            if rounds == 3:
                raise stop
            return infer(values)

        session.infer = failing
        return session

    def count(step: str, done: int, total: int) -> None:
        nonlocal rounds
        rounds += step == "measure"

    monkeypatch.setattr(api, "load", loaded)
    kept: list[Profile] = []
    with pytest.raises(raised) as ended:
        profile(bundles("arm-cortex-a76"), seconds=1000, keep=kept.append, progress=count)
    (partial,) = kept
    assert partial.partial
    assert partial.row("int8").latency["engine"].samples == 3 * partial.method.calls_per_block
    Document.model_validate(json.loads(json.dumps(partial.to_json())))
    if isinstance(stop, RuntimeError):
        assert "RuntimeError: device lost" in str(ended.value)
        assert f"after {partial.row('int8').latency['engine'].samples} recorded runs" in str(ended.value)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"rigor": "sloppy"}, "no rigor 'sloppy'"),
        ({"rigor": "automotive"}, "constant rate"),
        ({"deadline_ms": 0.0}, "The deadline is no time"),
        ({"queue": "drop"}, "only where a camera"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_at_once(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        profile("not-there.edge", **options)
