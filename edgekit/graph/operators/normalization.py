"""Normalizations, as they are at inference."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from edgekit.graph.operators.node import Node, Run

Tensor = torch.Tensor


def batch_normalization(node: Node) -> Run:
    """Normalize each channel by stored mean and variance."""
    if node.attribute("training_mode", 0):
        raise node.unsupported(what="training_mode = 1")
    epsilon = node.attribute("epsilon", 1e-5)

    def run(x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        if not (mean.requires_grad or variance.requires_grad):
            return F.batch_norm(x, mean, variance, scale, bias, eps=epsilon)
        factor = scale * torch.rsqrt(variance + epsilon)
        shape = (-1, *[1] * (x.ndim - 2))
        return x * factor.reshape(shape) + (bias - mean * factor).reshape(shape)

    return run


def instance_normalization(node: Node) -> Run:
    """Normalize each channel of each sample by its own mean and variance."""
    epsilon = node.attribute("epsilon", 1e-5)
    return lambda x, scale, bias: F.instance_norm(x, weight=scale, bias=bias, eps=epsilon)


def layer_normalization(node: Node) -> Run:
    """Normalize over all axes from `axis` on; mean and inverse deviation as further outputs."""
    axis, epsilon = node.attribute("axis", -1), node.attribute("epsilon", 1e-5)

    def run(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Any:
        shape = x.shape[axis:]
        if node.output_count == 1 and scale.shape == shape and (bias is None or bias.shape == shape):
            return F.layer_norm(x, shape, scale, bias, epsilon)
        axes = list(range(axis % x.ndim, x.ndim))
        variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
        inverse = torch.rsqrt(variance + epsilon)
        y = (x - mean) * inverse * scale
        return (y if bias is None else y + bias), mean, inverse

    return run


def rms_normalization(node: Node) -> Run:
    """Divide by the root of the mean square over all axes from `axis` on."""
    axis, epsilon = node.attribute("axis", -1), node.attribute("epsilon", 1e-5)

    def run(x: Tensor, scale: Tensor) -> Tensor:
        axes = list(range(axis % x.ndim, x.ndim))
        return x * torch.rsqrt((x * x).mean(axes, keepdim=True) + epsilon) * scale

    return run


def group_normalization(node: Node) -> Run:
    """Normalize groups of channels; up to opset 20 scale and bias are one number per group, then per channel."""
    groups, epsilon = node.attribute("num_groups"), node.attribute("epsilon", 1e-5)

    def run(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        if node.opset < 21:
            repeats = x.shape[1] // groups
            scale, bias = scale.repeat_interleave(repeats), bias.repeat_interleave(repeats)
        return F.group_norm(x, groups, scale, bias, epsilon)

    return run


def lp_normalization(node: Node) -> Run:
    """Divide by the 1-norm or 2-norm along an axis; zero stays zero."""
    axis, p = node.attribute("axis", -1), node.attribute("p", 2)

    def run(x: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(x, p, axis, keepdim=True)
        safe = torch.where(norm == 0, torch.ones_like(norm), norm)
        return torch.where(norm == 0, torch.zeros_like(x), x / safe)

    return run


def mean_variance_normalization(node: Node) -> Run:
    """Take off the mean and divide by the deviation over the named axes."""
    axes = node.attribute("axes", [0, 2, 3])

    def run(x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
        return (x - mean) / (torch.sqrt(variance) + 1e-9)

    return run


def local_response_normalization(node: Node) -> Run:
    """Divide by a power of the sum of squares over neighbouring channels."""
    size, bias = node.attribute("size"), node.attribute("bias", 1.0)
    alpha, beta = node.attribute("alpha", 1e-4), node.attribute("beta", 0.75)

    def run(x: Tensor) -> Tensor:
        channels = x.shape[1]
        around = F.pad((x * x).transpose(1, -1), ((size - 1) // 2, size - 1 - (size - 1) // 2)).transpose(1, -1)
        sums = torch.stack([around[:, start : start + channels] for start in range(size)]).sum(0)
        return x / torch.pow(bias + alpha / size * sums, beta)

    return run
