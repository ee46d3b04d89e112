"""Sampling an image at given points."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from edgekit.graph.operators.node import Node, Run

Tensor = torch.Tensor

_MODES = {"linear": "bilinear", "bilinear": "bilinear", "nearest": "nearest", "cubic": "bicubic", "bicubic": "bicubic"}


def grid_sample(node: Node) -> Run:
    """Sample at the points of a grid, whose coordinates run from -1 to 1."""
    mode = _MODES[node.attribute("mode", "linear")]
    padding = node.attribute("padding_mode", "zeros")
    corners = bool(node.attribute("align_corners", 0))
    return lambda x, grid: F.grid_sample(x, grid, mode=mode, padding_mode=padding, align_corners=corners)


def affine_grid(node: Node) -> Run:
    """Make a sampling grid from affine matrices."""
    sizes = node.integers(1)
    assert sizes is not None
    corners = bool(node.attribute("align_corners", 0))
    return lambda theta, *_: F.affine_grid(theta, sizes, align_corners=corners)
