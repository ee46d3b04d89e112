"""Equal convolutions in the place of those that OpenVINO's kernels for AMX compute wrong.

On CPUs with AMX, oneDNN's kernels compute two kinds of convolutions wrong, without a word. Measured with OpenVINO
2026.4.1 against ONNX Runtime; with AMX turned off (ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16) they are right
(`python -m tests.benchmarks.amx`):

- wide kernels over few channels. AMX multiplies rows of 64 bytes. Where the channels of a group fill less than half a
  row, a kernel's columns are packed into it, and where channels times columns then fill whole rows, more than one,
  results are off by as much as they are large. A head that reads whole rows of a feature map is such a convolution.
- a stride along the width that leaves a single column of results.

Both have an equal in other words, which is computed right: a kernel that is a column of zeros wider, and a stride of 1.
The network is rewritten for every CPU, so that it is the same one everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROW_BYTES = 64
_CONVOLUTIONS = frozenset({"Convolution", "GroupConvolution"})
_INTEGERS = frozenset({"i8", "u8"})


def rewrite_convolutions(openvino: Any, network: Any, precision: str) -> None:
    """Rewrite a network, in place, so that no convolution is of a kind that is computed wrong.

    Convolutions whose weights are computed, other than dequantized, or read by others too, are left as they are.

    Args:
        openvino: The library.
        network: An `openvino.Model` with ONNX's quantization written out, or in floating point.
        precision: What convolutions that are not quantized are computed in: f32, bf16 or f16.
    """
    for node in network.get_ordered_ops():
        weights = _weights(node) if node.get_type_name() in _CONVOLUTIONS else None
        before = None if weights is None else _row_of(node, weights)
        if before is not None and (after := equal(before, _values_per_row(weights, precision))) != before:
            _replace(openvino, node, weights, before, after)
    network.validate_nodes_and_infer_types()


@dataclass(frozen=True)
class Row:
    """A convolution along the width.

    Attributes:
        channels: Input channels of a group.
        width: Columns of the input.
        kernel: Columns of the kernel.
        stride: Along the width.
        dilation: Along the width.
        pads: Columns of padding, left and right.
    """

    channels: int
    width: int
    kernel: int
    stride: int
    dilation: int
    pads: tuple[int, int]

    @property
    def results(self) -> int:
        """Columns of the output."""
        return self._spare // self.stride + 1

    @property
    def _spare(self) -> int:
        """Columns, with padding, beyond those that the first result reads."""
        return self.width + sum(self.pads) - (self.kernel - 1) * self.dilation - 1

    def widened(self, columns: int = 1) -> Row:
        """Return an equal one whose kernel has columns of zeros more, on the right."""
        pads = (self.pads[0], self.pads[1] + columns * self.dilation)
        return replace(self, kernel=self.kernel + columns, pads=pads)

    def unstrided(self) -> Row:
        """Return an equal one of a single result with a stride of 1: what is spare is not there, or read by zeros."""
        beyond = max(0, self._spare - self.pads[1])
        wider = self.widened(-(-beyond // self.dilation))
        return replace(wider, stride=1, pads=(self.pads[0], wider.pads[1] - self._spare))


def equal(row: Row, values_per_row: int) -> Row:
    """Return an equal convolution that is computed right; the same one, where it is.

    Args:
        row: The convolution.
        values_per_row: Values in a row of AMX: 64 of 8 bit, 32 of 16 bit; 0 where AMX does not compute it.
    """
    if not values_per_row:
        return row
    if row.results == 1 and row.stride > 1:
        row = row.unstrided()
    packed = row.channels * row.kernel
    wrong = 2 * row.channels < values_per_row and packed % values_per_row == 0 and packed > values_per_row
    return row.widened() if wrong else row


def _weights(node: Any) -> Any | None:
    """Return the constant that a convolution's weights are stored in, for it alone; else none."""
    path = [node.input_value(1).get_node()]
    while path[-1].get_type_name() in ("Convert", "Subtract", "Multiply", "Reshape"):
        path.append(path[-1].input_value(0).get_node())
    *between, stored = path
    if stored.get_type_name() != "Constant" or not all(_is_read_once(one) for one in path):
        return None
    told = {one.get_type_name(): one for one in between}
    if len(told) < len(between):
        return None
    # A target shape that is computed follows the weights; one that is a constant does not.
    if "Reshape" in told and told["Reshape"].input_value(1).get_node().get_type_name() == "Constant":
        return None
    arithmetic = [told[name] for name in ("Subtract", "Multiply") if name in told]
    if arithmetic and stored.get_element_type().to_string() not in _INTEGERS:
        return None
    return stored if all(_is_by_channel(one.input_value(1)) for one in arithmetic) else None


def _is_read_once(node: Any) -> bool:
    readers = [reader.get_node().get_type_name() for reader in node.output(0).get_target_inputs()]
    return len([name for name in readers if name != "ShapeOf"]) == 1


def _is_by_channel(operand: Any) -> bool:
    """Whether an operand is the same for all columns of a kernel."""
    shape = list(operand.get_shape())
    return not shape or shape[-1] == 1


def _row_of(node: Any, weights: Any) -> Row | None:
    """Return a convolution's row; none where it is not one of images with known extents."""
    shape, width = list(weights.get_output_shape(0)), node.input_value(0).get_partial_shape()[-1]
    attributes = node.get_attributes()
    if len(shape) < 4 or len(attributes["strides"]) != 2 or width.is_dynamic or attributes["auto_pad"] != "explicit":
        return None
    return Row(
        channels=shape[-3],
        width=width.get_length(),
        kernel=shape[-1],
        stride=attributes["strides"][1],
        dilation=attributes["dilations"][1],
        pads=(attributes["pads_begin"][1], attributes["pads_end"][1]),
    )


def _values_per_row(weights: Any, precision: str) -> int:
    if weights.get_element_type().to_string() in _INTEGERS:
        return ROW_BYTES
    return 0 if precision == "f32" else ROW_BYTES // 2


def _replace(openvino: Any, node: Any, weights: Any, before: Row, after: Row) -> None:
    if after.kernel > before.kernel:
        values = _with_zeros(weights, node.input_value(1).get_node(), after.kernel - before.kernel)
        wider = openvino.op.Constant(values)
        wider.set_friendly_name(weights.get_friendly_name())
        _rewire(weights, wider)
    told = node.get_attributes()
    grouped = node.get_type_name() == "GroupConvolution"
    make = openvino.opset1.group_convolution if grouped else openvino.opset1.convolution
    made = make(
        node.input_value(0),
        node.input_value(1),
        [told["strides"][0], after.stride],
        [told["pads_begin"][0], after.pads[0]],
        [told["pads_end"][0], after.pads[1]],
        told["dilations"],
    )
    made.set_friendly_name(node.get_friendly_name())
    made.output(0).get_tensor().set_names(node.output(0).get_tensor().get_names())
    _rewire(node, made)


def _with_zeros(weights: Any, dequantized: Any, columns: int) -> NDArray[Any]:
    """Return stored weights with columns more, on the right, that stand for 0."""
    stored: NDArray[Any] = weights.get_data()
    zero = np.broadcast_to(_zero_point(dequantized), (*stored.shape[:-1], 1)).astype(stored.dtype)
    return np.concatenate([stored, *[zero] * columns], axis=-1)


def _zero_point(node: Any) -> NDArray[Any]:
    """Return what is subtracted from stored weights, in a shape that broadcasts with theirs."""
    while node.get_type_name() != "Constant":
        if node.get_type_name() == "Subtract":
            return _constant(node.input_value(1).get_node())
        node = node.input_value(0).get_node()
    return np.zeros(1)


def _constant(node: Any) -> NDArray[Any]:
    if node.get_type_name() == "Constant":
        return np.asarray(node.get_data())
    values = _constant(node.input_value(0).get_node())
    return values.reshape(node.get_output_shape(0)) if node.get_type_name() == "Reshape" else values


def _rewire(old: Any, new: Any) -> None:
    for reader in old.output(0).get_target_inputs():
        reader.replace_source_output(new.output(0))
