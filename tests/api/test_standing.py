from __future__ import annotations

import pytest

from edgekit.api.standing import standing
from edgekit.backends import Availability, backend_for
from edgekit.resources import shipped_names
from edgekit.targets import load_target


def test_the_hosts_own_target_runs_here() -> None:
    found = standing(load_target("host"))
    assert (found.builds, found.runs) == ("here", "here")


def test_what_another_architecture_computes_counts_and_its_speed_does_not() -> None:
    foreign = load_target("host").model_copy(update={"device": load_target("arm-cortex-a76").device})
    if load_target("host").device.arch == "aarch64":
        foreign = foreign.model_copy(update={"device": load_target("intel-cpu-vnni").device})
    assert standing(foreign).runs == "results only"


def test_an_engine_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    target = load_target("host")
    monkeypatch.setattr(type(backend_for(target.backend)), "available", lambda self: Availability("", "not installed"))
    found = standing(target)
    assert (found.builds, found.runs) == ("engine missing", "engine missing")


@pytest.mark.parametrize("name", shipped_names("targets"))
def test_what_is_built_or_run_on_the_device_is_never_said_to_be_here(name: str) -> None:
    target, found = load_target(name), standing(load_target(name))
    assert (found.builds == "on the device") == (target.builds == "on-device")
    assert (found.runs == "on the device") == (target.runs == "on-device")
    assert found.verified == target.verified
