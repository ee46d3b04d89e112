"""Calibrate lane-detection networks to INT8 without losing lanes, compile them for the board, profile and run them.

The way through, in five calls:

    calibration = edgekit.calibrate("lane.onnx", data="frames/", recipe="lane-curve", target="intel-cpu-vnni")
    bundle = edgekit.compile(calibration, out="lane.edge")
    edgekit.verify(bundle)
    edgekit.profile(bundle)
    with edgekit.load(bundle) as lane:
        lanes = lane(frame)

Names are imported when they are first used: `import edgekit` alone loads no engine, no torch and no numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from edgekit.errors import (
    ArtifactError,
    DataError,
    EdgekitError,
    GateError,
    ModelError,
    OutputError,
    TargetError,
    UsageError,
)
from edgekit.extras import not_installed

if TYPE_CHECKING:
    from edgekit.api.calibrate import calibrate
    from edgekit.api.compare import compare
    from edgekit.api.compile import compile
    from edgekit.api.estimate import estimate
    from edgekit.api.inspect import inspect
    from edgekit.api.load import load
    from edgekit.api.matrix import agreement_matrix
    from edgekit.api.profile import profile
    from edgekit.api.rebuild import compile_in_place
    from edgekit.api.remote import profile_remote
    from edgekit.api.report import write_report
    from edgekit.api.verify import verify
    from edgekit.bundle import Bundle
    from edgekit.calibration.artifact import Calibration
    from edgekit.frames import Frames
    from edgekit.recipes import Recipe
    from edgekit.runtime.ranker import Ranker
    from edgekit.targets import Target

__version__ = "0.1.0"

__all__ = [
    "ArtifactError",
    "Bundle",
    "Calibration",
    "DataError",
    "EdgekitError",
    "Frames",
    "GateError",
    "ModelError",
    "OutputError",
    "Ranker",
    "Recipe",
    "Target",
    "TargetError",
    "UsageError",
    "__version__",
    "agreement_matrix",
    "calibrate",
    "compare",
    "compile",
    "compile_in_place",
    "estimate",
    "inspect",
    "load",
    "profile",
    "profile_remote",
    "verify",
    "write_report",
]

_LAZY = {
    "Bundle": "edgekit.bundle",
    "Calibration": "edgekit.calibration.artifact",
    "Frames": "edgekit.frames",
    "Ranker": "edgekit.runtime.ranker",
    "Recipe": "edgekit.recipes",
    "Target": "edgekit.targets",
    "agreement_matrix": "edgekit.api.matrix",
    "calibrate": "edgekit.api.calibrate",
    "compare": "edgekit.api.compare",
    "compile": "edgekit.api.compile",
    "compile_in_place": "edgekit.api.rebuild",
    "estimate": "edgekit.api.estimate",
    "inspect": "edgekit.api.inspect",
    "load": "edgekit.api.load",
    "profile": "edgekit.api.profile",
    "profile_remote": "edgekit.api.remote",
    "verify": "edgekit.api.verify",
    "write_report": "edgekit.api.report",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        message = f"module 'edgekit' has no attribute '{name}'"
        raise AttributeError(message)
    try:
        module = importlib.import_module(_LAZY[name])
    except ModuleNotFoundError as error:
        raise not_installed(error) or error from error
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
