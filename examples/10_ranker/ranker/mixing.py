"""Token mixing: TokenMixer as the fixed case, UniMixing, and UniMixing-Lite.

After "UniMixer" (arXiv 2604.00590), formulas and their open points as in METHODS: a sample is flattened to L = T x D
numbers and cut into L / B blocks. Every block has a local matrix (B x B), and one global matrix (L/B x L/B) mixes the
blocks. All matrices are doubly stochastic and do not depend on the input, so a trained network holds constants.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

STEPS, TOLERANCE = 200, 1e-6


def token_mixer(x: Tensor, heads: int) -> Tensor:
    """Permute (N, T, D) to (N, heads, T * D / heads): head h of all tokens side by side (RankMixer, 2507.15551)."""
    samples, tokens, width = x.shape
    cut = x.reshape(samples, tokens, heads, width // heads)
    return cut.transpose(1, 2).reshape(samples, heads, tokens * width // heads)


def sinkhorn(logits: Tensor, tau: float = 1.0, symmetric: bool = True) -> Tensor:
    """Return the doubly stochastic matrix that scaling rows and columns of exp(logits / tau) leads to, (..., n, n).

    A symmetric matrix needs one scaling for rows and columns alike; its damped fixed-point iteration keeps the result
    exactly symmetric at every step, which alternating rows and columns does not (Knight, Ruiz and Ucar, SIAM J. Matrix
    Anal. 2014). Without symmetry rows and columns alternate (Sinkhorn and Knopp, 1967), 20 times. Both work on
    logarithms, so that no temperature makes an entry overflow.
    """
    if symmetric:
        return _Balanced.apply((logits + logits.transpose(-1, -2)) / (2 * tau))
    scaled = logits / tau
    for _ in range(20):
        scaled = scaled - scaled.logsumexp(-1, keepdim=True)
        scaled = scaled - scaled.logsumexp(-2, keepdim=True)
    return scaled.exp()


class _Balanced(torch.autograd.Function):
    """P = exp(A + s_i + s_j) with rows that sum to one, for symmetric A; differentiated where it stands still.

    From P 1 = 1 follows (I + P) ds = -(P * dA) 1: one small linear system replaces the way back through all steps.
    """

    @staticmethod
    def forward(context: Any, logits: Tensor) -> Tensor:
        side = -logits.logsumexp(-1) / 2
        for _ in range(STEPS):
            rest = (logits + side.unsqueeze(-2)).logsumexp(-1)
            if float((side + rest).abs().max()) < TOLERANCE:
                break
            side = (side - rest) / 2
        balanced = (logits + (side.unsqueeze(-1) + side.unsqueeze(-2))).exp()
        context.save_for_backward(balanced)
        return balanced

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        (balanced,) = context.saved_tensors
        weighted = gradient * balanced
        sums = weighted.sum(-1) + weighted.sum(-2)
        # A permutation that swaps has the eigenvalue -1; a little more than I keeps the system solvable near one.
        eye = torch.eye(balanced.shape[-1], dtype=balanced.dtype, device=balanced.device)
        solved = torch.linalg.solve((1 + 1e-4) * eye + balanced, sums)
        return weighted - solved.unsqueeze(-1) * balanced


def mix(x: Tensor, across: Tensor, within: Tensor) -> Tensor:
    """Apply the generalised Kronecker product of `across` (n, n) and `within` (n, B, B) to x (T, N, D), n * B = T * D.

    Block j is multiplied by `within[j]` as a row vector, then the blocks are mixed; the big matrix is never made.
    """
    tokens, samples, width = x.shape
    blocks, block = within.shape[0], within.shape[1]
    if block != width:
        flat = x.transpose(0, 1).reshape(samples, blocks, block)
        x = flat.transpose(0, 1)
    local = torch.bmm(x, within)
    mixed = (across @ local.reshape(blocks, samples * block)).reshape(blocks, samples, block)
    if block != width:
        mixed = mixed.transpose(0, 1).reshape(samples, tokens, width).transpose(0, 1)
    return mixed


def kronecker(across: Tensor, within: Tensor) -> Tensor:
    """Return the (L, L) matrix M with flatten(mix(x)) = M flatten(x); block (i, j) is across[i, j] * within[j].T."""
    blocks, block = within.shape[0], within.shape[1]
    big = torch.einsum("ij,jcb->ibjc", across, within)
    return big.reshape(blocks * block, blocks * block)


class Mixing(nn.Module, ABC):
    """What the mixings share: the constraints on matrices, the temperature, and how they are applied.

    `tau` is part of the state, so that a checkpoint mixes as sharply as the network that wrote it.
    """

    tau: Tensor

    def __init__(self, tokens: int, width: int, block: int, symmetric: bool) -> None:
        super().__init__()
        if tokens * width % block:
            message = f"{tokens} tokens of {width} do not cut into blocks of {block}"
            raise ValueError(message)
        self.blocks, self.block, self.symmetric = tokens * width // block, block, symmetric
        self.register_buffer("tau", torch.tensor(1.0))

    @abstractmethod
    def logits(self) -> tuple[Tensor, Tensor]:
        """Return the unconstrained matrices: (blocks, blocks), and (blocks, B, B) or (1, B, B) where all share one."""

    def matrices(self) -> tuple[Tensor, Tensor]:
        """Return the doubly stochastic matrices: across (blocks, blocks), within (blocks, B, B)."""
        across, within = self.logits()
        tau = float(self.tau)
        within = sinkhorn(within, tau, self.symmetric)
        return sinkhorn(across, tau, self.symmetric), within.expand(self.blocks, -1, -1)

    def forward(self, x: Tensor) -> Tensor:
        """Mix (T, N, D)."""
        return mix(x, *self.matrices())


class UniMixing(Mixing):
    """One free matrix across blocks and one within each block; `shared` uses the same within all (for the ablation)."""

    def __init__(
        self, tokens: int, width: int, block: int, *, symmetric: bool = True, shared: bool = False, spread: float = 0.02
    ) -> None:
        super().__init__(tokens, width, block, symmetric)
        self.across = nn.Parameter(torch.randn(self.blocks, self.blocks) * spread)
        self.within = nn.Parameter(torch.randn(1 if shared else self.blocks, block, block) * spread)

    def logits(self) -> tuple[Tensor, Tensor]:
        """Return the parameters themselves."""
        return self.across, self.within


class UniMixingLite(Mixing):
    """A low-rank matrix across blocks, and matrices within blocks that are sums of `basis` shared ones."""

    def __init__(
        self,
        tokens: int,
        width: int,
        block: int,
        basis: int,
        rank: int,
        *,
        symmetric: bool = True,
        shared: bool = False,
        spread: float = 0.02,
    ) -> None:
        super().__init__(tokens, width, block, symmetric)
        # A product of two factors has the spread that one matrix would have.
        factor = math.sqrt(spread / math.sqrt(rank))
        self.left = nn.Parameter(torch.randn(self.blocks, rank) * factor)
        self.right = nn.Parameter(torch.randn(rank, self.blocks) * factor)
        self.basis = nn.Parameter(torch.randn(basis, block, block) * spread)
        self.shares = nn.Parameter(torch.randn(1 if shared else self.blocks, basis) / math.sqrt(basis))

    def logits(self) -> tuple[Tensor, Tensor]:
        """Return the product of the two factors, and the weighted sums of the basis."""
        return self.left @ self.right, torch.einsum("nb,bij->nij", self.shares, self.basis)
