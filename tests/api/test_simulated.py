"""A bundle whose engine runs here in a simulator only."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from edgekit.api.compile import compile
from edgekit.api.load import load
from edgekit.api.offload import compute_nodes
from edgekit.api.profile import profile
from edgekit.api.verify import verify
from edgekit.backends import Build, Fallback
from edgekit.backends.qnn import QnnBackend
from edgekit.bundle import Bundle
from edgekit.calibration.artifact import Calibration
from edgekit.errors import GateError, HostMismatchWarning, TargetError

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime_qnn") is None, reason="onnxruntime-qnn is not installed"
)
TARGET = "qualcomm-htp-v73"


@pytest.fixture(scope="module")
def bundle(small_calibration: Calibration, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return compile(small_calibration, target=TARGET, out=tmp_path_factory.mktemp("simulated") / "a.edge")


def test_golden_outputs_are_the_simulators_and_say_so(bundle: Bundle) -> None:
    assert bundle.manifest.golden.engine.startswith("qnn ")
    assert bundle.manifest.golden.origin == "simulated"
    assert bundle.manifest.agreement.engine_to_reference is not None


def test_all_of_the_model_runs_on_the_accelerator(bundle: Bundle) -> None:
    engine = bundle.manifest.engine
    assert engine.nodes == compute_nodes(bundle.read("engine/model.onnx")) > 4
    assert engine.fallback == ()
    assert {"int8"} <= {layer.precision for layer in engine.layers}


def test_verify_replays_it_and_says_simulated(bundle: Bundle) -> None:
    with pytest.warns(HostMismatchWarning, match="is simulated on this machine"):
        found = verify(bundle)
    assert found.passed
    assert found.origin == "simulated"


def test_profile_refuses_it_before_anything_runs(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QnnBackend, "load", lambda *_: pytest.fail("it was loaded"))
    with pytest.raises(TargetError, match="simulator's times are not a device's") as refusal:
        profile(bundle, seconds=0.1)
    assert "Snapdragon" in refusal.value.found


def test_the_floating_point_model_runs_there_too(bundle: Bundle) -> None:
    vector = next(bundle.golden())
    with pytest.warns(HostMismatchWarning), load(bundle, reference=True) as session:
        outputs = session.infer(vector.input)
    assert {name: values.shape for name, values in outputs.items()} == {
        name: values.shape for name, values in vector.outputs.items()
    }


class TestRequireOffload:
    def falling_back(self, monkeypatch: pytest.MonkeyPatch) -> list[object]:
        """Let the real build say of one node more that it falls back."""
        asked: list[object] = []
        build = QnnBackend.build

        def with_fallback(self: QnnBackend, model: bytes, target: object, *rest: object) -> Build:
            asked.append(target.options["cpu_fallback"])  # type: ignore[attr-defined]
            built = build(self, model, target, *rest)  # type: ignore[arg-type]
            return Build(built.members, built.layers, (Fallback("conv9", "Conv", "it is too wide"),))

        monkeypatch.setattr(QnnBackend, "build", with_fallback)
        return asked

    def test_less_than_asked_for_is_an_error_with_the_nodes(
        self, small_calibration: Calibration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = self.falling_back(monkeypatch)
        with pytest.raises(GateError, match="--require-offload asks for 99 %") as refusal:
            compile(small_calibration, target=TARGET, out=tmp_path / "a.edge", require_offload=99)
        assert refusal.value.found == "conv9 (Conv): it is too wide"
        assert asked == [True]
        assert list(tmp_path.iterdir()) == []

    def test_as_much_as_asked_for_is_a_bundle_that_lists_the_others(
        self, small_calibration: Calibration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.falling_back(monkeypatch)
        made = compile(small_calibration, target=TARGET, out=tmp_path / "a.edge", require_offload=50)
        assert [one.node for one in made.manifest.engine.fallback] == ["conv9"]

    def test_all_of_it_allows_no_fallback(
        self, small_calibration: Calibration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = self.falling_back(monkeypatch)
        with pytest.raises(GateError):
            compile(small_calibration, target=TARGET, out=tmp_path / "a.edge", require_offload=100)
        assert asked == [False]

    def test_an_engine_that_is_built_on_the_device_cannot_tell(
        self, small_calibration: Calibration, tmp_path: Path
    ) -> None:
        with pytest.raises(TargetError, match="not known here"):
            compile(small_calibration, target="jetson-orin", out=tmp_path / "a.edge", require_offload=50)
