from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgekit.backends import backend_for
from edgekit.bundle import array_bytes
from edgekit.errors import TargetError
from edgekit.profiling.remote.host import parse_address
from edgekit.profiling.remote.plan import Plan
from edgekit.targets import load_target
from edgekit.tuning.remote import BoardTimer, _require_fit, _where
from edgekit.tuning.stopwatch import EngineTimer, Variant
from edgekit.tuning.there import INPUTS, model_name, time_there
from tests.api.conftest import INPUT, small_model
from tests.profiling.remote.test_wheels import FACTS

pytest.importorskip("asyncssh", reason="asyncssh comes with the extra 'remote'")

ADDRESS = parse_address("ssh://user@board")
A76 = load_target("arm-cortex-a76")


class TestFit:
    def test_a_board_with_what_the_target_needs(self) -> None:
        _require_fit(FACTS, A76, ADDRESS)

    def test_a_board_whose_cpu_lacks_something(self) -> None:
        with pytest.raises(TargetError, match="lacks asimddp") as refused:
            _require_fit(replace(FACTS, flags=frozenset()), A76, ADDRESS)
        assert refused.value.found == FACTS.board

    def test_times_of_an_emulator_are_no_board_s(self) -> None:
        with pytest.raises(TargetError, match="emulator"):
            _require_fit(replace(FACTS, emulated=True), A76, ADDRESS)

    def test_boards_are_told_apart(self) -> None:
        where = _where(FACTS)
        assert (where.origin, where.cores) == ("remote", 6)
        assert where.processor == "NVIDIA Jetson Orin Nano Developer Kit, Cortex-A78AE"
        assert where != _where(replace(FACTS, board="", cpu="Cortex-A72"))


def test_the_version_is_that_of_the_board_or_of_what_is_carried(tmp_path: Path) -> None:
    assert Plan(FACTS, (), ("numpy 1.26.4", "onnxruntime 1.20.0")).version("onnxruntime") == "1.20.0"
    carried = tmp_path / "onnxruntime-1.21.0-cp310-cp310-manylinux_2_28_aarch64.whl"
    assert Plan(FACTS, (carried,), ()).version("onnxruntime") == "1.21.0"
    assert Plan(FACTS, (), ()).version("onnxruntime") == ""


class TestThere:
    """What the board runs, in a folder as it finds it there."""

    @pytest.fixture
    def job(self, tmp_path: Path) -> Path:
        for name in ("0/in", INPUTS):
            (tmp_path / name).mkdir(parents=True)
        for index in range(2):
            (tmp_path / INPUTS / f"{index:04d}.npy").write_bytes(array_bytes(np.full(INPUT, index, np.float32)))
        return tmp_path / "0"

    def test_models_are_timed_as_here_and_not_kept(self, job: Path) -> None:
        model = small_model().SerializeToString()
        for index in range(3):
            (job / "in" / model_name(index)).write_bytes(model)
        told = time_there(job, "onnxruntime", 1, [{}, {}, {"format": "onnx"}], rounds=4)
        assert told["version"] == backend_for("onnxruntime").available().version
        times = [np.asarray(each) for each in told["times"]]
        here = EngineTimer(backend_for("onnxruntime"), 1, [np.zeros(INPUT, np.float32)])([Variant(model, {})] * 3, 4)
        assert [each.ndim for each in times] == [each.ndim for each in here] == [2, 2, 2]
        assert {len(each) for each in (*times, *here)} == {4}
        assert len({each.shape for each in times}) == 1 and all((each > 0).all() for each in times)
        assert [path.name for path in job.iterdir()] == []

    def test_another_engine_than_was_found_is_refused(self) -> None:
        sent: dict[str, Any] = {}

        def call(_: str, arguments: dict[str, Any], files: dict[str, bytes], **__: Any) -> dict[str, Any]:
            sent.update(arguments=arguments, files=files)
            return {"version": "1.19.0", "times": [[[1, 2]]]}

        board: Any = SimpleNamespace(call=call, send=sent.update, connection=SimpleNamespace(address=ADDRESS))
        timer = BoardTimer("onnxruntime", "1.20.0", 1)
        timer.use(board, [np.zeros(INPUT, np.float32)])
        with pytest.raises(TargetError, match="Another onnxruntime ran") as refused:
            timer([Variant(b"model", {"a": 1})], 5)
        assert "1.19.0" in refused.value.found and "1.20.0" in refused.value.found
        assert sent["files"] == {"0.onnx": b"model"}
        assert (sent["arguments"]["options"], sent["arguments"]["rounds"]) == ([{"a": 1}], 5)
        assert f"{INPUTS}/0000.npy" in sent
