"""A small row-anchor lane network with what real ones have: residual sums, pooling, depthwise convolutions, a skip.

The input is 1 x 3 x 160 x 320, RGB, 0 to 1. For each of four lane slots and each of 20 rows the network says in which
of 40 columns the line lies, where in that column, and whether there is one: the outputs of QuantLaneNet
(github.com/ducamvinh/QuantLaneNet), from an architecture of our own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

INPUT_SIZE = (160, 320)
LANES = 4
STRIDE = 8
FIRST_Y = 3.5
ROWS, COLUMNS = INPUT_SIZE[0] // STRIDE, INPUT_SIZE[1] // STRIDE


class Conv(nn.Sequential):
    """Convolution, BatchNorm and, unless `active` is false, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1, active: bool = True
    ) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            *([nn.ReLU()] if active else []),
        )


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut (ResNet, He et al., CVPR 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(Conv(inputs, outputs, 3, stride), Conv(outputs, outputs, 3, active=False))
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else Conv(inputs, outputs, 1, stride, active=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        return F.relu(self.body(x) + self.shortcut(x))


class Mix(nn.Module):
    """A large depthwise convolution and a narrow pair of 1 x 1 convolutions, beside the identity."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            Conv(channels, channels, size, groups=channels),
            Conv(channels, channels, 1),
            Conv(channels, channels, 1, active=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to the same shape."""
        return F.relu(x + self.body(x))


class LaneNet(nn.Module):
    """The reference lane network; see the module's docstring for input and outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(Conv(3, 16, 3, stride=2), nn.MaxPool2d(2))
        self.quarter = Residual(16, 24)
        self.eighth = nn.Sequential(Residual(24, 48, stride=2), Mix(48, 5))
        self.sixteenth = nn.Sequential(Residual(48, 80, stride=2), Mix(80, 7), Mix(80, 7), Mix(80, 7))
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.join = nn.Sequential(Conv(48 + 80, 64, 1), Mix(64, 5))
        self.column = nn.Sequential(nn.Dropout2d(0.05), nn.Conv2d(64, LANES, 1))
        self.within = nn.Conv2d(64, LANES, 1)
        self.exists = nn.Sequential(
            Conv(64, 16, 1), nn.Conv2d(16, 48, (3, COLUMNS), padding=(1, 0)), nn.ReLU(), nn.Conv2d(48, LANES, 1)
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return cls (N, 4, 20, 40) logits, vertical (N, 4, 20, 1) and offset (N, 4, 20, 40), both 0 to 1."""
        eighth = self.eighth(self.quarter(self.stem(image)))
        features = self.join(torch.cat([eighth, self.up(self.sixteenth(eighth))], dim=1))
        return self.column(features), torch.sigmoid(self.exists(features)), torch.sigmoid(self.within(features))
