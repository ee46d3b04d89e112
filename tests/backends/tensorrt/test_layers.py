from __future__ import annotations

from edgekit.backends.base import Layer
from edgekit.backends.tensorrt.layers import layers_of, read_log

LOG = """Layers:
Name: conv_myl0_1, LayerType: correlation, Inputs: [ { Name: x, y, Dimensions: [1,4,8,8], Strides: [256,1,32,4], \
StrideOrder: [3,0,2,1], Datatype: Int8, Format: (NHWC) Channel major format }], Constants: [ { Name: w, Dimensions: \
[8,4,3,3], Strides: [36,1,12,4], StrideOrder: [3,0,2,1], Datatype: Int8, Format: (NHWC) Channel major format }, { \
Name: s, Dimensions: [1,8,1,1], Strides: [8,1,8,8], StrideOrder: [3,0,2,1], Datatype: Float, Format: (NHWC) Channel \
major format }], Outputs: [ { Name: o, Dimensions: [1,8,8,8], Strides: [512,1,64,8], StrideOrder: [3,0,2,1], Datatype: \
Half, Format: (NHWC) Channel major format }], TacticName: __myelin_CASK_STUB, StreamId: 0, Metadata: [ONNX Layer: \
/conv/Conv][ONNX Layer: w_dequantized]
Name: wait_myl0_2, LayerType: wait, Inputs: [], Constants: [], Outputs: [], TacticName: , StreamId: 0, EventId: 2, \
Metadata:\x20

I/O Tensors:
 Name: image, IOMode: Input, DataType: Float"""


def test_the_log_tells_types_and_nodes_of_every_layer() -> None:
    records = list(read_log(LOG))
    assert [record["LayerType"] for record in records] == ["correlation", "wait"]
    assert records[0]["Inputs"][0]["Name"] == "x, y"
    assert [tensor["Datatype"] for tensor in records[0]["Constants"]] == ["Int8", "Float"]
    assert records[0]["TacticName"] == "__myelin_CASK_STUB"
    assert layers_of(records) == (Layer("conv_myl0_1", "correlation", "int8", "GPU", ("/conv/Conv", "w_dequantized")),)


def test_another_message_lists_no_layers() -> None:
    assert list(read_log("Applying fusions\nName: x, LayerType: y, Inputs: []")) == []


def test_the_inspectors_json_of_tensorrt_10_is_understood() -> None:
    # As in NVIDIA's documentation of the engine inspector: types stand within the words of the format.
    conv = {
        "Name": "conv1 + relu1",
        "LayerType": "CaskConvolution",
        "Inputs": [{"Name": "x", "Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format"}],
        "Outputs": [{"Name": "y", "Format/Datatype": "Row major linear FP16 format"}],
        "Weights": {"Type": "Int8", "Count": 432},
        "Metadata": "[ONNX Layer: conv1]\u001e[ONNX Layer: relu1]",
    }
    pool = {"Name": "pool", "LayerType": "CaskPooling", "Inputs": conv["Inputs"], "Outputs": conv["Inputs"]}
    mixed = {"Name": "dla", "LayerType": "DLA", "Inputs": conv["Inputs"], "Outputs": conv["Outputs"]}
    silent = {"Name": "unknown"}
    found = layers_of([conv, pool, mixed, silent])
    assert [layer.precision for layer in found] == ["int8", "int8", "f16", ""]
    assert [layer.device for layer in found] == ["GPU", "GPU", "DLA", "GPU"]
    assert found[0].nodes == ("conv1", "relu1")


def test_a_product_of_two_activations_has_their_type_and_its_node_is_not_the_kernels_before_it() -> None:
    half = {"Datatype": "Half"}
    gemm = {
        "Name": "gemm",
        "LayerType": "gemm",
        "Inputs": [half, half],
        "Constants": [{"Datatype": "Float"}],
        "Outputs": [half],
        "Metadata": "[ONNX Layer: matmul]",
    }
    before = {
        "Name": "scale",
        "LayerType": "kgen",
        "Inputs": [half],
        "Constants": [half],
        "Outputs": [{"Datatype": "Float"}],
        "Metadata": "[ONNX Layer: mul][ONNX Layer: matmul]",
    }
    assert [(layer.precision, layer.nodes) for layer in layers_of([before, gemm])] == [
        ("f32", ("mul",)),
        ("f16", ("matmul",)),
    ]
