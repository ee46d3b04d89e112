from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.backends.tensorrt.backend import TensorRtBackend
from edgekit.backends.tensorrt.cache import read_cache, scales_of, with_version, write_cache
from edgekit.errors import ArtifactError, ModelError
from edgekit.graph.fold import without_qdq
from edgekit.targets import load_target
from tests.graph.models import residual_net
from tests.graph.quantized import image, quantized

DLA = load_target("jetson-agx-orin-dla-jp6")
NAMES = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1, max_size=30)
SCALES = st.floats(width=32, min_value=2.0**-100, max_value=2.0**100)


@given(st.dictionaries(NAMES, SCALES, max_size=8))
def test_what_is_written_is_read_back_equal(scales: dict[str, float]) -> None:
    assert read_cache(write_cache(scales, "10.3.0.30")) == scales


def test_a_line_is_the_name_and_the_big_endian_bits_of_the_scale() -> None:
    # 3c009976 for 0.0078491 is a line that others have shown: NVIDIA/TensorRT issue 2036.
    scale = float(np.frombuffer(bytes.fromhex("3c009976"), ">f4")[0])
    assert scale == pytest.approx(0.9968 / 127, rel=1e-4)
    assert write_cache({"a: b": scale}, "10.3") == b"TRT-100300-EntropyCalibration2\na: b: 3c009976\n"


@pytest.mark.parametrize("scales", [{"two\nlines": 1.0}, {"a": 0.1}])
def test_what_would_not_be_read_back_equal_is_refused(scales: dict[str, float]) -> None:
    with pytest.raises(ModelError, match="calibration cache"):
        write_cache(scales, "10.3")


@pytest.mark.parametrize(
    "cache",
    [
        b"",
        b"\xff",
        b"TRT-100300-MinMaxCalibration\n",
        b"TRT-1-EntropyCalibration2\nx 3c009976\n",
        b"TRT-1-EntropyCalibration2\nx: 3c0099\n",
        b"TRT-1-EntropyCalibration2\nx: 3c009976\nx: 3c009976\n",
    ],
)
def test_what_is_no_cache_is_refused(cache: bytes) -> None:
    with pytest.raises(ArtifactError, match="no calibration cache"):
        read_cache(cache)


def test_the_reading_version_replaces_the_writing_one() -> None:
    assert with_version(write_cache({"x": 0.5}, "10.3"), "10.7.1.2") == write_cache({"x": 0.5}, "10.7.1")


def test_the_dla_gets_every_scale_of_the_model_and_a_model_without_qdq() -> None:
    import onnx

    model = quantized(residual_net(), DLA.scheme, image())
    members = TensorRtBackend().build(model.SerializeToString(), DLA).members
    assert read_cache(members["calib.cache"]) == scales_of(model)
    assert {"image", "stem_relu", "pooled", "block"} <= scales_of(model).keys()
    plain = onnx.load_model_from_string(members["plain.model.onnx"])
    assert plain == without_qdq(model)
    assert scales_of(model).keys() <= {value.name for value in plain.graph.input} | {
        name for node in plain.graph.node for name in node.output
    }
