"""HiFi-GAN's discriminators and losses (Kong et al. 2020, arXiv 2010.05646, sections 2.3 and 2.4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

PERIODS = (2, 3, 5, 7, 11)
SCALES = 3  # the waveform, and its averages over 2 and 4 samples
FEATURES_WEIGHT, MEL_WEIGHT = 2.0, 45.0  # lambda_fm and lambda_mel
SLOPE = 0.1  # of the leaky ReLUs

Judgement = list[tuple[Tensor, list[Tensor]]]  # of each discriminator: scores, and the features of its layers


class PeriodCritic(nn.Module):
    """One discriminator of the MPD: the waveform folded into rows of `period` samples, convolved along its columns."""

    def __init__(self, period: int, width: int):
        super().__init__()
        self.period = period
        sizes = [1, width, 4 * width, 16 * width, 32 * width, 32 * width]
        strides = (3, 3, 3, 3, 1)
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(inside, outside, (5, 1), (stride, 1), (2, 0)))
            for inside, outside, stride in zip(sizes[:-1], sizes[1:], strides, strict=True)
        )
        self.last = weight_norm(nn.Conv2d(sizes[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, wave: Tensor) -> tuple[Tensor, list[Tensor]]:
        """`(batch, samples)` to scores `(batch, places)` and the features of every layer."""
        missing = -wave.shape[1] % self.period
        folded = F.pad(wave.unsqueeze(1), (0, missing), "reflect").unflatten(2, (-1, self.period))
        return _judge(self.layers, self.last, folded)


class ScaleCritic(nn.Module):
    """One discriminator of the MSD: grouped convolutions with long kernels over the waveform."""

    def __init__(self, width: int, norm=weight_norm):
        super().__init__()
        w = width
        shapes = (  # inside, outside, kernel, stride, groups
            *((1, w, 15, 1, 1), (w, w, 41, 2, 4), (w, 2 * w, 41, 2, 16), (2 * w, 4 * w, 41, 4, 16)),
            *((4 * w, 8 * w, 41, 4, 16), (8 * w, 8 * w, 41, 1, 16), (8 * w, 8 * w, 5, 1, 1)),
        )
        self.layers = nn.ModuleList(
            norm(nn.Conv1d(inside, outside, kernel, stride, kernel // 2, groups=groups))
            for inside, outside, kernel, stride, groups in shapes
        )
        self.last = norm(nn.Conv1d(8 * w, 1, 3, padding=1))

    def forward(self, wave: Tensor) -> tuple[Tensor, list[Tensor]]:
        """`(batch, samples)` to scores `(batch, places)` and the features of every layer."""
        return _judge(self.layers, self.last, wave.unsqueeze(1))


def _judge(layers: nn.ModuleList, last: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    features = []
    for layer in layers:
        x = F.leaky_relu(layer(x), SLOPE)
        features.append(x)
    x = last(x)
    return x.flatten(1), [*features, x]


class Critics(nn.Module):
    """The multi-period and the multi-scale discriminator; V1 has `period_width` 32 and `scale_width` 128.

    Raises ValueError for a scale width that its 16 groups do not divide.
    """

    def __init__(self, period_width: int = 32, scale_width: int = 128):
        super().__init__()
        if scale_width % 16:
            raise ValueError(f"scale_width is {scale_width}: give a multiple of 16, the number of groups")
        self.periods = nn.ModuleList(PeriodCritic(period, period_width) for period in PERIODS)
        self.scales = nn.ModuleList(
            ScaleCritic(scale_width, weight_norm if scale else spectral_norm) for scale in range(SCALES)
        )

    def forward(self, wave: Tensor) -> Judgement:
        """`(batch, samples)` to what each of the eight discriminators says."""
        said = [critic(wave) for critic in self.periods]
        for critic in self.scales:
            said.append(critic(wave))
            wave = F.avg_pool1d(wave.unsqueeze(1), 4, 2, padding=2).squeeze(1)
        return said


def critic_loss(real: Judgement, made: Judgement) -> Tensor:
    """Least-squares GAN, the discriminators' side (equation 1): 1 for recordings, 0 for what the generator made."""
    return torch.stack(
        [(1 - r).square().mean() + m.square().mean() for (r, _), (m, _) in zip(real, made, strict=True)]
    ).sum()


def adversarial_loss(made: Judgement) -> Tensor:
    """Least-squares GAN, the generator's side (equation 2)."""
    return torch.stack([(1 - scores).square().mean() for scores, _ in made]).sum()


def feature_loss(real: Judgement, made: Judgement) -> Tensor:
    """Mean absolute difference of every layer's features, summed over layers and discriminators (equation 4)."""
    pairs = [pair for (_, r), (_, m) in zip(real, made, strict=True) for pair in zip(r, m, strict=True)]
    return torch.stack([F.l1_loss(m, r.detach()) for r, m in pairs]).sum()
