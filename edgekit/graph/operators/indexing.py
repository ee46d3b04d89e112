"""Operators that read or write at indices."""

from __future__ import annotations

import math

import torch

from edgekit.graph.operators.node import Node, Run

Tensor = torch.Tensor

_SCATTER = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def gather(node: Node) -> Run:
    """Take slices of an axis at indices; the indices' shape takes that axis's place."""
    axis = node.attribute("axis", 0)
    known = node.constant(1) if node.is_constant(1) else None
    if known is not None and known.ndim == 0:
        index = int(known)
        return lambda x, _: x.select(axis, index)

    def run(x: Tensor, indices: Tensor) -> Tensor:
        place = axis % x.ndim
        flat = indices.reshape(-1)
        flat = torch.where(flat < 0, flat + x.shape[place], flat)
        taken = x.index_select(place, flat)
        return taken.reshape(*x.shape[:place], *indices.shape, *x.shape[place + 1 :])

    return run


def gather_elements(node: Node) -> Run:
    """Take, at each place, the element whose index along an axis is given there."""
    axis = node.attribute("axis", 0)
    return lambda x, indices: x.gather(axis, _from_start(indices, x.shape[axis]))


def gather_nd(node: Node) -> Run:
    """Take slices at index tuples, batch by batch over the first axes."""
    batch_axes = node.attribute("batch_dims", 0)

    def run(x: Tensor, indices: Tensor) -> Tensor:
        batch = x.shape[:batch_axes]
        data = x.reshape(math.prod(batch), *x.shape[batch_axes:])
        tuples = indices.reshape(math.prod(batch), -1, indices.shape[-1])
        rows = torch.arange(data.shape[0], device=x.device).reshape(-1, 1).expand(tuples.shape[:2])
        taken = data[(rows, *tuples.unbind(-1))]
        return taken.reshape(*indices.shape[:-1], *x.shape[batch_axes + indices.shape[-1] :])

    return run


def scatter_elements(node: Node) -> Run:
    """Write, or add, multiply, and so on, elements at indices along an axis."""
    axis, how = node.attribute("axis", 0), node.attribute("reduction", "none")

    def run(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        places = _from_start(indices, x.shape[axis])
        if how == "none":
            return x.scatter(axis, places, updates)
        return x.scatter_reduce(axis, places, updates, _SCATTER[how])

    return run


def scatter_nd(node: Node) -> Run:
    """Write, or add, multiply, and so on, slices at index tuples."""
    how = node.attribute("reduction", "none")

    def run(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        depth = indices.shape[-1]
        sizes = torch.tensor(x.shape[:depth], device=x.device)
        tuples = _from_start(indices.reshape(-1, depth), sizes)
        strides = torch.tensor([math.prod(x.shape[axis + 1 : depth]) for axis in range(depth)], device=x.device)
        rows = (tuples * strides).sum(-1)
        data = x.reshape(math.prod(x.shape[:depth]), -1)
        news = updates.reshape(rows.shape[0], data.shape[1])
        places = rows.unsqueeze(1).expand_as(news)
        if how == "none":
            return data.scatter(0, places, news).reshape(x.shape)
        return data.scatter_reduce(0, places, news, _SCATTER[how]).reshape(x.shape)

    return run


def one_hot(node: Node) -> Run:
    """Write one value where the class is, another elsewhere; classes beyond the depth are nowhere."""
    axis, depths = node.attribute("axis", -1), node.constant(1)
    assert depths is not None
    depth = int(depths.reshape(-1)[0])

    def run(indices: Tensor, _: Tensor, values: Tensor) -> Tensor:
        classes = torch.arange(depth, device=indices.device)
        place = axis % (indices.ndim + 1)
        shaped = classes.reshape([-1 if one == place else 1 for one in range(indices.ndim + 1)])
        wanted = indices.to(torch.int64)
        hit = torch.where(wanted < 0, wanted + depth, wanted).unsqueeze(place) == shaped
        return torch.where(hit, values[1], values[0])

    return run


def _from_start(indices: Tensor, size: int | Tensor) -> Tensor:
    """Count negative indices from the start."""
    wide = indices.to(torch.int64)
    return torch.where(wide < 0, wide + size, wide)
