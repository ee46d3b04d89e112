"""Fake quantization: a tensor rounded to its integer grid and back, with gradients for the values and for the scale.

The result is `dequantize(quantize(values))` of `edgekit.graph.numerics`, bit for bit.

Sources: LSQ, Esser et al., "Learned Step Size Quantization", ICLR 2020 (gradient of the scale, and its size); QDrop,
Wei et al., "QDrop: Randomly Dropping Quantization for Extremely Low-bit Post-Training Quantization", ICLR 2022.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgekit.graph.numerics import integer_limits
from edgekit.graph.qdq import QuantizationParameters
from edgekit.targets import TensorScheme


@dataclass(frozen=True)
class Drop:
    """QDrop: every value of an activation skips its quantization with a probability, drawn anew each time.

    Attributes:
        probability: Of a value to stay in floating point; counted in steps of 1 / 256.
        generator: Draws, on the device of the activations.
    """

    probability: float
    generator: torch.Generator


class LearnedScale:
    """The scale of one activation, or of a group that shares one; learned as a factor of where it starts.

    A change of 1 moves the end of the grid by one step, so that one learning rate fits every range and every number of
    bits, and a scale cannot turn negative. The zero point stays: only the width of the steps is learned.

    Args:
        parameters: Where to start.
        scheme: The grid.
        device: As torch names it.

    Attributes:
        log_factor: The learned parameter: natural logarithm of scale / first scale, times the grid's largest level.
    """

    def __init__(
        self, parameters: QuantizationParameters, scheme: TensorScheme, device: torch.device | str = "cpu"
    ) -> None:
        self.scheme = scheme
        self.axis = parameters.axis
        self._low, self._high = integer_limits(scheme)
        self._zero_point_dtype = parameters.zero_point.dtype
        self._start = torch.from_numpy(np.array(parameters.scale, np.float32)).to(device)
        self._zero_point = torch.from_numpy(np.array(parameters.zero_point, np.float32)).to(device)
        self._levels = torch.maximum(self._high - self._zero_point, self._zero_point - self._low).max()
        self.log_factor = torch.zeros_like(self._start, requires_grad=True)

    @property
    def scale(self) -> torch.Tensor:
        """The scale, with a gradient to `log_factor`."""
        return self._start * torch.exp(self.log_factor / self._levels)

    def __call__(self, values: torch.Tensor, drop: Drop | None = None) -> torch.Tensor:
        """Return the values on the grid; where `drop` says so, as they are."""
        kept = None if drop is None else _drawn(values, drop)
        return fake_quantize(values, self.scale, self._zero_point, self._low, self._high, self.axis, kept)

    def export(self) -> QuantizationParameters:
        """Return scale and zero point as a Q/DQ model stores them."""
        zero_point: NDArray[Any] = self._zero_point.cpu().numpy().astype(self._zero_point_dtype)
        scale = self.scale.detach().cpu().numpy().astype(np.float32)
        return QuantizationParameters(scale=scale, zero_point=zero_point, axis=self.axis)


def fake_quantize(
    values: torch.Tensor,
    scale: torch.Tensor,
    zero_point: torch.Tensor,
    low: int,
    high: int,
    axis: int | None = None,
    kept: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return values rounded to the grid low .. high and back, of the same shape.

    The gradient passes to values inside the grid as it is and stops at values beyond it. The gradient of the scale is
    LSQ's: rounding error inside the grid, the clipped level beyond it, times 1 / sqrt(values per scale * levels).

    Args:
        values: float32, of any shape.
        scale: float32, a scalar or one per index of `axis`.
        zero_point: float32 holding integers, shaped like the scale.
        low: The smallest integer.
        high: The largest integer.
        axis: The channel axis; none where the scale is a scalar.
        kept: 1.0 where a value stays as it is, else 0.0; none: nowhere.
    """
    shape = () if axis is None else tuple(-1 if index == axis else 1 for index in range(values.ndim))
    result: torch.Tensor = _FakeQuantize.apply(  # type: ignore[no-untyped-call]
        values, scale.reshape(shape), zero_point.reshape(shape), low, high, kept
    )
    return result


def _drawn(values: torch.Tensor, drop: Drop) -> torch.Tensor:
    """Draw which values stay, 1.0 or 0.0: from a byte each, which is several times faster than from a float32."""
    words = torch.empty(-(-values.numel() // 8), dtype=torch.int64, device=values.device)
    octets = words.random_(-(2**63), None, generator=drop.generator).view(torch.uint8)
    # Compared with "at most", because 256 itself is no byte.
    kept = octets[: values.numel()] <= max(round(drop.probability * 256), 1) - 1
    return kept.to(values.dtype).reshape(values.shape)


class _FakeQuantize(torch.autograd.Function):
    """Straight through where the grid reaches; x + (round(x) - x) would not be round(x) in float32.

    Masks are numbers and products: selecting by bool takes several times longer on a CPU.
    """

    @staticmethod
    def forward(
        ctx: Any,
        values: torch.Tensor,
        scale: torch.Tensor,
        zero_point: torch.Tensor,
        low: int,
        high: int,
        kept: torch.Tensor | None,
    ) -> torch.Tensor:
        steps = values / scale
        # Clipped around the zero point, which is the same as clipping the integers: all of them are exact in float32.
        levels = torch.round(steps).clamp_(low - zero_point, high - zero_point)
        ctx.save_for_backward(steps, levels, kept)
        ctx.scale_shape = scale.shape
        ctx.gradient_scale = 1.0 / torch.sqrt(
            values.numel() / scale.numel() * torch.maximum(high - zero_point, zero_point - low).max()
        )
        result = levels * scale
        return result if kept is None else torch.lerp(result, values, kept)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        steps, levels, kept = ctx.saved_tensors
        inside = ((levels - steps).abs_() <= 0.5).to(gradient.dtype)
        to_scale = None
        if ctx.needs_input_grad[1]:
            slope = torch.addcmul(levels, steps, inside, value=-1.0)
            if kept is not None:
                slope.addcmul_(slope, kept, value=-1.0)
            to_scale = (slope * gradient).sum_to_size(ctx.scale_shape) * ctx.gradient_scale
        passed = inside if kept is None else torch.maximum(inside, kept)
        return passed * gradient, to_scale, None, None, None, None
