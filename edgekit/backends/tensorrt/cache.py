"""TensorRT's calibration cache: the scales as text, which is the DLA's only way to 8 bit under TensorRT 10.

The first line names version and algorithm, `TRT-100300-EntropyCalibration2`; every other one is a tensor's name and its
scale, the float32 as eight hexadecimal digits, most significant byte first (NVIDIA/TensorRT issue 2036 shows one). That
the value is the scale and not the range follows from such files; no TensorRT has read one that was written here.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgekit.errors import ArtifactError, ModelError

if TYPE_CHECKING:
    import onnx

_HEADER = re.compile(r"TRT-(\d+)-EntropyCalibration2")
_ENTRY = re.compile(r"(.+): ([0-9a-fA-F]{8})")
_UNWRITABLE = re.compile(r"[\r\n]")


def write_cache(scales: Mapping[str, float], version: str) -> bytes:
    """Return the cache of a version of TensorRT, "10.3" or "10.3.0.30".

    Args:
        scales: Tensor name to its scale, in float32.
        version: The version that shall read it.

    Raises:
        ModelError: A name or scale cannot be written so that it is read back as the same.
    """
    lines = [f"TRT-{_number(version)}-EntropyCalibration2"]
    lines += [f"{name}: {struct.pack('>f', scale).hex()}" for name, scale in scales.items()]
    cache = ("\n".join(lines) + "\n").encode()
    if any(_UNWRITABLE.search(name) for name in scales) or read_cache(cache) != dict(scales):
        raise ModelError(
            problem="The scales cannot be written as a calibration cache.",
            found="a tensor's name with a line break, a scale that is not float32, or two tensors of one name",
            fix="Export the model with plain tensor names.",
        )
    return cache


def read_cache(cache: bytes) -> dict[str, float]:
    """Return tensor name to scale.

    Raises:
        ArtifactError: It is no calibration cache.
    """
    try:
        header, *lines = cache.decode().rstrip("\n").split("\n")
    except UnicodeDecodeError as error:
        raise _foreign(str(error)) from error
    if not _HEADER.fullmatch(header):
        raise _foreign("it starts with " + repr(header[:40]))
    scales: dict[str, float] = {}
    for line in lines:
        entry = _ENTRY.fullmatch(line)
        if entry is None or entry[1] in scales:
            raise _foreign("the line " + repr(line[:80]))
        (scales[entry[1]],) = struct.unpack(">f", bytes.fromhex(entry[2]))
    return scales


def with_version(cache: bytes, version: str) -> bytes:
    """Return the cache as if the version that reads it had written it."""
    return _HEADER.sub(f"TRT-{_number(version)}-EntropyCalibration2", cache.decode(), count=1).encode()


def scales_of(model: onnx.ModelProto) -> dict[str, float]:
    """Return tensor name to scale, for every activation that a Q/DQ model quantizes per tensor."""
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    return {
        node.input[0]: float(numpy_helper.to_array(constants[node.input[1]]))
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] not in constants
    }


def _number(version: str) -> str:
    """Return TensorRT's version as one number, as its C API gives it: 10.3.0 is 100300."""
    major, minor, patch = ([int(part) for part in version.split(".")] + [0, 0])[:3]
    return str(major * 10000 + minor * 100 + patch)


def _foreign(found: str) -> ArtifactError:
    return ArtifactError(
        problem="This is no calibration cache of TensorRT.", found=found, fix="Compile again for the target."
    )
