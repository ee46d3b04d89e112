"""Which extra of the installation brings a package that is missing."""

from __future__ import annotations

from edgekit.errors import TargetError

EXTRAS = {
    "asyncssh": "remote",
    "cryptography": "updates",
    "cv2": "vision",
    "onnx": "calibrate",
    "onnx_ir": "calibrate",
    "onnxruntime": "onnxruntime",
    "onnxruntime_qnn": "qnn",
    "onnxscript": "calibrate",
    "openvino": "openvino",
    "packaging": "remote",
    "scipy": "calibrate",
    "tensorrt": "tensorrt",
    "tensorrt_rtx": "tensorrt-rtx",
    "torch": "calibrate",
}
"""Imported package to the extra of EdgeKit that installs it."""


def not_installed(error: ModuleNotFoundError) -> TargetError | None:
    """Return the error that says what to install, or none where the missing module belongs to no extra."""
    package = str(error.name).partition(".")[0]
    if package not in EXTRAS:
        return None
    return TargetError(
        problem=f"This needs the package {package}, which is not installed here.",
        found=str(error),
        fix=f"pip install 'edgekit[{EXTRAS[package]}]'",
    )
