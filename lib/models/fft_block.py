"""The feed-forward Transformer (FFT) block that FastSpeech 2 and StyleSpeech share, with places to adapt it.

An adaptation method never edits a block: it passes `Hooks`, which name what to do at each site
("e0" is the encoder's first block, "d3" the decoder's fourth, "pitch1" the pitch predictor's second layer).
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.models.layers import Conv1d, Linear, attention, dropout


class Sizes:
    """What the dataclasses of models and methods share: from a profile's section, and back to plain values."""

    told: ClassVar[str] = "sizes"

    @classmethod
    def from_dict(cls, values: dict) -> Self:
        """Lists become tuples; unknown names raise a ValueError that lists the known ones."""
        unknown = set(values) - set(cls.__dataclass_fields__)
        if unknown:
            raise ValueError(f"unknown {cls.told} {sorted(unknown)}: choose from {sorted(cls.__dataclass_fields__)}")
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})

    def to_dict(self) -> dict:
        return asdict(self)


@dataclass
class Hooks:
    """What an adaptation method does to a frozen backbone in one forward pass, by site name.

    after_conv: `h -> h` on `(batch, length, channels)`, after the convolution of a block or predictor layer.
    norm: `(normalised) -> scaled and shifted`, replacing the affine part of a block's two layer norms;
        keys are "<site>.attention" and "<site>.conv".
    prefix: extra keys and values of a block's self-attention, a pair of `(batch, prefix, channels)`.
    """

    after_conv: dict[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    norm: dict[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    prefix: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)


NO_HOOKS = Hooks()


def sinusoidal_positions(length: int, channels: int) -> Tensor:
    """Sinusoidal position table `(length, channels)` (Vaswani et al. 2017, section 3.5)."""
    position = torch.arange(length).unsqueeze(1)
    frequency = torch.exp(torch.arange(0, channels, 2) * (-torch.log(torch.tensor(10000.0)) / channels))
    table = torch.zeros(length, channels)
    table[:, 0::2] = torch.sin(position * frequency)
    table[:, 1::2] = torch.cos(position * frequency)
    return table


def length_mask(lengths: Tensor, longest: int | None = None) -> Tensor:
    """True inside each sequence: `(batch,)` lengths to `(batch, longest)`."""
    longest = int(lengths.max()) if longest is None else longest
    return torch.arange(longest, device=lengths.device)[None, :] < lengths[:, None]


def check_positions(length: int, most: int, unit: str, setting: str) -> None:
    """Raise ValueError for more phonemes or frames, the `unit`, than a model has positions."""
    if length > most:
        raise ValueError(
            f"{length} {unit} are more than the model's {most} positions: "
            f"split the {'text' if unit == 'phonemes' else 'utterance'}, or raise {setting} and train again"
        )


class SelfAttention(nn.Module):
    """Multi-head scaled dot-product self-attention over valid positions."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        if channels % heads:
            raise ValueError(f"{channels} channels cannot be split over {heads} heads")
        self.heads = heads
        self.query = Linear(channels, channels)
        self.key = Linear(channels, channels)
        self.value = Linear(channels, channels)
        self.out = Linear(channels, channels)

    def forward(self, x: Tensor, mask: Tensor, prefix: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """x `(batch, length, channels)`, mask `(batch, length)` True where valid; returns x's shape."""
        key, value, keep = self.key(x), self.value(x), mask
        if prefix is not None:
            key, value = torch.cat([prefix[0], key], 1), torch.cat([prefix[1], value], 1)
            keep = torch.cat([mask.new_ones(len(mask), prefix[0].shape[1]), mask], 1)
        q, k, v = (self._split(t) for t in (self.query(x), key, value))
        return self.out(attention(q, k, v, keep).transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class FFTBlock(nn.Module):
    """Self-attention, then two 1-D convolutions, each with a residual and a layer norm (FastSpeech, figure 1b)."""

    def __init__(self, channels: int, heads: int, filter_channels: int, kernels: tuple[int, int], dropout: float):
        super().__init__()
        self.attention = SelfAttention(channels, heads)
        self.attention_norm = nn.LayerNorm(channels)
        self.conv1 = Conv1d(channels, filter_channels, kernels[0])
        self.conv2 = Conv1d(filter_channels, channels, kernels[1])
        self.conv_norm = nn.LayerNorm(channels)
        self.dropout = dropout

    def forward(self, x: Tensor, mask: Tensor, site: str = "", hooks: Hooks = NO_HOOKS) -> Tensor:
        """x `(batch, length, channels)`, mask `(batch, length)` True where valid; returns x's shape, 0 where not."""
        keep = mask.unsqueeze(-1).to(x.dtype)
        h = self.attention(x, mask, hooks.prefix.get(site))
        h = dropout(h, self.dropout, self.training)
        x = _norm(self.attention_norm, x + h, hooks.norm.get(f"{site}.attention")) * keep
        h = self.conv2(F.relu(self.conv1(x)))
        if site in hooks.after_conv:
            h = hooks.after_conv[site](h)
        h = dropout(h, self.dropout, self.training)
        return _norm(self.conv_norm, x + h, hooks.norm.get(f"{site}.conv")) * keep


def _norm(layer: nn.LayerNorm, x: Tensor, affine: Callable[[Tensor], Tensor] | None) -> Tensor:
    if affine is None:
        return layer(x)
    return affine(F.layer_norm(x, layer.normalized_shape, None, None, layer.eps))
