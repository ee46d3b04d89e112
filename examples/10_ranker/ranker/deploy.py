"""A trained mixer as a device runs it: constants where training has parameters of parameters, and 1 x 1 convolutions.

Activations are (1, channels, 1, N): the candidates lie along the last axis, and the tokens' numbers are channels. A
layer per token is then one grouped convolution, mixing within blocks another one, and mixing across blocks a plain one:
operators that every INT8 engine has, each output channel with a scale of its own.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from .blocks import EPSILON, MixerBlock, PerToken, PostNormStack, RMSNorm, SiameseStack
from .mixing import Mixing
from .networks import MixerNetwork


def deployed(network: nn.Module) -> nn.Module:
    """Return what to export of a trained network: features (N, width) to logits (N, tasks).

    The mixing matrices are computed here, once. Networks other than UniMixing's are exported as they are, with
    BatchNorm merged into the layers before it.
    """
    network.eval()
    if isinstance(network, MixerNetwork) and isinstance(network.stack, SiameseStack | PostNormStack):
        return DeployedMixer(network).eval()
    return _merged(network)


class DeployedMixer(nn.Module):
    """A mixer with constant matrices."""

    def __init__(self, network: MixerNetwork) -> None:
        super().__init__()
        tokenizer, stack = network.tokenizer, network.stack
        self.padding = tokenizer.padding
        self.project = _grouped(tokenizer.project)
        self.project.weight.data *= network.scale.scale()
        tokens = tokenizer.tokens
        assert isinstance(stack, SiameseStack | PostNormStack)  # `deployed` asked
        self.blocks = nn.ModuleList(_Block(block, tokens) for block in stack.blocks)
        self.after = nn.ModuleList(_Norm(norm, tokens) for norm in stack.after)
        siamese = isinstance(stack, SiameseStack)
        self.before = nn.ModuleList(_Norm(norm, tokens) for norm in stack.before) if siamese else None
        self.last = _Norm(stack.last, tokens) if siamese else None
        self.norm = _Norm(network.norm, tokens)
        head = _merged(network.head)
        self.head = nn.Sequential(
            *[_pointwise(each) if isinstance(each, nn.Linear) else each for each in head.children()]
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, fields * width) to logits (N, tasks)."""
        channels = features.transpose(0, 1)
        if self.padding:
            channels = torch.cat([channels, channels.new_zeros(self.padding, channels.shape[1])])
        x = kept = self.project(channels.unsqueeze(1).unsqueeze(0))
        for number, (block, after) in enumerate(zip(self.blocks, self.after, strict=True)):
            out = block(x + self.before[number](kept) if self.before is not None else x)
            x, kept = after(x + out), kept + out
        if self.last is not None:
            x = x + self.last(kept)
        logits = self.head(self.norm(x))
        return logits.flatten(1, 2).squeeze(0).transpose(0, 1)


class _Norm(nn.Module):
    """RMSNorm in channels: over all of them, or over each token's."""

    def __init__(self, norm: RMSNorm, tokens: int) -> None:
        super().__init__()
        self.tokens = 1 if norm.whole else tokens
        weight = norm.weight.detach()
        self.weight = nn.Parameter((weight.repeat(tokens) if norm.whole else weight).reshape(1, 1, -1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (1, T * D, 1, N)."""
        cut = x.reshape(1, self.tokens, -1, x.shape[3])
        scale = ((cut * cut).mean(dim=2, keepdim=True) + EPSILON).sqrt()
        return (cut / scale * self.weight).reshape(x.shape)


class _Block(nn.Module):
    """MixerBlock in channels."""

    def __init__(self, block: MixerBlock, tokens: int) -> None:
        super().__init__()
        self.mixing, self.norm = _Mix(block.mixing), _Norm(block.norm, tokens)
        self.up, self.gate, self.down = (
            _grouped(each) for each in (block.swiglu.up, block.swiglu.gate, block.swiglu.down)
        )

    def forward(self, z: Tensor) -> Tensor:
        """Map (1, T * D, 1, N) to the same shape."""
        normed = self.norm(z + self.mixing(z))
        gate = self.gate(normed)
        return self.down(self.up(normed) * (gate * torch.sigmoid(gate)))


class _Mix(nn.Module):
    """Both mixing matrices as convolutions: within blocks grouped, then across blocks with the block as an axis."""

    def __init__(self, mixing: Mixing) -> None:
        super().__init__()
        with torch.no_grad():
            across, within = mixing.matrices()
        blocks, block = within.shape[:2]
        self.blocks, self.block = blocks, block
        self.within = nn.Conv2d(blocks * block, blocks * block, 1, groups=blocks, bias=False)
        self.within.weight = nn.Parameter(within.transpose(1, 2).reshape(blocks * block, block, 1, 1).clone())
        self.across = nn.Conv2d(blocks, blocks, 1, bias=False)
        self.across.weight = nn.Parameter(across.reshape(blocks, blocks, 1, 1).clone())

    def forward(self, x: Tensor) -> Tensor:
        """Mix (1, L, 1, N)."""
        local = self.within(x).reshape(1, self.blocks, self.block, x.shape[3])
        return self.across(local).reshape(x.shape)


def _grouped(layer: PerToken) -> nn.Conv2d:
    """Return a layer per token as a grouped convolution over channels."""
    tokens, inputs, outputs = layer.weight.shape
    conv = nn.Conv2d(tokens * inputs, tokens * outputs, 1, groups=tokens)
    conv.weight = nn.Parameter(layer.weight.detach().transpose(1, 2).reshape(tokens * outputs, inputs, 1, 1).clone())
    conv.bias = nn.Parameter(layer.bias.detach().reshape(-1).clone())
    return conv


def _pointwise(layer: nn.Linear) -> nn.Conv2d:
    """Return a linear layer as a convolution over channels."""
    conv = nn.Conv2d(layer.in_features, layer.out_features, 1)
    conv.weight = nn.Parameter(layer.weight.detach()[:, :, None, None].clone())
    conv.bias = nn.Parameter(layer.bias.detach().clone())
    return conv


def _merged(network: nn.Module) -> nn.Module:
    """Merge every BatchNorm into the linear layer before it."""
    from torch.nn.utils.fusion import fuse_linear_bn_eval

    for parent in list(network.modules()):
        if isinstance(parent, nn.Sequential):
            parts = dict(parent.named_children())
            names = list(parts)
            for first, second in pairwise(names):
                if isinstance(parts[first], nn.Linear) and isinstance(parts[second], nn.BatchNorm1d):
                    setattr(parent, first, fuse_linear_bn_eval(parts[first], parts[second]))
                    setattr(parent, second, nn.Identity())
    return network
