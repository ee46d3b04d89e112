"""Which nodes of an ONNX model an engine's kernels compute.

Engines rename, fuse and insert nodes. What stays are tensors: a kernel computes whatever lies between its inputs and
its outputs. So each kernel is given the nodes found by walking back from its outputs, up to what an earlier one has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LAYOUT = frozenset({"Transpose", "ReorderInput", "ReorderOutput"})
"""Operators that engines insert to lay tensors out anew: their values stay the same."""

_SUFFIX = re.compile(r"(_token_\d+|_nchwc|_fused.*|/WithoutBiases)+$")
"""What engines append to a node's or a tensor's name."""

_COUNTER = re.compile(r"_token_\d+$")


@dataclass(frozen=True)
class Kernel:
    """One node of an engine's own graph, in the order that they run."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class OnnxNodes:
    """The named nodes of an ONNX model, found by their names and by the tensors that they give."""

    def __init__(self, model: Any) -> None:
        self._inputs = {node.name: tuple(node.input) for node in model.graph.node if node.name}
        self._order = {name: index for index, name in enumerate(self._inputs)}
        self._producer = {name: node.name for node in model.graph.node if node.name for name in node.output if name}

    def called(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the nodes that names of nodes or tensors stand for, in the model's order; unknown names are left."""
        return self._sorted({node for name in names for node in self._resolved(name)})

    def stable_name(self, kernel: Kernel, known: Mapping[str, str]) -> str:
        """Return a kernel's name without the engine's counters, which differ from one load to the next."""
        if self._is_inserted(kernel) or not self._resolved(kernel.name):
            tensors = [known[name] for name in (*kernel.outputs, *kernel.inputs) if name in known]
            return f"{kernel.kind} of {tensors[0]}" if tensors else _COUNTER.sub("", kernel.name or kernel.kind)
        return _COUNTER.sub("", kernel.name)

    def position(self, kernel: Kernel, known: Mapping[str, str]) -> int:
        """Return where in the model a kernel's results are made: engines order branches differently at every load."""
        made = [self._producer[known[name]] for name in kernel.outputs if known.get(name) in self._producer]
        return max((self._order[node] for node in made or self._resolved(kernel.name)), default=-1)

    def computed_by(self, kernels: Sequence[Kernel], known: Mapping[str, str]) -> list[tuple[str, ...]]:
        """Return what each kernel computes; empty for what the engine added."""
        taken: set[str] = set()
        return [self._sorted(self._claim(kernel, known, taken)) for kernel in kernels]

    def _claim(self, kernel: Kernel, known: Mapping[str, str], taken: set[str]) -> set[str]:
        if self._is_inserted(kernel):
            return set()
        stop = {known[name] for name in kernel.inputs if name in known}
        ends = [known[name] for name in kernel.outputs if name in known]
        waiting = [self._producer[name] for name in ends if name in self._producer] or list(self._resolved(kernel.name))
        claimed: set[str] = set()
        while waiting:
            node = waiting.pop()
            if node in taken:
                continue
            taken.add(node)
            claimed.add(node)
            waiting += [self._producer[name] for name in self._inputs[node] if name in self._producer.keys() - stop]
        return claimed

    def known_tensors(self, kernels: Sequence[Kernel]) -> dict[str, str]:
        """Return, for tensors of the engine's graph, the model's tensors that have the same values."""
        inserted = [kernel for kernel in kernels if self._is_inserted(kernel)]
        known = {name: name for kernel in kernels for name in kernel.outputs if name in self._producer}
        for kernel in reversed(inserted):
            if kernel.outputs[0] in known:
                known.setdefault(kernel.inputs[0], known[kernel.outputs[0]])
        for kernel in inserted:
            # What is no node's output is an input of the model or a constant, and there any walk ends by itself.
            known.setdefault(kernel.outputs[0], known.get(kernel.inputs[0], kernel.inputs[0]))
        return known

    def _is_inserted(self, kernel: Kernel) -> bool:
        return kernel.kind in LAYOUT and kernel.name not in self._order

    def _resolved(self, name: str) -> tuple[str, ...]:
        for candidate in (name, _SUFFIX.sub("", name)):
            if candidate in self._order:
                return (candidate,)
            if candidate in self._producer:
                return (self._producer[candidate],)
        return ()

    def _sorted(self, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted(names, key=self._order.__getitem__))


def onnx_nodes(model: bytes) -> OnnxNodes | None:
    """Return the nodes of a model; none where the package onnx is not installed."""
    try:
        import onnx
    except ImportError:
        return None
    return OnnxNodes(onnx.load_model_from_string(model))
