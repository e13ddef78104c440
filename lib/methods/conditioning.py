"""Other ways to condition a frozen FastSpeech 2 on a speaker, at the budget of a hypernetwork (claim HT9).

Each class takes the backbone's decoder sites and a budget in trainable parameters, chooses its one free size so
that it comes as near the budget as that size allows, and offers `hooks(speaker)` like `lib.methods.hypertts`.
LoRA is PEFT's own (`lib.papers.ht.systems` injects it) and only its rank is computed here.
"""

from collections.abc import Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.models.fft_block import Hooks


def _size_for(budget: int, per_unit: int, fixed: int = 0) -> int:
    return max(1, round((budget - fixed) / per_unit))


class ConcatenationAdapters(nn.Module):
    """Adapters that read the speaker embedding: `h + ReLU([h ; v_s] W_d + b_d) W_u + b_u`."""

    def __init__(self, sites: Mapping[str, int], budget: int, speaker: int = 256):
        super().__init__()
        per_unit = sum(2 * channels + speaker + 1 for channels in sites.values())
        self.bottleneck = _size_for(budget, per_unit, fixed=sum(sites.values()))
        self.down = nn.ModuleDict({s: nn.Linear(c + speaker, self.bottleneck) for s, c in sites.items()})
        self.up = nn.ModuleDict({s: nn.Linear(self.bottleneck, c) for s, c in sites.items()})
        for layer in self.up.values():
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def hooks(self, speaker: Tensor) -> Hooks:
        return Hooks(after_conv={site: partial(self._adapt, site=site, speaker=speaker) for site in self.down})

    def _adapt(self, h: Tensor, site: str, speaker: Tensor) -> Tensor:
        joined = torch.cat([h, speaker.unsqueeze(1).expand(-1, h.shape[1], -1).to(h.dtype)], -1)
        return h + self.up[site](F.relu(self.down[site](joined)))


class ConditionalLayerNorm(nn.Module):
    """Scale and shift of each block's two layer norms from the speaker embedding (AdaSpeech, arXiv 2103.00993)."""

    NORMS = ("attention", "conv")

    def __init__(self, sites: Mapping[str, int], budget: int, speaker: int = 256):
        super().__init__()
        self.places = [(f"{site}.{norm}", channels) for site, channels in sites.items() for norm in self.NORMS]
        outputs = sum(2 * channels for _, channels in self.places)
        self.bottleneck = _size_for(budget, speaker + 1 + outputs, fixed=outputs)
        self.down = nn.Linear(speaker, self.bottleneck)
        self.up = nn.Linear(self.bottleneck, outputs)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def bind(self, backbone: nn.Module) -> "ConditionalLayerNorm":
        """Start from the backbone's own scales and shifts, so that the untrained method changes nothing."""
        named = {"attention": "attention_norm", "conv": "conv_norm"}
        start = []
        for place, _ in self.places:
            site, norm = place.split(".")
            layer = getattr(backbone.decoder[int(site[1:])], named[norm])
            start += [layer.weight.detach(), layer.bias.detach()]
        self.up.bias.data.copy_(torch.cat(start))
        return self

    def hooks(self, speaker: Tensor) -> Hooks:
        parts = self.up(F.relu(self.down(speaker))).split([c for _, c in self.places for _ in range(2)], dim=-1)
        scales_shifts = zip(parts[0::2], parts[1::2], strict=True)
        return Hooks(
            norm={
                place: partial(_affine, scale=scale.unsqueeze(1), shift=shift.unsqueeze(1))
                for (place, _), (scale, shift) in zip(self.places, scales_shifts, strict=True)
            }
        )


def _affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return x * scale.to(x.dtype) + shift.to(x.dtype)


class PrefixTuning(nn.Module):
    """Keys and values made from the speaker embedding, put before each block's own (Li & Liang 2021)."""

    def __init__(self, sites: Mapping[str, int], budget: int, speaker: int = 256, prefix: int = 4):
        super().__init__()
        self.prefix, self.sizes = prefix, dict(sites)
        outputs = sum(2 * prefix * channels for channels in sites.values())
        self.bottleneck = _size_for(budget, speaker + 1 + outputs, fixed=outputs)
        self.down = nn.Linear(speaker, self.bottleneck)
        self.up = nn.Linear(self.bottleneck, outputs)

    def hooks(self, speaker: Tensor) -> Hooks:
        out = self.up(F.relu(self.down(speaker)))
        parts = out.split([self.prefix * c for c in self.sizes.values() for _ in range(2)], dim=-1)
        keys_values = zip(parts[0::2], parts[1::2], strict=True)
        return Hooks(
            prefix={
                site: tuple(part.unflatten(-1, (self.prefix, channels)) for part in pair)
                for (site, channels), pair in zip(self.sizes.items(), keys_values, strict=True)
            }
        )


def lora_rank(sites: Mapping[str, int], budget: int) -> int:
    """Rank of LoRA on query, key, value and output projections of each block nearest the budget."""
    return _size_for(budget, sum(4 * 2 * channels for channels in sites.values()))
