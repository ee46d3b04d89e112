"""The other parts of a mixer: tokens out of features, per-token networks, norms and how blocks are stacked.

Activations are (T, N, D), tokens first: every per-token product is then one batched matrix product without a copy.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .mixing import Mixing, token_mixer

EPSILON = 1e-6


class RMSNorm(nn.Module):
    """Divide by the root mean square of a sample, then scale (Zhang and Sennrich, 2019).

    UniMixer's formula normalises a flattened sample, all T x D numbers by one (`whole`), while notes on the paper also
    speak of tokens. By token, a rare id's vector, which training keeps small, would be as loud as any other.
    """

    def __init__(self, width: int, whole: bool = True) -> None:
        super().__init__()
        self.weight, self.whole = nn.Parameter(torch.ones(width)), whole

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (T, N, width)."""
        return _Unit.apply(x, self.whole) * self.weight


class _Unit(torch.autograd.Function):
    """x / rms(x); written out, since on CPUs PyTorch's own takes twice the time of the matrix products around it."""

    @staticmethod
    def forward(context: Any, x: Tensor, whole: bool) -> Tensor:
        scale = (_mean(x, x, whole) + EPSILON).rsqrt_()
        unit = x * scale
        context.save_for_backward(unit, scale)
        context.whole = whole
        return unit

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        unit, scale = context.saved_tensors
        along = _mean(gradient, unit, context.whole).neg_()
        return torch.addcmul(gradient, unit, along).mul_(scale), None


def _mean(x: Tensor, y: Tensor, whole: bool) -> Tensor:
    """Return the mean product over a token, (T, N, 1), or over a sample, (1, N, 1)."""
    products = torch.linalg.vecdot(x, y) / x.shape[-1]
    return (products.mean(dim=0, keepdim=True) if whole else products).unsqueeze(-1)


class BatchScale(nn.Module):
    """Divide by the root mean square of all numbers of a batch; evaluating, by its moving average.

    L2 makes embeddings small, those of rare ids and of useless fields most. One number for all of them keeps that
    difference, which BatchNorm's number for every feature would take back.
    """

    square: Tensor

    def __init__(self, momentum: float = 0.1) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("square", torch.ones(1))

    def scale(self) -> Tensor:
        """Return what features are multiplied with when evaluating, (1)."""
        return (self.square + 1e-12).rsqrt()

    def forward(self, features: Tensor) -> Tensor:
        """Scale (N, features)."""
        if not self.training:
            return features * self.scale()
        square = features.square().mean()
        self.square.lerp_(square.detach(), self.momentum)
        return features * (square + 1e-12).rsqrt()


class Dropout(nn.Module):
    """Dropout with one random byte an element, so that `share` is rounded to 1/256; a third of the time on a CPU."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.dropped = round(share * 256)

    def forward(self, x: Tensor) -> Tensor:
        """Drop and scale while training; otherwise return x."""
        if not self.training or not self.dropped:
            return x
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64, device=x.device).random_(-(2**63), None)
        kept = words.view(torch.uint8)[: x.numel()].view(x.shape) >= self.dropped
        return x * (kept.to(x.dtype) * (256 / (256 - self.dropped)))


class PerToken(nn.Module):
    """A linear layer with weights of its own for every token."""

    def __init__(self, tokens: int, inputs: int, outputs: int, gain: float = 1.0) -> None:
        super().__init__()
        bound = gain * math.sqrt(3 / inputs)
        self.weight = nn.Parameter(torch.empty(tokens, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(tokens, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map (T, N, inputs) to (T, N, outputs)."""
        return torch.baddbmm(self.bias, x, self.weight)


class Tokenizer(nn.Module):
    """Cut the concatenated fields into T equal pieces, filled up with zeros, and project each with its own weights."""

    def __init__(self, features: int, tokens: int, width: int) -> None:
        super().__init__()
        self.tokens, self.piece = tokens, -(-features // tokens)
        self.padding = tokens * self.piece - features
        self.project = PerToken(tokens, self.piece, width)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, features) to (T, N, width)."""
        if self.padding:
            # F.pad would not be folded into constants by the exporter.
            features = torch.cat([features, features.new_zeros(features.shape[0], self.padding)], dim=1)
        pieces = features.reshape(features.shape[0], self.tokens, self.piece)
        return self.project(pieces.transpose(0, 1))


class SwiGLU(nn.Module):
    """Per-token gated network: down(up(x) * swish(gate(x))), hidden width `expansion` x D."""

    def __init__(self, tokens: int, width: int, expansion: int) -> None:
        super().__init__()
        self.up, self.gate = (PerToken(tokens, width, expansion * width) for _ in range(2))
        self.down = PerToken(tokens, expansion * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (T, N, D) to the same shape."""
        return self.down(self.up(x) * F.silu(self.gate(x)))


class MixerBlock(nn.Module):
    """UniMixer's block: swiglu(norm(z + mixing(z))); the residual around it belongs to the stack."""

    def __init__(
        self, mixing: Mixing, tokens: int, width: int, expansion: int, dropout: float, whole: bool = True
    ) -> None:
        super().__init__()
        self.mixing, self.norm = mixing, RMSNorm(width, whole)
        self.swiglu, self.dropout = SwiGLU(tokens, width, expansion), Dropout(dropout)

    def forward(self, z: Tensor) -> Tensor:
        """Map (T, N, D) to the same shape."""
        return self.dropout(self.swiglu(self.norm(z + self.mixing(z))))


class SiameseStack(nn.Module):
    """Two coupled streams, one normalised after each block and one before it (SiameseNorm, arXiv 2602.08064)."""

    def __init__(self, blocks: list[MixerBlock], width: int, whole: bool = True) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.before = nn.ModuleList(RMSNorm(width, whole) for _ in blocks)
        self.after = nn.ModuleList(RMSNorm(width, whole) for _ in blocks)
        self.last = RMSNorm(width, whole)

    def forward(self, x: Tensor) -> Tensor:
        """Map (T, N, D) to the same shape."""
        kept = x
        for block, before, after in zip(self.blocks, self.before, self.after, strict=True):
            out = block(x + before(kept))
            x, kept = after(x + out), kept + out
        return x + self.last(kept)


class PostNormStack(nn.Module):
    """One stream, normalised after each block: what SiameseNorm is compared with."""

    def __init__(self, blocks: list[MixerBlock], width: int, whole: bool = True) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.after = nn.ModuleList(RMSNorm(width, whole) for _ in blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Map (T, N, D) to the same shape."""
        for block, after in zip(self.blocks, self.after, strict=True):
            x = after(x + block(x))
        return x


class RankMixerBlock(nn.Module):
    """Permute heads and tokens, add and normalise, then a GELU network per token (RankMixer, arXiv 2507.15551)."""

    def __init__(self, tokens: int, width: int, expansion: int, dropout: float) -> None:
        super().__init__()
        self.tokens = tokens
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.rise = PerToken(tokens, width, expansion * width)
        self.down = PerToken(tokens, expansion * width, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (T, N, D) to the same shape."""
        mixed = token_mixer(x.transpose(0, 1), self.tokens).transpose(0, 1)
        x = self.first(x + mixed)
        return self.second(x + self.dropout(self.down(F.gelu(self.rise(x)))))
