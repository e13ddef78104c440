"""A 1-D U-Net over `(channels, frames)` that predicts the noise in a latent, given z_text, a time and a condition.

Residual blocks with time and condition as scale and shift (Dhariwal & Nichol 2021, "adaptive group norm", here over
the channels of each frame), self-attention at the coarsest level. Everything is masked and normalised per frame, so
frames after an utterance's end, and the batch it is in, do not change it. Beside the network, each channel of x_t and
z_text reaches the output with a gain that time and condition choose, as preconditioning has it (Karras et al. 2022,
equation 7): noise of more channels than the network has still comes through.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.models.fft_block import length_mask

KERNEL = 3


@dataclass(frozen=True)
class DenoiserDims:
    """Sizes; the network halves the frame rate `levels` times."""

    latent: int = 192
    condition: int = 512  # of the condition vector, such as a CLAP embedding
    channels: int = 256
    levels: int = 2
    blocks: int = 2  # residual blocks per level and direction
    heads: int = 4
    dropout: float = 0.0

    @property
    def shortest(self) -> int:
        """Frames that one coarsest convolution spans; a shorter z is smaller than the receptive field."""
        return KERNEL * 2**self.levels


class FrameNorm(nn.LayerNorm):
    """Layer normalisation over the channels of `(batch, channels, frames)`, without its own scale and shift."""

    def __init__(self, channels: int):
        super().__init__(channels, elementwise_affine=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class ResidualBlock(nn.Module):
    """Two convolutions; scale and shift from the embedding; zero at the start, so it begins as a skip."""

    def __init__(self, inside: int, outside: int, embedding: int, dropout: float):
        super().__init__()
        self.norm_1, self.norm_2 = FrameNorm(inside), FrameNorm(outside)
        self.conv_1 = nn.Conv1d(inside, outside, KERNEL, padding=KERNEL // 2)
        self.conv_2 = nn.Conv1d(outside, outside, KERNEL, padding=KERNEL // 2)
        self.film = nn.Linear(embedding, 2 * outside)
        self.skip = nn.Conv1d(inside, outside, 1) if inside != outside else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.conv_2.weight)
        nn.init.zeros_(self.conv_2.bias)

    def forward(self, x: Tensor, mask: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.film(embedding).unsqueeze(2).chunk(2, 1)
        h = self.norm_2(self.conv_1(F.silu(self.norm_1(x)) * mask)) * (1 + scale) + shift
        return (self.skip(x) + self.conv_2(self.dropout(F.silu(h)) * mask)) * mask


class Attention(nn.Module):
    """Self-attention over the valid frames, as a residual that starts at zero."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads, self.norm = heads, FrameNorm(channels)
        self.qkv, self.out = nn.Conv1d(channels, 3 * channels, 1), nn.Conv1d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).unflatten(1, (3, self.heads, -1)).transpose(3, 4).unbind(1)
        read = F.scaled_dot_product_attention(q, k, v, attn_mask=mask.unsqueeze(1).bool())
        return (x + self.out(read.transpose(2, 3).flatten(1, 2))) * mask


def time_embedding(time: Tensor, size: int) -> Tensor:
    """Sinusoids of times in [0, 1], `(batch,)` to `(batch, size)` (Ho et al. 2020; 1000 steps a unit)."""
    frequency = torch.exp(torch.arange(size // 2, device=time.device) * (-math.log(10000.0) / (size // 2)))
    angle = 1000.0 * time[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], 1)


class Denoiser(nn.Module):
    """The U-Net; its output starts at zero. `null` is the learned condition that stands for no condition."""

    def __init__(self, dims: DenoiserDims):
        super().__init__()
        d = self.dims = dims
        if d.channels % (2 * d.heads):
            raise ValueError(f"{d.channels} channels cannot be split over {d.heads} heads and sines and cosines.")
        width = 2 * d.channels
        self.time = nn.Sequential(nn.Linear(d.channels, width), nn.SiLU(), nn.Linear(width, width))
        self.condition = nn.Linear(d.condition, width)
        self.null = nn.Parameter(torch.zeros(d.condition))
        self.enter = nn.Conv1d(2 * d.latent, d.channels, KERNEL, padding=KERNEL // 2)

        def blocks(inside: int) -> nn.ModuleList:
            return nn.ModuleList(
                ResidualBlock(inside if i == 0 else d.channels, d.channels, width, d.dropout) for i in range(d.blocks)
            )

        self.down = nn.ModuleList(blocks(d.channels) for _ in range(d.levels))
        self.shrink = nn.ModuleList(nn.Conv1d(d.channels, d.channels, KERNEL, 2, 1) for _ in range(d.levels))
        self.middle, self.attention = blocks(d.channels), Attention(d.channels, d.heads)
        self.grow = nn.ModuleList(nn.Conv1d(d.channels, d.channels, KERNEL, padding=1) for _ in range(d.levels))
        self.up = nn.ModuleList(blocks(2 * d.channels) for _ in range(d.levels))
        self.norm = FrameNorm(d.channels)
        self.leave = nn.Conv1d(d.channels, d.latent, KERNEL, padding=KERNEL // 2)
        self.gains = nn.Linear(width, 2 * d.latent)
        for layer in (self.leave, self.gains):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, z_text: Tensor, time: Tensor, condition: Tensor, frames: Tensor) -> Tensor:
        """x and z_text `(batch, latent, frames)`, time `(batch,)` in [0, 1], condition `(batch, condition)`,
        frames `(batch,)`; returns the noise estimate `(batch, latent, frames)`, 0 after the valid frames.
        """
        longest = x.shape[2]
        extra = -longest % 2**self.dims.levels
        masks = [length_mask(frames, longest + extra).unsqueeze(1)]
        for _ in range(self.dims.levels):
            masks.append(masks[-1][:, :, ::2])
        given = torch.cat([x, z_text], 1)
        given = (F.pad(given, (0, extra)) if extra else given).masked_fill_(~masks[0], 0.0)
        masks = [mask.to(given.dtype) for mask in masks]
        embedding = F.silu(self.time(time_embedding(time, self.dims.channels)) + self.condition(condition))
        h = self.enter(given) * masks[0]
        skips = []
        for level, (blocks, shrink) in enumerate(zip(self.down, self.shrink, strict=True)):
            for block in blocks:
                h = block(h, masks[level], embedding)
            skips.append(h)
            h = shrink(h) * masks[level + 1]
        for block in self.middle:
            h = block(h, masks[-1], embedding)
        h = self.attention(h, masks[-1])
        for level in reversed(range(self.dims.levels)):
            h = self.grow[level](h.repeat_interleave(2, 2) * masks[level]) * masks[level]
            h = torch.cat([h, skips[level]], 1)
            for block in self.up[level]:
                h = block(h, masks[level], embedding)
        through = (self.gains(embedding).unsqueeze(2) * given).unflatten(1, (2, -1)).sum(1)
        return ((self.leave(F.silu(self.norm(h)) * masks[0]) + through) * masks[0])[:, :, :longest]
