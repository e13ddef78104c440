"""HyperTTS: adapters whose weights a hypernetwork makes from the speaker embedding (arXiv 2404.04645).

The adapter (section 3.2) sits after the convolution of an FFT block or a variance predictor's layer:

    h <- h + ReLU(h W_d + b_d) W_u + b_u,        W_d in R^{c x r}, W_u in R^{r x c}

`StaticAdapters` learns one pair (W_d, W_u) per site. `HyperAdapters` learns, per module (encoder e, variance
adaptor v, decoder d), one hypernetwork that all sites of the module share (section 3.3):

    v_s' = W_s v_s + b_s                    speaker projector, 256 -> 64
    s    = ReLU(W_p [v_s' ; v_l])           source projector with the learned layer embedding v_l, 128 -> d_s
    W_d  = S_d s,  W_u = S_u s              dense parameter samplers (and b_d = B_d s, b_u = B_u s)

The weights differ from utterance to utterance in a batch and are applied by batched matrix products.

d_s is 8 in the authors' released configuration and in the parameter counts of their Table 1, 32 in the text of
the paper; the released samplers also make the two biases, which the paper's equations leave out. Both are options.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.models.fft_block import Hooks


class Adapter(nn.Module):
    """One static bottleneck adapter; it starts as the identity because W_u starts at zero."""

    def __init__(self, channels: int, bottleneck: int = 32):
        super().__init__()
        self.down = nn.Linear(channels, bottleneck)
        self.up = nn.Linear(bottleneck, channels)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, h: Tensor) -> Tensor:
        """h `(batch, length, channels)` to the same shape."""
        return h + self.up(F.relu(self.down(h)))


class StaticAdapters(nn.Module):
    """AdapterTTS: an `Adapter` at every site, the same for all speakers."""

    def __init__(self, sites: Mapping[str, int], bottleneck: int = 32):
        super().__init__()
        self.adapters = nn.ModuleDict({site: Adapter(channels, bottleneck) for site, channels in sites.items()})

    def hooks(self, speaker: Tensor) -> Hooks:
        """The speaker embedding `(batch, 256)` is not used."""
        return Hooks(after_conv=dict(self.adapters.items()))


class Hypernetwork(nn.Module):
    """The hypernetwork of one module: speaker and layer embedding to the adapter weights of each of its sites."""

    def __init__(
        self,
        layers: int,
        channels: int,
        bottleneck: int = 32,
        d_s: int = 8,
        speaker: int = 256,
        embedding: int = 64,
        layer_embedding: bool = True,
        biases: bool = True,
        init_std: float = 0.01,
    ):
        super().__init__()
        self.layers, self.channels, self.bottleneck = layers, channels, bottleneck
        self.speaker_projector = nn.Linear(speaker, embedding)
        self.layer_embedding = nn.Embedding(layers, embedding) if layer_embedding else None
        self.source_projector = nn.Linear(embedding * (1 + layer_embedding), d_s, bias=False)
        sizes = {"down": channels * bottleneck, "up": bottleneck * channels}
        if biases:
            sizes |= {"down_bias": bottleneck, "up_bias": channels}
        self.samplers = nn.ModuleDict({name: nn.Linear(d_s, n, bias=False) for name, n in sizes.items()})
        for layer in (self.source_projector, *self.samplers.values()):
            nn.init.normal_(layer.weight, std=init_std)

    def source(self, speaker: Tensor) -> Tensor:
        """Speaker embeddings `(batch, 256)` to the source vectors s of every layer, `(batch, layers, d_s)`."""
        projected = self.speaker_projector(speaker).unsqueeze(1).expand(-1, self.layers, -1)
        if self.layer_embedding is None:
            return F.relu(self.source_projector(projected))
        layer = self.layer_embedding.weight.expand(len(speaker), -1, -1)
        return F.relu(self.source_projector(torch.cat([projected, layer], -1)))

    def forward(self, speaker: Tensor) -> dict[str, Tensor]:
        """Speaker embeddings `(batch, 256)` to the generated weights.

        Returns down `(batch, layers, channels, bottleneck)`, up `(batch, layers, bottleneck, channels)` and, where
        generated, down_bias `(batch, layers, bottleneck)` and up_bias `(batch, layers, channels)`.
        """
        s = self.source(speaker)
        weights = {name: sampler(s) for name, sampler in self.samplers.items()}
        weights["down"] = weights["down"].unflatten(-1, (self.channels, self.bottleneck))
        weights["up"] = weights["up"].unflatten(-1, (self.bottleneck, self.channels))
        return weights


def apply_adapter(h: Tensor, weights: dict[str, Tensor], layer: int) -> Tensor:
    """`h + ReLU(h W_d + b_d) W_u + b_u` with one W_d, W_u per utterance: h `(batch, length, channels)`."""
    w = {name: value[:, layer].to(h.dtype) for name, value in weights.items()}
    if "down_bias" not in w:
        return h + torch.bmm(F.relu(torch.bmm(h, w["down"])), w["up"])
    inner = F.relu(torch.baddbmm(w["down_bias"].unsqueeze(1), h, w["down"]))
    return h + torch.baddbmm(w["up_bias"].unsqueeze(1), inner, w["up"])


class HyperAdapters(nn.Module):
    """HyperTTS: one `Hypernetwork` per module letter, for the sites that `FastSpeech2.sites(letter)` names."""

    def __init__(self, sites: Mapping[str, Mapping[str, int]], **sizes):
        """sites: module letter to {site: channels}; sizes: the keyword arguments of `Hypernetwork`."""
        super().__init__()
        self.site_names = {module: list(names) for module, names in sites.items()}
        self.networks = nn.ModuleDict()
        for module, names in sites.items():
            channels = set(names.values())
            if len(channels) != 1:
                raise ValueError(
                    f"module {module} has sites of {sorted(channels)} channels: one hypernetwork serves one width"
                )
            self.networks[module] = Hypernetwork(len(names), channels.pop(), **sizes)

    def hooks(self, speaker: Tensor) -> Hooks:
        """Speaker embeddings `(batch, 256)` to the adapters of each utterance."""
        after_conv: dict[str, Callable[[Tensor], Tensor]] = {}
        for module, network in self.networks.items():
            weights = network(speaker)
            for layer, site in enumerate(self.site_names[module]):
                after_conv[site] = partial(apply_adapter, weights=weights, layer=layer)
        return Hooks(after_conv=after_conv)

    def generated(self, speaker: Tensor) -> Tensor:
        """All generated weights of each speaker, flattened: `(batch, 256)` to `(batch, parameters)` (claim HT6)."""
        parts = [w.flatten(1) for network in self.networks.values() for w in network(speaker).values()]
        return torch.cat(parts, 1)
