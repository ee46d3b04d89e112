"""Learned rounding of weights: up or down, whichever serves the network's outputs.

Source: AdaRound, Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization", ICML 2020.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgekit.graph.numerics import integer_limits
from edgekit.graph.qdq import QuantizationParameters
from edgekit.targets import TensorScheme

ZETA, GAMMA = 1.1, -0.1
"""The sigmoid is stretched to [GAMMA, ZETA] and clipped to [0, 1], so that it reaches both ends."""

_CLEAR_OF_TIES = 1e-3


class LearnedRounding:
    """The weights of one tensor: floor(W / scale) + h, with a learned h in [0, 1] per weight.

    While it is learned, h = clip(sigmoid(v) * (ZETA - GAMMA) + GAMMA, 0, 1). Hardened, h is 1 where it is at least
    0.5. Untouched and hardened it rounds to nearest, halves to even, as `edgekit.graph.numerics.quantize` does.

    Args:
        weights: float32.
        parameters: Scale and zero point; they stay.
        scheme: The grid.
        device: As torch names it.
        integers: Where the rounding starts, if not at the nearest: integers of an earlier learning.

    Attributes:
        logits: v, the learned parameter, shaped like the weights.
    """

    def __init__(
        self,
        weights: NDArray[np.float32],
        parameters: QuantizationParameters,
        scheme: TensorScheme,
        device: torch.device | str = "cpu",
        integers: NDArray[Any] | None = None,
    ) -> None:
        self._low, self._high = integer_limits(scheme)
        self._dtype = scheme.dtype
        shape = () if parameters.axis is None else [-1 if i == parameters.axis else 1 for i in range(weights.ndim)]
        self._scale = torch.from_numpy(np.array(parameters.scale, np.float32).reshape(shape)).to(device)
        self._zero_point = torch.from_numpy(np.array(parameters.zero_point, np.float32).reshape(shape)).to(device)
        steps = torch.from_numpy(np.array(weights, np.float32)).to(device) / self._scale
        self._floor = torch.floor(steps)
        up = torch.round(steps) > self._floor
        if integers is not None:
            up = torch.from_numpy(integers.astype(np.float32)).to(device) - self._zero_point > self._floor
        self.logits = _logits(_fractions(steps - self._floor, up)).requires_grad_()

    @property
    def scale(self) -> torch.Tensor:
        """The scale as a vector of channels, or a scalar."""
        return self._scale.reshape(-1) if self._scale.ndim else self._scale

    def h(self) -> torch.Tensor:
        """Return how far each weight is rounded up, 0 to 1, with a gradient to `logits`."""
        return (torch.sigmoid(self.logits) * (ZETA - GAMMA) + GAMMA).clamp(0.0, 1.0)

    def soft(self) -> torch.Tensor:
        """Return the weights with h as it is, for learning."""
        return (self._integers(self.h()) - self._zero_point) * self._scale

    def straight(self) -> torch.Tensor:
        """Return the weights as the quantized network has them, with the gradient that `soft` has.

        What is learned from is then the very network that is exported, however few steps there are: soft rounding
        needs enough of them for every h to reach 0 or 1.
        """
        h = self.h()
        up = self._up()
        return (self._integers(up + (h - h.detach())) - self._zero_point) * self._scale

    def hard(self) -> torch.Tensor:
        """Return the weights as the quantized network has them."""
        with torch.no_grad():
            return (self._integers(self._up()) - self._zero_point) * self._scale

    def integers(self) -> NDArray[Any]:
        """Return the integers of the quantized network."""
        with torch.no_grad():
            integers: NDArray[Any] = self._integers(self._up()).cpu().numpy().astype(self._dtype)
        return integers

    def regularizer(self, beta: float) -> torch.Tensor:
        """Return the sum of 1 - |2 h - 1|^beta: 0 where every h is 0 or 1, 1 for each that is 0.5."""
        return (1.0 - (2.0 * self.h() - 1.0).abs().pow(beta)).sum()

    def _up(self) -> torch.Tensor:
        return (self.h().detach() >= 0.5).to(self._floor.dtype)

    def _integers(self, up: torch.Tensor) -> torch.Tensor:
        return (self._floor + up + self._zero_point).clamp(self._low, self._high)


def beta_at(progress: float, start: float = 20.0, end: float = 2.0, warm_up: float = 0.2) -> float | None:
    """Return the regularizer's exponent at a point of the learning, 0 to 1; none in the warm-up, which has none.

    Large exponents leave h free around 0.5, small ones push it to 0 or 1.
    """
    if progress < warm_up:
        return None
    return start + (end - start) * min((progress - warm_up) / (1.0 - warm_up), 1.0)


def _fractions(fractions: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """Return the fractions of a step, those on the wrong side of 0.5 moved just over it, and none on it."""
    return torch.where(up, fractions.clamp(min=0.5 + _CLEAR_OF_TIES), fractions.clamp(max=0.5 - _CLEAR_OF_TIES))


def _logits(fractions: torch.Tensor) -> torch.Tensor:
    return -torch.log((ZETA - GAMMA) / (fractions - GAMMA) - 1.0)
