from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.api.apart import profile_apart
from edgekit.errors import ArtifactError, DeadlineWarning, TargetError
from edgekit.profiling.document import Document
from edgekit.profiling.result import Profile
from edgekit.targets import load_target
from tests.api.test_profile import bundle_for

pytest.importorskip("onnxruntime")

DIES = """
import ctypes, sys
from importlib.abc import MetaPathFinder

class OnImport(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "edgekit.api.apart":
            sys.meta_path.remove(self)
            break_the_engine()
        return None

def break_the_engine():
    from edgekit.profiling import schedule
    from edgekit.runtime.session import Session

    infer, rounds = Session.infer, []
    schedule_block = schedule._block

    def block(*arguments):
        rounds.append(1)
        return schedule_block(*arguments)

    def crashing(self, values):
        if len(rounds) > {blocks}:
            ctypes.string_at(0)
        return infer(self, values)

    schedule._block, Session.infer = block, crashing

sys.meta_path.insert(0, OnImport())
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("apart") / "net.edge"
    bundle_for(load_target("arm-cortex-a76"), path)
    return path


def test_a_profile_comes_back_whole(bundle: Path) -> None:
    told: list[str] = []
    with pytest.warns(DeadlineWarning, match="shorter than the way"):
        result = profile_apart(
            bundle, seconds=0.2, deadline_ms=0.001, progress=lambda stage, done, total: told.append(stage)
        )
    assert result.subject.bundle == str(bundle)
    assert result.partial == ""
    Document.model_validate(result.to_json())
    assert {"warm up", "measure"} <= set(told)


def test_errors_are_raised_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="There is no bundle"):
        profile_apart(tmp_path / "none.edge")


@pytest.mark.parametrize("blocks", [0, 9])
def test_an_engine_that_crashes_takes_nothing_along(
    bundle: Path, blocks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(DIES.replace("{blocks}", str(blocks)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    kept: list[Profile] = []
    with pytest.raises(TargetError, match="crashed with SIGSEGV") as failed:
        profile_apart(bundle, seconds=1000, keep=kept.append)
    if not blocks:
        assert kept == []
        assert "nothing was measured" in failed.value.found
        return
    (partial,) = kept
    # Two rounds of four blocks were complete.
    assert partial.method.rounds == 2
    assert partial.partial == "The engine's process crashed with SIGSEGV."
    runs = partial.row("int8").latency["engine"].samples
    assert f"after {runs} recorded runs" in failed.value.problem
    Document.model_validate(partial.to_json())
