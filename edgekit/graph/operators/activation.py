"""Activation functions."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from edgekit.graph.operators.node import Node, Run

Tensor = torch.Tensor


def leaky_relu(node: Node) -> Run:
    """x, or alpha * x below zero."""
    alpha = node.attribute("alpha", 0.01)
    return lambda x: F.leaky_relu(x, alpha)


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """x, or slope * x below zero; the slope broadcasts as ONNX says, from the last axis on."""
    channels = slope.numel()
    per_channel = channels == 1 or (slope.ndim == x.ndim - 1 and slope.shape[0] == channels == x.shape[1])
    if per_channel and x.is_floating_point():
        return F.prelu(x, slope.reshape(-1))
    return torch.where(x < 0, slope * x, x)


def elu(node: Node) -> Run:
    """x, or alpha * (exp(x) - 1) below zero."""
    alpha = node.attribute("alpha", 1.0)
    return lambda x: F.elu(x, alpha)


def celu(node: Node) -> Run:
    """max(0, x) + min(0, alpha * (exp(x / alpha) - 1))."""
    alpha = node.attribute("alpha", 1.0)
    return lambda x: F.celu(x, alpha)


def selu(node: Node) -> Run:
    """Return gamma * x, or gamma * alpha * (exp(x) - 1) below zero."""
    alpha = node.attribute("alpha", 1.67326319217681884765625)
    gamma = node.attribute("gamma", 1.05070102214813232421875)
    return lambda x: gamma * F.elu(x, alpha)


def thresholded_relu(node: Node) -> Run:
    """Pass x above alpha, else zero."""
    alpha = node.attribute("alpha", 1.0)
    return lambda x: F.threshold(x, alpha, 0.0)


def hard_sigmoid(node: Node) -> Run:
    """Return alpha * x + beta, limited to [0, 1]."""
    alpha, beta = node.attribute("alpha", 0.2), node.attribute("beta", 0.5)
    return lambda x: torch.clamp(alpha * x + beta, 0.0, 1.0)


def gelu(node: Node) -> Run:
    """Return x * Phi(x), exactly or with tanh in place of the error function."""
    approximate = node.attribute("approximate", "none")
    return lambda x: F.gelu(x, approximate=approximate)


def swish(node: Node) -> Run:
    """Return x * sigmoid(alpha * x)."""
    alpha = node.attribute("alpha", 1.0)
    return F.silu if alpha == 1.0 else lambda x: x * torch.sigmoid(alpha * x)


def shrink(node: Node) -> Run:
    """Move values beyond +-lambd towards zero by bias; the others become zero."""
    limit, bias = node.attribute("lambd", 0.5), node.attribute("bias", 0.0)

    def run(x: Tensor) -> Tensor:
        moved = torch.where(x > limit, x - bias, torch.zeros_like(x))
        return torch.where(x < -limit, x + bias, moved).to(x.dtype)

    return run


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)), without overflow."""
    return torch.logaddexp(x, torch.zeros_like(x))


def softmax(node: Node) -> Run:
    """Softmax along one axis; up to opset 12 over all axes from `axis` on, flattened."""
    return _along_axis(node, F.softmax)


def log_softmax(node: Node) -> Run:
    """Logarithm of the softmax, with the same axis rules."""
    return _along_axis(node, F.log_softmax)


def hardmax(node: Node) -> Run:
    """1 at the first largest value along an axis, 0 elsewhere."""

    def one_hot(x: Tensor, axis: int) -> Tensor:
        return torch.zeros_like(x).scatter(axis, x.argmax(axis, keepdim=True), 1.0)

    return _along_axis(node, one_hot)


def _along_axis(node: Node, function: Run) -> Run:
    if node.opset >= 13:
        axis = node.attribute("axis", -1)
        return lambda x: function(x, axis)
    first = node.attribute("axis", 1)

    def run(x: Tensor) -> Tensor:
        rows = math.prod(x.shape[:first] if first >= 0 else x.shape[: x.ndim + first])
        flat: Tensor = function(x.reshape(rows, -1), 1)
        return flat.reshape(x.shape)

    return run
