from __future__ import annotations

import pytest
import torch
from ranker.blocks import (
    EPSILON,
    BatchScale,
    Dropout,
    MixerBlock,
    PerToken,
    PostNormStack,
    RankMixerBlock,
    RMSNorm,
    SiameseStack,
    SwiGLU,
    Tokenizer,
)
from ranker.mixing import UniMixing
from torch.nn import functional as F

TOKENS, WIDTH = 3, 4


def block(dropout: float = 0.0) -> MixerBlock:
    return MixerBlock(UniMixing(TOKENS, WIDTH, WIDTH), TOKENS, WIDTH, 2, dropout)


@pytest.mark.parametrize("whole", [True, False])
def test_rms_norm_and_its_gradient(whole: bool) -> None:
    norm = RMSNorm(WIDTH, whole)
    norm.weight.data.uniform_(0.5, 2)
    x = torch.randn(TOKENS, 5, WIDTH, dtype=torch.double, requires_grad=True)
    squares = x.square().mean(dim=(0, 2) if whole else 2, keepdim=True)
    torch.testing.assert_close(norm(x), x / (squares + EPSILON).sqrt() * norm.weight)
    assert torch.autograd.gradcheck(norm.double(), x)


def test_every_token_has_weights_of_its_own() -> None:
    layer = PerToken(TOKENS, WIDTH, 2)
    layer.bias.data.normal_()
    x = torch.randn(TOKENS, 5, WIDTH)
    for token in range(TOKENS):
        torch.testing.assert_close(layer(x)[token], x[token] @ layer.weight[token] + layer.bias[token])


def test_swiglu_has_the_parameters_of_its_formula() -> None:
    assert sum(each.numel() for each in SwiGLU(10, 16, 2).parameters()) == 10 * (3 * 16 * 32 + 2 * 32 + 16)


def test_features_are_cut_evenly_and_filled_up_with_zeros() -> None:
    tokenizer = Tokenizer(10, 4, WIDTH)
    features = torch.randn(5, 10)
    tokens = tokenizer(features)
    assert tokens.shape == (4, 5, WIDTH)
    padded = F.pad(features, (0, 2))
    torch.testing.assert_close(tokens[3], padded[:, 9:12] @ tokenizer.project.weight[3] + tokenizer.project.bias[3])


def test_siamese_streams_follow_their_equations() -> None:
    blocks = [block(), block()]
    stack = SiameseStack(blocks, WIDTH)
    start = torch.randn(TOKENS, 5, WIDTH)
    x = y = start
    for number in range(2):
        out = blocks[number](x + stack.before[number](y))
        x, y = stack.after[number](x + out), y + out
    torch.testing.assert_close(stack(start), x + stack.last(y))


def test_a_block_is_swiglu_of_the_norm_of_the_mixed_sum() -> None:
    each, z = block(), torch.randn(TOKENS, 5, WIDTH)
    torch.testing.assert_close(each(z), each.swiglu(each.norm(z + each.mixing(z))))
    stack = PostNormStack([each], WIDTH)
    torch.testing.assert_close(stack(z), stack.after[0](z + each(z)))


def test_rank_mixer_needs_no_parameters_to_mix() -> None:
    each = RankMixerBlock(4, 8, 2, 0.0)
    # Two LayerNorms and one network per token: about 2 k T D^2 (METHODS B.1).
    assert sum(p.numel() for p in each.parameters()) == 2 * 2 * 4 * 8 * 8 + 4 * (16 + 8) + 4 * 8
    assert each(torch.randn(4, 3, 8)).shape == (4, 3, 8)


def test_dropout_keeps_the_mean_and_is_nothing_when_evaluating() -> None:
    torch.manual_seed(0)
    drop, x = Dropout(0.25), torch.ones(200, 333)
    dropped = drop(x)
    assert dropped.eq(0).float().mean() == pytest.approx(0.25, abs=0.01)
    assert dropped.mean() == pytest.approx(1, abs=0.01)
    assert torch.equal(drop.eval()(x), x)


def test_a_batch_is_scaled_by_one_number() -> None:
    scale, features = BatchScale(), torch.randn(50, 6) * torch.tensor([1e-4, 1e-2, 1, 1, 1, 1]) * 3e-3
    scaled = scale(features)
    assert scaled.square().mean() == pytest.approx(1, rel=1e-3)
    torch.testing.assert_close(scaled / scaled[0, 5], features / features[0, 5])
    for _ in range(200):
        scale(features)
    torch.testing.assert_close(scale.eval()(features), scaled, rtol=1e-3, atol=1e-6)
