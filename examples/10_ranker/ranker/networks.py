"""Every network by name: from a sample's field vectors to one logit a task.

A network maps features (N, fields * width), the concatenated vectors of all fields, to logits (N, tasks). Networks with
`first_order` read one number more of every field, its own weight in a linear model, after the field's vector.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .blocks import BatchScale, Dropout, MixerBlock, PostNormStack, RankMixerBlock, RMSNorm, SiameseStack, Tokenizer
from .infnet import INFNet
from .mixing import Mixing, UniMixing, UniMixingLite


@dataclass(frozen=True)
class Shape:
    """What a network is built for: `fields` vectors of `width`, `tasks` answers; which fields stand for whom.

    `user` and `item` are the numbers of the fields that FinalMLP gates its two streams with, `sequences` of those that
    INFNet treats as behaviour.
    """

    fields: int
    width: int
    tasks: int = 1
    user: tuple[int, ...] = (0,)
    item: tuple[int, ...] = (1,)
    sequences: tuple[int, ...] = ()


@dataclass(frozen=True)
class Mixer:
    """The size and kind of a mixer. The defaults are those that validated best on Frappe_x1.

    Attributes:
        mixing: "lite", "full" (UniMixing) or "token" (RankMixer).
        tokens: The concatenated fields are cut into so many pieces of equal length.
        width: Numbers of a token.
        block: Length of the blocks that are mixed; divides tokens x width.
        blocks: Layers.
        basis: Shared matrices that those within blocks are sums of.
        rank: Of the matrix across blocks.
        expansion: Hidden width of each token's network, in widths.
        norm: "siamese" or "post".
        whole: Whether a norm is over a sample, or over each token.
        spread: Deviation of the entries of mixing matrices at the start, as logarithms.
        symmetric: Whether mixing matrices are.
        shared: Whether all blocks have one matrix within.
        head: Hidden layers behind the last token.
        head_norm: Whether these have BatchNorm.
        dropout: Of the tokens' networks and of the head.
        feature_dropout: Of the fields' vectors.
    """

    mixing: str = "lite"
    tokens: int = 2
    width: int = 80
    block: int = 16
    blocks: int = 1
    basis: int = 4
    rank: int = 4
    expansion: int = 1
    norm: str = "siamese"
    whole: bool = True
    spread: float = 0.1
    symmetric: bool = True
    shared: bool = False
    head: tuple[int, ...] = (256,)
    head_norm: bool = True
    dropout: float = 0.3
    feature_dropout: float = 0.1


@dataclass(frozen=True)
class Dense:
    """The size of a network of plain layers."""

    hidden: tuple[int, ...] = (400, 400, 400)
    second: tuple[int, ...] = (100,)
    gate: int = 400
    heads: int = 5
    crosses: int = 4
    dropout: float = 0.2
    batch_norm: bool = True


def layers(
    inputs: int, hidden: tuple[int, ...], outputs: int | None, dropout: float = 0.0, batch_norm: bool = False
) -> nn.Sequential:
    """Return linear layers with ReLU, and a last one without where `outputs` is given."""
    parts: list[nn.Module] = []
    for width in hidden:
        parts.append(nn.Linear(inputs, width))
        if batch_norm:
            parts.append(nn.BatchNorm1d(width))
        parts.append(nn.ReLU())
        if dropout:
            parts.append(Dropout(dropout))
        inputs = width
    if outputs is not None:
        parts.append(nn.Linear(inputs, outputs))
    return nn.Sequential(*parts)


class MixerNetwork(nn.Module):
    """Tokens, a stack of mixing blocks, and a head over all tokens."""

    first_order = False

    def __init__(self, shape: Shape, mixer: Mixer) -> None:
        super().__init__()
        features = shape.fields * shape.width
        self.tokenizer = Tokenizer(features, mixer.tokens, mixer.width)
        self.scale = BatchScale()
        self.drop = Dropout(mixer.feature_dropout)
        if mixer.mixing == "token":
            parts = [
                RankMixerBlock(mixer.tokens, mixer.width, mixer.expansion, mixer.dropout) for _ in range(mixer.blocks)
            ]
            self.stack: nn.Module = nn.Sequential(*parts)
            self.norm: nn.Module = nn.Identity()
        else:
            blocks = [
                MixerBlock(_mixing(mixer), mixer.tokens, mixer.width, mixer.expansion, mixer.dropout, mixer.whole)
                for _ in range(mixer.blocks)
            ]
            stack = SiameseStack if mixer.norm == "siamese" else PostNormStack
            self.stack, self.norm = stack(blocks, mixer.width, mixer.whole), RMSNorm(mixer.width, mixer.whole)
        self.head = layers(mixer.tokens * mixer.width, mixer.head, shape.tasks, mixer.dropout, mixer.head_norm)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, fields * width) to logits (N, tasks)."""
        tokens = self.norm(self.stack(self.tokenizer(self.drop(self.scale(features)))))
        return self.head(tokens.transpose(0, 1).flatten(1))


def _mixing(mixer: Mixer) -> Mixing:
    sizes = (mixer.tokens, mixer.width, mixer.block)
    kind = {"symmetric": mixer.symmetric, "shared": mixer.shared}
    if mixer.mixing == "full":
        return UniMixing(*sizes, **kind, spread=mixer.spread)
    return UniMixingLite(*sizes, mixer.basis, mixer.rank, **kind, spread=mixer.spread)


class DNN(nn.Module):
    """Layers over the concatenated fields."""

    first_order = False

    def __init__(self, shape: Shape, dense: Dense) -> None:
        super().__init__()
        inputs = shape.fields * shape.width
        self.body = layers(inputs, dense.hidden, shape.tasks, dense.dropout, dense.batch_norm)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, fields * width) to logits (N, tasks)."""
        return self.body(features)


class DeepFM(nn.Module):
    """A factorisation machine beside a DNN, on the same vectors (Guo et al., IJCAI 2017)."""

    first_order = True

    def __init__(self, shape: Shape, dense: Dense) -> None:
        super().__init__()
        self.fields, self.width = shape.fields, shape.width
        self.deep = DNN(shape, dense)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, fields * (width + 1)) to logits (N, tasks)."""
        cut = features.reshape(features.shape[0], self.fields, self.width + 1)
        vectors, linear = cut[..., : self.width], cut[..., self.width]
        pairs = (vectors.sum(dim=1).square() - vectors.square().sum(dim=1)).sum(dim=1) / 2
        return self.deep(vectors.flatten(1)) + (linear.sum(dim=1) + pairs).unsqueeze(1)


class DCNv2(nn.Module):
    """Cross layers with full matrices beside a DNN (Wang et al., WWW 2021, the parallel form)."""

    first_order = False

    def __init__(self, shape: Shape, dense: Dense) -> None:
        super().__init__()
        inputs = shape.fields * shape.width
        self.crosses = nn.ModuleList(nn.Linear(inputs, inputs) for _ in range(dense.crosses))
        self.deep = layers(inputs, dense.hidden, None, dense.dropout, dense.batch_norm)
        self.head = nn.Linear(inputs + dense.hidden[-1], shape.tasks)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, fields * width) to logits (N, tasks)."""
        crossed = features
        for cross in self.crosses:
            crossed = crossed + features * cross(crossed)
        return self.head(torch.cat([crossed, self.deep(features)], dim=1))


class FinalMLP(nn.Module):
    """Two gated streams, fused by a bilinear form in several heads (Mao et al., AAAI 2023).

    The gates read the vectors that the streams read, where FuxiCTR gives them vectors of their own.
    """

    first_order = False

    def __init__(self, shape: Shape, dense: Dense) -> None:
        super().__init__()
        inputs, self.width, self.heads, self.tasks = shape.fields * shape.width, shape.width, dense.heads, shape.tasks
        self.sides = (shape.user, shape.item)
        self.gates = nn.ModuleList(layers(len(side) * shape.width, (dense.gate,), inputs) for side in self.sides)
        self.streams = nn.ModuleList(
            layers(inputs, hidden, None, dense.dropout, dense.batch_norm) for hidden in (dense.hidden, dense.second)
        )
        first, second = dense.hidden[-1], dense.second[-1]
        self.linear = nn.ModuleList(nn.Linear(width, shape.tasks) for width in (first, second))
        cut = (self.heads, first // self.heads, second // self.heads)
        self.bilinear = nn.Parameter(torch.empty(shape.tasks, *cut))
        nn.init.xavier_normal_(self.bilinear)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, fields * width) to logits (N, tasks)."""
        cut = features.reshape(features.shape[0], -1, self.width)
        out = []
        for side, gate, stream in zip(self.sides, self.gates, self.streams, strict=True):
            out.append(stream(features * 2 * torch.sigmoid(gate(cut[:, list(side)].flatten(1)))))
        first, second = (each.reshape(features.shape[0], self.heads, -1) for each in out)
        fused = torch.einsum("nha,khab,nhb->nk", first, self.bilinear, second)
        return fused + self.linear[0](out[0]) + self.linear[1](out[1])


@dataclass(frozen=True)
class Kind:
    """A network's class and the size it has unless told otherwise."""

    build: Callable[..., nn.Module]
    size: Mixer | Dense = field(default_factory=Dense)


NETWORKS: dict[str, Kind] = {
    "dnn": Kind(DNN),
    "deepfm": Kind(DeepFM),
    "dcnv2": Kind(DCNv2, Dense(dropout=0.4)),
    "finalmlp": Kind(FinalMLP, Dense(hidden=(400,), dropout=0.4)),
    "rankmixer": Kind(MixerNetwork, Mixer("token")),
    "unimixer": Kind(MixerNetwork, Mixer("full")),
    "unimixing-lite": Kind(MixerNetwork, Mixer("lite")),
    "infnet": Kind(INFNet, Mixer("none", width=16, blocks=2, head=(64,), dropout=0.0)),
}
