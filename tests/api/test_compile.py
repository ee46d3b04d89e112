from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgekit
from edgekit.api.compile import compile
from edgekit.backends import backend_for
from edgekit.bundle import REFERENCE, SCALES, Bundle, open_bundle
from edgekit.calibration.artifact import Calibration
from edgekit.errors import ArtifactError, HostMismatchWarning, ModelError, OutputError, TargetError, UsageError
from edgekit.reference.road import RoadFrames
from edgekit.targets import cpu_flags, load_target

ALL_TARGETS = ["host", "intel-cpu-avx2", "arm-cortex-a76", "jetson-orin", "qualcomm-htp-v75", "intel-npu"]


@pytest.fixture(scope="module")
def bundle(small_calibration: Calibration, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return compile(small_calibration, out=tmp_path_factory.mktemp("bundle") / "small.edge", tune=False)


def quantized(model: bytes) -> set[str]:
    return {node.op_type for node in onnx.load_model_from_string(model).graph.node} & {"QuantizeLinear"}


class TestBundle:
    def test_is_what_opens_from_its_file(self, bundle: Bundle) -> None:
        assert open_bundle(bundle.path) == bundle

    def test_holds_the_calibrations_files(self, bundle: Bundle, small_calibration: Calibration) -> None:
        assert bundle.engine_members()["model.onnx"] == small_calibration.qdq_model.read_bytes()
        assert bundle.read(REFERENCE) == small_calibration.fp_model.read_bytes()
        assert bundle.read(SCALES) == (small_calibration.folder / SCALES).read_bytes()

    def test_says_what_goes_in_and_out(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        assert (manifest.input.name, manifest.input.shape, manifest.input.dtype) == ("image", (1, 3, 24, 32), "float32")
        assert 0.0 <= manifest.input.observed[0] < 0.1 and 0.9 < manifest.input.observed[1] <= 1.0
        assert {output.name: output.shape for output in manifest.outputs} == {
            "scores": (1, 2, 24, 32),
            "features": (1, 8, 24, 32),
        }

    def test_says_what_it_was_made_for_and_from(self, bundle: Bundle, small_calibration: Calibration) -> None:
        manifest = bundle.manifest
        assert manifest.edgekit == edgekit.__version__
        assert manifest.target == small_calibration.target
        assert manifest.recipe == small_calibration.recipe
        assert manifest.engine.built == "here"
        assert manifest.engine.version == backend_for(manifest.engine.backend).available().version
        assert manifest.engine.options == small_calibration.target.options
        assert manifest.provenance.model_sha256 == small_calibration.scales.provenance.model_sha256
        assert manifest.provenance.scales_sha256 == hashlib.sha256(bundle.read(SCALES)).hexdigest()
        assert manifest.provenance.calibration["seed"] == 0

    def test_same_calibration_gives_the_same_bytes(
        self, bundle: Bundle, small_calibration: Calibration, tmp_path: Path
    ) -> None:
        again = compile(small_calibration.folder, out=tmp_path / "again.edge", tune=False)
        assert again.path.read_bytes() == bundle.path.read_bytes()

    def test_golden_outputs_are_the_engines_own(self, bundle: Bundle, small_calibration: Calibration) -> None:
        vectors = list(bundle.golden())
        assert [vector.frame for vector in vectors] == [one.frame for one in small_calibration.golden()]
        assert vectors[0].frame_size == (48, 64)
        engine = backend_for(bundle.manifest.engine.backend).load(
            bundle.engine_members(), bundle.manifest.engine.options, 1
        )
        for vector in vectors:
            for name, values in engine.run({"image": vector.input}).items():
                np.testing.assert_array_equal(values, vector.outputs[name])
        assert bundle.manifest.golden.engine.startswith(bundle.manifest.engine.backend)

    def test_tolerance_is_a_share_of_each_outputs_range(self, bundle: Bundle) -> None:
        outputs = [vector.outputs for vector in bundle.golden()]
        for name, tolerance in bundle.manifest.golden.tolerance.items():
            assert tolerance == pytest.approx(0.02 * np.ptp([one[name] for one in outputs]))

    def test_says_how_much_of_the_work_runs_in_8_bit(self, bundle: Bundle) -> None:
        engine = bundle.manifest.engine
        shares = {one.precision: one for one in engine.precisions}
        assert shares["int8"].macs > 0.9
        assert sum(one.macs for one in engine.precisions) == pytest.approx(1.0)
        assert sum(one.kernels for one in engine.precisions) == len(engine.layers)
        assert {"conv1", "conv2"} <= {node for layer in engine.layers for node in layer.nodes}

    def test_agreement_was_measured(self, bundle: Bundle) -> None:
        agreement = bundle.manifest.agreement
        assert agreement.engine_to_reference is not None
        assert agreement.engine_to_reference["sqnr_db"] > 20
        assert agreement.onnxruntime_to_reference["sqnr_db"] > 20


class TestTargets:
    @pytest.mark.parametrize("name", ALL_TARGETS)
    def test_every_kind_of_target_gets_a_bundle(
        self, small_calibration: Calibration, tmp_path: Path, name: str
    ) -> None:
        target = load_target(name)
        here = backend_for(target.backend).available()
        if target.builds == "here" and not here.version:
            pytest.skip(here.reason)
        made = compile(small_calibration, target=name, out=tmp_path / "small.edge", tune=False)
        assert made.manifest.target == target
        assert quantized(made.engine_members()["model.onnx"])
        for vector in made.golden():
            assert all(np.isfinite(values).all() for values in vector.outputs.values())

    def test_engine_built_on_the_device_has_its_recipe_and_golden_outputs_of_another(
        self, small_calibration: Calibration, tmp_path: Path
    ) -> None:
        made = compile(small_calibration, target="jetson-orin", out=tmp_path / "small.edge", tune=False)
        target = load_target("jetson-orin")
        record = json.loads(made.read("engine/build.json"))
        assert target.build_note.strip() in record["by_hand"]
        assert made.manifest.engine.built == "on-device"
        assert made.manifest.engine.version == target.device.software
        assert made.manifest.golden.engine.startswith("onnxruntime ")
        assert made.manifest.agreement.engine_to_reference is None

    def test_another_scheme_is_placed_anew(self, small_calibration: Calibration, tmp_path: Path) -> None:
        model = compile(small_calibration, target="jetson-orin", out=tmp_path / "a.edge", tune=False).read(
            "engine/model.onnx"
        )
        graph = onnx.load_model_from_string(model).graph
        constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
        zeros = [constants[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"]
        assert zeros
        assert all(zero.dtype == np.int8 and not zero.any() for zero in zeros)

    @pytest.mark.skipif(load_target("host").backend != "openvino", reason="needs a machine that OpenVINO's targets fit")
    def test_instruction_set_that_this_machine_lacks_is_said_and_no_compiled_model_is_kept(
        self, small_calibration: Calibration, root: Path, tmp_path: Path
    ) -> None:
        text = (root / "targets/intel-cpu-vnni.toml").read_text()
        (tmp_path / "future.toml").write_text(text.replace('isa = ["vnni"]', 'isa = ["avx2", "amx_int99"]'))
        with pytest.warns(HostMismatchWarning, match="has amx_int99, which this CPU lacks"):
            made = compile(small_calibration, target=tmp_path / "future.toml", out=tmp_path / "small.edge", tune=False)
        assert made.manifest.engine.members == ("model.onnx",)
        assert made.manifest.agreement.engine_to_reference is not None

    def test_another_precision_than_asked_for_leaves_nothing(
        self, small_calibration: Calibration, root: Path, tmp_path: Path
    ) -> None:
        if "avx512_fp16" in cpu_flags() or not backend_for("openvino").available().version:
            pytest.skip("this CPU computes in f16, or OpenVINO is not installed")
        text = (root / "targets/intel-cpu-vnni.toml").read_text()
        (tmp_path / "half.toml").write_text(text.replace('precision = "f32"', 'precision = "f16"'))
        with pytest.raises(TargetError, match="asked to compute in f16"):
            compile(small_calibration, target=tmp_path / "half.toml", out=tmp_path / "small.edge", tune=False)
        assert not (tmp_path / "small.edge").exists()

    def test_unknown_target_leaves_nothing(self, small_calibration: Calibration, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="jetson-orin"):
            compile(small_calibration, target="jetson-orrin", out=tmp_path / "small.edge", tune=False)
        assert list(tmp_path.iterdir()) == []


class TestOutput:
    def test_existing_bundle_is_refused_before_any_work(self, small_calibration: Calibration, tmp_path: Path) -> None:
        (tmp_path / "small.edge").write_bytes(b"old")
        stages: list[str] = []
        with pytest.raises(OutputError, match="--overwrite"):
            compile(
                small_calibration,
                out=tmp_path / "small.edge",
                progress=lambda stage, *_: stages.append(stage),
                tune=False,
            )
        assert stages == []
        assert (tmp_path / "small.edge").read_bytes() == b"old"
        compile(small_calibration, out=tmp_path / "small.edge", overwrite=True, tune=False)
        assert open_bundle(tmp_path / "small.edge")

    def test_interrupt_leaves_nothing(self, small_calibration: Calibration, tmp_path: Path) -> None:
        def interrupt(stage: str, done: int, total: int) -> None:
            if done == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            compile(small_calibration, out=tmp_path / "deep" / "small.edge", progress=interrupt, tune=False)
        assert list(tmp_path.iterdir()) == []

    def test_progress_ends_where_it_said(self, small_calibration: Calibration, tmp_path: Path) -> None:
        steps: list[tuple[str, int, int]] = []
        compile(small_calibration, out=tmp_path / "a.edge", progress=lambda *step: steps.append(step), tune=False)
        assert [done for _, done, _ in steps] == list(range(len(steps)))
        assert steps[-1][1] == steps[-1][2]


class TestRefusal:
    def test_folder_that_is_no_calibration(self, tmp_path: Path) -> None:
        with pytest.raises(ArtifactError, match="not a calibration"):
            compile(tmp_path, out=tmp_path / "a.edge", tune=False)

    def test_model_that_was_damaged_since(self, small_calibration: Calibration, tmp_path: Path) -> None:
        copy = tmp_path / "calibration"
        shutil.copytree(small_calibration.folder, copy)
        model = copy / small_calibration.qdq_model.name
        model.write_bytes(model.read_bytes()[:-100])
        with pytest.raises(ArtifactError, match="is damaged"):
            compile(copy, out=tmp_path / "a.edge", tune=False)
        assert not (tmp_path / "a.edge").exists()

    def test_model_that_gives_no_numbers(self, small_calibration: Calibration, tmp_path: Path) -> None:
        copy = tmp_path / "calibration"
        shutil.copytree(small_calibration.folder, copy)
        path = copy / small_calibration.fp_model.name
        model = onnx.load(path)
        weight = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
        values = np.full(weight.dims, np.nan, np.float32)
        weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
        onnx.save(model, path)
        with pytest.raises(ModelError, match="not finite"):
            compile(copy, out=tmp_path / "a.edge", tune=False)

    @pytest.mark.slow
    @pytest.mark.skipif(
        not backend_for("openvino").available().version.startswith("2026.4")
        or "vnni" not in cpu_flags()
        or "amx_int8" in cpu_flags(),
        reason="known of OpenVINO 2026.4 on CPUs with VNNI and without AMX",
    )
    def test_engine_that_miscomputes_never_gets_a_bundle(self, root: Path, shared_lanes: Path, tmp_path: Path) -> None:
        """Signed activations, which OpenVINO computes wrongly and says nothing."""
        text = (root / "targets/intel-cpu-vnni.toml").read_text()
        (tmp_path / "signed.toml").write_text(text.replace('dtype = "uint8"', 'dtype = "int8"'))
        calibration = edgekit.calibrate(
            shared_lanes / "models/twinlitenet-bdd100k/model.onnx",
            data=edgekit.Frames.open(shared_lanes / "frames/bdd100k").spread(4),
            recipe="lane-segmentation",
            target=tmp_path / "signed.toml",
            out=tmp_path / "calibration",
            effort="quick",
        )
        with pytest.raises(ModelError, match=r"iou_lane 0\.0\d\d instead of 0\.[89]") as refusal:
            compile(calibration, out=tmp_path / "lane.edge", tune=False)
        assert "times the noise of quantization" in refusal.value.found
        assert not (tmp_path / "lane.edge").exists()

    @pytest.mark.skipif(
        not backend_for("openvino").available().version.startswith("2026.4") or "amx_int8" not in cpu_flags(),
        reason="known of OpenVINO 2026.4 on CPUs with AMX",
    )
    def test_what_amx_miscomputes_gets_a_bundle_without_amx_alone(self, tmp_path: Path) -> None:
        """A pointwise convolution of two groups of 80 channels, and the advice that the error gives."""
        (tmp_path / "net.onnx").write_bytes(_grouped())
        calibration = edgekit.calibrate(
            tmp_path / "net.onnx",
            RoadFrames(0, 8),
            recipe="generic",
            target="intel-cpu-vnni",
            out=tmp_path / "c",
            effort="quick",
        )
        with pytest.raises(ModelError, match="ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16") as refusal:
            compile(calibration, out=tmp_path / "net.edge", tune=False)
        assert "times the noise of quantization" in refusal.value.found
        command = [sys.executable, "-m", "edgekit", "compile", str(calibration.folder), "--no-tune"]
        environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}
        subprocess.run([*command, "-o", str(tmp_path / "net.edge")], env=environment, check=True, capture_output=True)
        assert open_bundle(tmp_path / "net.edge").manifest.engine.backend == "openvino"


def _grouped() -> bytes:
    random = np.random.default_rng(0)
    shapes = {"a": (160, 3, 3, 3), "b": (160, 80, 1, 1), "c": (4, 160, 1, 1)}
    weights = [numpy_helper.from_array(random.normal(0, 0.1, s).astype(np.float32), n) for n, s in shapes.items()]
    nodes = [
        helper.make_node("Conv", ["image", "a"], ["first"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["first"], ["wide"]),
        helper.make_node("Conv", ["wide", "b"], ["grouped"], name="grouped", group=2),
        helper.make_node("Conv", ["grouped", "c"], ["out"], name="last"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 24, 32])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 4, 24, 32])
    graph = helper.make_graph(nodes, "net", [image], [out], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())
