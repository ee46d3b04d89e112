from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from edgekit.backends.qnn import QnnBackend
from edgekit.backends.tensorrt import TensorRtBackend
from edgekit.errors import ArtifactError, ModelError
from edgekit.targets import load_target
from tests.backends import models

ORIN = load_target("jetson-orin")


class TestTensorRt:
    def test_recipe_says_how_and_for_what_the_engine_is_built(self) -> None:
        model = models.quantized_conv(np.int8, zero_point=0, opset=ORIN.scheme.opset)
        record = json.loads(TensorRtBackend().build(model, ORIN).members["build.json"])
        assert record["engine"] == "tensorrt"
        assert record["soc"] == ORIN.device.soc
        assert record["software"] == ORIN.device.software
        assert record["sha256"]["model.onnx"] == hashlib.sha256(model).hexdigest()
        assert record["commands"] == ["edgekit compile BUNDLE.edge"]
        assert record["by_hand"] == ["unzip -p BUNDLE.edge engine/model.onnx > model.onnx", ORIN.build_note.strip()]
        assert any("TensorRT version" in line for line in record["must_match"])

    def test_asymmetric_quantization_is_refused(self) -> None:
        model = models.quantized_conv(np.int8, zero_point=3)
        with pytest.raises(ModelError, match="zero point that is not 0"):
            TensorRtBackend().build(model, ORIN)

    def test_quantized_bias_is_refused(self) -> None:
        model = models.quantized_conv(np.int8, zero_point=0, bias="int32")
        with pytest.raises(ModelError, match="bias dequantizes the 32-bit integers b"):
            TensorRtBackend().build(model, ORIN)

    def test_model_without_quantization_is_accepted(self) -> None:
        assert set(TensorRtBackend().build(models.conv_relu(), ORIN).members) == {"model.onnx", "build.json"}


def test_members_of_another_deferred_engine_are_refused() -> None:
    model = models.quantized_conv(np.int8, zero_point=0)
    with pytest.raises(ArtifactError):
        QnnBackend().load(TensorRtBackend().build(model, ORIN).members, {}, 1)


def test_model_that_is_not_the_one_of_the_recipe_is_refused() -> None:
    members = dict(TensorRtBackend().build(models.conv_relu(), ORIN).members)
    members["model.onnx"] = models.quantized_conv(np.int8, zero_point=0)
    with pytest.raises(ArtifactError):
        TensorRtBackend().load(members, {}, 1)


def test_recipe_that_was_damaged_is_refused() -> None:
    members = dict(TensorRtBackend().build(models.conv_relu(), ORIN).members)
    members["build.json"] = members["build.json"][:-5]
    with pytest.raises(ArtifactError):
        TensorRtBackend().load(members, {}, 1)
