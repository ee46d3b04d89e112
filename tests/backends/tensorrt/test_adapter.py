from __future__ import annotations

import pytest

from edgekit.backends.tensorrt.adapter import api_of, require
from edgekit.errors import TargetError


@pytest.mark.parametrize(
    ("library", "version", "strong", "cache", "capability"),
    [
        ("tensorrt", "10.3.0.30", False, True, False),
        ("tensorrt", "11.4.1", True, False, False),
        ("tensorrt_rtx", "1.7.1.116", True, False, True),
    ],
)
def test_what_a_version_has(library: str, version: str, strong: bool, cache: bool, capability: bool) -> None:
    api = api_of(library, version)
    assert (api.strongly_typed, api.calibration_cache, api.compute_capability) == (strong, cache, capability)


@pytest.mark.parametrize(
    ("library", "version"), [("tensorrt", "8.6.1"), ("tensorrt", "12.0"), ("tensorrt_rtx", "10.3")]
)
def test_a_version_that_is_not_known_is_refused(library: str, version: str) -> None:
    with pytest.raises(TargetError, match=version):
        api_of(library, version)


def test_a_missing_module_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TargetError, match=r"edgekit\[tensorrt-rtx\]"):
        require("tensorrt_rtx")
    with pytest.raises(TargetError, match=r"edgekit\[tensorrt\](.|\n)*--system-site-packages"):
        require("tensorrt")
