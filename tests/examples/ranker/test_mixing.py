from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ranker import mixing
from ranker.mixing import Mixing, UniMixing, UniMixingLite, kronecker, mix, sinkhorn, token_mixer
from torch import Tensor


def permutation(tokens: int, width: int, heads: int) -> Tensor:
    """Return TokenMixer as a matrix: G (x) I, with G the commutation matrix of METHODS B.3."""
    shuffle = torch.zeros(tokens * heads, tokens * heads)
    for head in range(heads):
        for token in range(tokens):
            shuffle[head * tokens + token, token * heads + head] = 1
    return torch.kron(shuffle, torch.eye(width // heads))


def test_token_mixer_gives_the_papers_example() -> None:
    x = torch.arange(1, 13).reshape(1, 2, 6)
    assert token_mixer(x, 2).tolist() == [[[1, 2, 3, 7, 8, 9], [4, 5, 6, 10, 11, 12]]]


@given(tokens=st.integers(1, 5), heads=st.integers(1, 5), share=st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_token_mixer_is_a_permutation_that_is_symmetric_where_heads_equal_tokens(
    tokens: int, heads: int, share: int
) -> None:
    matrix = permutation(tokens, heads * share, heads)
    x = torch.randn(3, tokens, heads * share)
    assert torch.equal(token_mixer(x, heads).flatten(1), x.flatten(1) @ matrix.T)
    assert torch.equal(matrix.sum(0), torch.ones(len(matrix)))
    assert torch.equal(matrix.sum(1), torch.ones(len(matrix)))
    # With one head or one token nothing moves, and what does not move is symmetric as well.
    assert torch.equal(matrix, matrix.T) == (heads == tokens or heads == 1 or tokens == 1)


@pytest.mark.parametrize(("tokens", "width", "block"), [(4, 6, 6), (4, 6, 3), (3, 4, 2), (2, 6, 12)])
def test_mixing_is_the_generalised_kronecker_product(tokens: int, width: int, block: int) -> None:
    blocks = tokens * width // block
    across, within = torch.randn(blocks, blocks), torch.randn(blocks, block, block)
    x = torch.randn(tokens, 5, width)
    flat = x.transpose(0, 1).flatten(1)
    mixed = mix(x, across, within).transpose(0, 1).flatten(1)
    torch.testing.assert_close(mixed, flat @ kronecker(across, within).T)


def test_mixing_can_be_token_mixer() -> None:
    tokens = width = 4
    shuffle = permutation(tokens, width, tokens)
    x = torch.randn(tokens, 3, width)
    mixed = mix(x, shuffle, torch.ones(tokens * width, 1, 1)).transpose(0, 1)
    torch.testing.assert_close(mixed, token_mixer(x.transpose(0, 1), tokens))


@pytest.mark.parametrize("tau", [1.0, 0.05])
@pytest.mark.parametrize("size", [6, 128])
def test_sinkhorn_is_doubly_stochastic_and_exactly_symmetric(tau: float, size: int) -> None:
    torch.manual_seed(0)
    spread = 1.0 if tau == 1.0 else 0.2
    matrix = sinkhorn(torch.randn(3, size, size) * spread, tau)
    assert torch.equal(matrix, matrix.transpose(-1, -2))
    assert matrix.min() >= 0
    torch.testing.assert_close(matrix.sum(-1), torch.ones(3, size), atol=1e-4, rtol=0)


def test_sinkhorn_without_symmetry_is_doubly_stochastic_and_not_symmetric() -> None:
    torch.manual_seed(0)
    matrix = sinkhorn(torch.randn(8, 8), 1.0, symmetric=False)
    torch.testing.assert_close(matrix.sum(0), torch.ones(8))
    torch.testing.assert_close(matrix.sum(1), torch.ones(8))
    assert not torch.allclose(matrix, matrix.T, atol=1e-2)


def test_a_low_temperature_sharpens() -> None:
    torch.manual_seed(0)
    logits = torch.randn(8, 8)
    soft, sharp = sinkhorn(logits, 1.0), sinkhorn(logits, 0.05)
    assert sharp.max(dim=-1).values.mean() > 0.7 > 0.6 > soft.max(dim=-1).values.mean()


@given(seed=st.integers(0, 1000), tau=st.sampled_from([1.0, 0.2, 0.05]))
@settings(max_examples=20, deadline=None)
def test_sinkhorn_takes_any_logits(seed: int, tau: float) -> None:
    torch.manual_seed(seed)
    logits = (torch.randn(5, 5) * 30).requires_grad_()
    matrix = sinkhorn(logits, tau)
    matrix.square().sum().backward()
    assert torch.isfinite(matrix).all()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("tau", [1.0, 0.4])
def test_the_gradient_of_sinkhorn_is_that_of_its_fixed_point(tau: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixing, "TOLERANCE", 1e-13)
    monkeypatch.setattr(mixing, "STEPS", 5000)
    torch.manual_seed(1)
    logits = torch.randn(2, 4, 4, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda each: sinkhorn(each, tau), logits, atol=1e-3)


def test_parameters_are_those_of_the_papers_example() -> None:
    # L = 768, B = 6, so N = 128; b = 4, r = 16.
    lite, full = UniMixingLite(48, 16, 6, basis=4, rank=16), UniMixing(48, 16, 6)
    assert sum(each.numel() for each in lite.parameters()) == 4_752
    assert sum(each.numel() for each in full.parameters()) == 20_992


@pytest.mark.parametrize("layer", [UniMixing(4, 6, 6), UniMixingLite(4, 6, 6, 2, 2)], ids=["full", "lite"])
def test_matrices_of_a_layer_are_constrained(layer: Mixing) -> None:
    layer.tau.fill_(0.05)
    for matrix in layer.matrices():
        torch.testing.assert_close(matrix.sum(-1), torch.ones(matrix.shape[:-1]), atol=1e-4, rtol=0)
        torch.testing.assert_close(matrix, matrix.transpose(-1, -2))


def test_a_low_rank_product_mixes_at_nearly_full_rank() -> None:
    torch.manual_seed(0)
    layer = UniMixingLite(48, 16, 6, basis=2, rank=16, spread=1.0)
    across, _ = layer.matrices()
    assert torch.linalg.matrix_rank(layer.left @ layer.right) == 16
    assert torch.linalg.matrix_rank(across, rtol=1e-5) > 100


def test_blocks_share_one_local_matrix_where_told() -> None:
    layer = UniMixing(4, 6, 6, shared=True)
    _, within = layer.matrices()
    assert within.shape == (4, 6, 6)
    assert torch.equal(within[0], within[3])


def test_blocks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="do not cut into blocks of 5"):
        UniMixing(4, 6, 5)
