"""How StyleSpeech reads a style from a reference mel and applies it (Min et al. 2021, arXiv 2106.03153)."""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.models.fft_block import Hooks, SelfAttention, length_mask
from lib.models.layers import Conv1d, Dropout, Linear, dropout

LEVEL, SPREAD = -5.0, 2.5  # of speech in natural-log mel magnitudes: what the style encoder sees is near z-scores
SILENCE = math.log(1e-4)  # log-mel magnitude, ten times the floor: a reference that never exceeds it is silent


class ReferenceSpeechError(ValueError):
    """A reference recording that no style can be read from."""


class GatedConv(nn.Module):
    """Convolution with a gated linear unit and a residual (StyleSpeech, section 3.1)."""

    def __init__(self, channels: int, kernel: int, dropout: float):
        super().__init__()
        self.conv = Conv1d(channels, 2 * channels, kernel)
        self.dropout = dropout

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        """x `(batch, frames, channels)` and keep `(batch, frames, 1)` to x's shape, 0 on padding."""
        h = F.glu(self.conv(x), dim=-1)
        return (x + dropout(h, self.dropout, self.training)) * keep


class MelStyleEncoder(nn.Module):
    """A reference mel to one style vector: spectral, temporal, self-attention, average over frames (figure 2)."""

    def __init__(self, n_mels: int, width: int, heads: int, kernel: int, style: int, dropout: float):
        super().__init__()
        self.spectral = nn.Sequential(
            Linear(n_mels, width), nn.Mish(), Dropout(dropout),
            Linear(width, width), nn.Mish(), Dropout(dropout),
        )  # fmt: skip
        self.temporal = nn.ModuleList(GatedConv(width, kernel, dropout) for _ in range(2))
        self.attention = SelfAttention(width, heads)
        self.out = Linear(width, style)
        self.dropout = dropout

    def forward(self, mel: Tensor, mask: Tensor) -> Tensor:
        """mel `(batch, frames, n_mels)`, mask `(batch, frames)` True where valid; returns `(batch, style)`."""
        keep = mask.unsqueeze(-1)
        x = self.spectral((mel - LEVEL) / SPREAD) * keep
        for conv in self.temporal:
            x = conv(x, keep)
        x = x + dropout(self.attention(x, mask), self.dropout, self.training)
        return (self.out(x) * keep).sum(1) / keep.sum(1).clamp_min(1)


class StyleAdaptiveLayerNorms(nn.Module):
    """Scale and shift of both layer norms of every block, each an affine map of the style vector (equation 2).

    All maps are one matrix product; each norm starts with scales near 1 and shifts near 0, nearer than a linear layer's
    usual start would put them: with that the model learns nothing but the mean spectrum in its first hundred steps.
    """

    NORMS = ("attention", "conv")

    def __init__(self, sites: list[str], channels: int, style: int):
        super().__init__()
        self.places = [f"{site}.{norm}" for site in sites for norm in self.NORMS]
        self.affine = Linear(style, 2 * channels * len(self.places))
        with torch.no_grad():
            self.affine.weight.mul_(0.1)
            self.affine.bias.view(len(self.places), 2, channels).copy_(torch.tensor([[1.0], [0.0]]))

    def hooks(self, style: Tensor) -> Hooks:
        """Style vectors `(batch, style)` to the norms of each utterance."""
        affine = self.affine(style).unflatten(-1, (len(self.places), 2, 1, -1))
        return Hooks(
            norm={
                place: partial(_affine, scale=affine[:, i, 0], shift=affine[:, i, 1])
                for i, place in enumerate(self.places)
            }
        )


def _affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return x * scale + shift


def check_reference(mel: Tensor, lengths: Tensor, shortest: int) -> None:
    """Refuse references that no style can be read from: mel `(batch, frames, n_mels)`, lengths `(batch,)`.

    Raises:
        ReferenceSpeechError: one is silent, or shorter than `shortest` frames, the encoder's receptive field.

    Training does not check: its references are the corpus's recordings, and the style vector is finite for any.
    """
    short = (lengths < shortest).nonzero().flatten().tolist()
    if short:
        raise ReferenceSpeechError(
            f"reference {short[0]} of the batch has {int(lengths[short[0]])} frames and the style encoder sees "
            f"{shortest} at once: give a longer reference"
        )
    valid = length_mask(lengths, mel.shape[1])
    loudest = mel.amax(-1).masked_fill(~valid, -torch.inf).amax(1)
    silent = (~(loudest > SILENCE)).nonzero().flatten().tolist()
    if silent:
        raise ReferenceSpeechError(
            f"reference {silent[0]} of the batch is silent: give a recording in which someone speaks"
        )
