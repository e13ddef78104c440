"""The parts of VITS (Kim et al. 2021, arXiv 2106.06103): text encoder, duration flow, coupling flow, decoder.

Tensors are `(batch, channels, length)`, masks `(batch, 1, length)` with 1 inside an utterance and 0 after it.
Every layer masks what it convolves, so an utterance does not depend on the batch it is padded in. Weight norm is
folded into the weights, as in the files that are loaded.
"""

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.models.fft_block import length_mask

SPLINE_BOUND = 5.0
SPLINE_MINIMUM = 1e-3  # of a bin's width, height and slope
LEAK = 0.1


def frame_mask(lengths: Tensor, longest: int | None = None) -> Tensor:
    """Lengths `(batch,)` to a float mask `(batch, 1, longest)`."""
    return length_mask(lengths, longest).unsqueeze(1).float()


def conv(inside: int, outside: int, kernel: int = 1, dilation: int = 1, **options) -> nn.Conv1d:
    """A 1-D convolution that keeps the length; `kernel` is odd."""
    return nn.Conv1d(inside, outside, kernel, padding=dilation * (kernel - 1) // 2, dilation=dilation, **options)


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of every frame."""

    def __init__(self, channels: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.transpose(1, 2), self.gamma.shape, self.gamma, self.beta, 1e-5).transpose(1, 2)


class RelativeAttention(nn.Module):
    """Self-attention with relative positions in a window (Shaw et al. 2018), shared by the heads.

    Position j adds q_i . k_(j-i) to the score of i and v_(j-i) to what is read, for |j - i| <= window.
    """

    def __init__(self, channels: int, heads: int, window: int):
        super().__init__()
        self.heads, self.window = heads, window
        self.conv_q, self.conv_k, self.conv_v, self.conv_o = (conv(channels, channels) for _ in range(4))
        scale = (channels // heads) ** -0.5
        self.emb_rel_k = nn.Parameter(torch.randn(1, 2 * window + 1, channels // heads) * scale)
        self.emb_rel_v = nn.Parameter(torch.randn(1, 2 * window + 1, channels // heads) * scale)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(1, (self.heads, -1)).transpose(2, 3) for layer in (self.conv_q, self.conv_k, self.conv_v)
        )
        q = q / math.sqrt(q.shape[-1])
        places = torch.arange(x.shape[2], device=x.device)
        offset = places[None, :] - places[:, None]
        near = (offset.abs() <= self.window).to(x.dtype)
        index = (offset.clamp(-self.window, self.window) + self.window).expand(*q.shape[:2], -1, -1)
        scores = q @ k.transpose(2, 3) + (q @ self.emb_rel_k[0].T).gather(-1, index) * near
        weights = scores.masked_fill(mask.unsqueeze(2) == 0, -1e4).softmax(-1)
        band = torch.zeros(*q.shape[:3], 2 * self.window + 1, dtype=x.dtype, device=x.device)
        read = weights @ v + band.scatter_add(-1, index, weights * near) @ self.emb_rel_v[0]
        return self.conv_o(read.transpose(2, 3).flatten(1, 2))


class FeedForward(nn.Module):
    def __init__(self, channels: int, inner: int, kernel: int):
        super().__init__()
        self.conv_1, self.conv_2 = conv(channels, inner, kernel), conv(inner, channels, kernel)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.conv_2(F.relu(self.conv_1(x * mask)) * mask) * mask


class TextEncoder(nn.Module):
    """Symbol ids to hidden states and the prior's mean and log standard deviation (section 2.2.1)."""

    def __init__(self, symbols: int, channels: int, latent: int, inner: int, heads: int, layers: int, window: int):
        super().__init__()
        self.emb = nn.Embedding(symbols, channels)
        self.encoder = nn.ModuleDict(
            {
                "attn_layers": nn.ModuleList(RelativeAttention(channels, heads, window) for _ in range(layers)),
                "norm_layers_1": nn.ModuleList(ChannelNorm(channels) for _ in range(layers)),
                "ffn_layers": nn.ModuleList(FeedForward(channels, inner, 3) for _ in range(layers)),
                "norm_layers_2": nn.ModuleList(ChannelNorm(channels) for _ in range(layers)),
            }
        )
        self.proj = conv(channels, 2 * latent)

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """ids `(batch, symbols)` to hidden `(batch, channels, symbols)`, m and logs `(batch, latent, symbols)`."""
        x = self.emb(ids).transpose(1, 2) * math.sqrt(self.emb.embedding_dim) * mask
        for attention, norm_1, feed_forward, norm_2 in zip(*self.encoder.values(), strict=True):
            x = norm_1(x + attention(x, mask))
            x = norm_2(x + feed_forward(x, mask))
        m, logs = (self.proj(x * mask) * mask).chunk(2, 1)
        return x * mask, m, logs


class WaveNet(nn.Module):
    """Gated convolutions with skip connections, the body of the coupling layers and the posterior encoder."""

    def __init__(self, channels: int, kernel: int, layers: int):
        super().__init__()
        self.in_layers = nn.ModuleList(conv(channels, 2 * channels, kernel) for _ in range(layers))
        self.res_skip_layers = nn.ModuleList(
            conv(channels, channels * (1 if i == layers - 1 else 2)) for i in range(layers)
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        total = torch.zeros_like(x)
        for gate, res_skip in zip(self.in_layers, self.res_skip_layers, strict=True):
            signal, sigma = gate(x).chunk(2, 1)
            out = res_skip(signal.tanh() * sigma.sigmoid())
            if out.shape[1] > x.shape[1]:
                residual, out = out.chunk(2, 1)
                x = (x + residual) * mask
            total = total + out
        return total * mask


class Coupling(nn.Module):
    """Affine coupling that keeps volume: the second half of the channels moves by a function of the first."""

    def __init__(self, latent: int, channels: int, kernel: int, layers: int):
        super().__init__()
        self.pre = conv(latent // 2, channels)
        self.enc = WaveNet(channels, kernel, layers)
        self.post = conv(channels, latent // 2)

    def inverse(self, x: Tensor, mask: Tensor) -> Tensor:
        first, second = x.chunk(2, 1)
        shift = self.post(self.enc(self.pre(first) * mask, mask)) * mask
        return torch.cat([first, (second - shift) * mask], 1)


class CouplingFlow(nn.Module):
    """The inverse of f of equation 4, z_p -> z; f reverses the channels after every layer."""

    def __init__(self, latent: int, channels: int, flows: int, kernel: int, layers: int):
        super().__init__()
        self.layers = nn.ModuleList(Coupling(latent, channels, kernel, layers) for _ in range(flows))

    def inverse(self, z_p: Tensor, mask: Tensor) -> Tensor:
        for layer in reversed(self.layers):
            z_p = layer.inverse(z_p.flip(1), mask)
        return z_p


class SeparableConvs(nn.Module):
    """Dilated depth-separable convolutions, dilation kernel ** i."""

    def __init__(self, channels: int, kernel: int, layers: int):
        super().__init__()
        self.convs_sep = nn.ModuleList(
            conv(channels, channels, kernel, kernel**i, groups=channels) for i in range(layers)
        )
        self.convs_1x1 = nn.ModuleList(conv(channels, channels) for _ in range(layers))
        self.norms_1 = nn.ModuleList(ChannelNorm(channels) for _ in range(layers))
        self.norms_2 = nn.ModuleList(ChannelNorm(channels) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for depth, point, norm_1, norm_2 in zip(
            self.convs_sep, self.convs_1x1, self.norms_1, self.norms_2, strict=True
        ):
            x = x + F.gelu(norm_2(point(F.gelu(norm_1(depth(x * mask))))))
        return x * mask


def inverse_spline(y: Tensor, widths: Tensor, heights: Tensor, slopes: Tensor) -> Tensor:
    """Inverse of a monotonic rational-quadratic spline (Durkan et al. 2019, equations 6 to 8), identity outside.

    y: any shape; widths and heights `(*y.shape, bins)` and slopes `(*y.shape, bins - 1)`, before softmax and
    softplus; the slope at either end of [-5, 5] is 1.
    """
    bins = widths.shape[-1]

    def knots(logits: Tensor) -> Tensor:
        sizes = SPLINE_MINIMUM + (1 - SPLINE_MINIMUM * bins) * logits.softmax(-1)
        return F.pad(sizes.cumsum(-1)[..., :-1], (1, 0)) * 2 * SPLINE_BOUND - SPLINE_BOUND

    x_knots, y_knots = (F.pad(knots(part), (0, 1), value=SPLINE_BOUND) for part in (widths, heights))
    slopes = F.pad(SPLINE_MINIMUM + F.softplus(slopes), (1, 1), value=1.0)
    inside = y.clamp(-SPLINE_BOUND, SPLINE_BOUND)
    left = (inside.unsqueeze(-1) >= y_knots[..., 1:-1]).sum(-1, keepdim=True)
    x_0, y_0, d_0 = (part.gather(-1, left).squeeze(-1) for part in (x_knots, y_knots, slopes))
    x_1, y_1, d_1 = (part.gather(-1, left + 1).squeeze(-1) for part in (x_knots, y_knots, slopes))
    slope = (y_1 - y_0) / (x_1 - x_0)
    bend = (inside - y_0) * (d_0 + d_1 - 2 * slope)
    a = bend + (y_1 - y_0) * (slope - d_0)
    b = (y_1 - y_0) * d_0 - bend
    c = -slope * (inside - y_0)
    root = 2 * c / (-b - (b * b - 4 * a * c).clamp_min(0).sqrt())
    return torch.where(y.abs() <= SPLINE_BOUND, x_0 + root * (x_1 - x_0), y)


class SplineFlow(nn.Module):
    """Coupling of two channels: the second goes through an inverse spline that the first and the text choose."""

    def __init__(self, channels: int, kernel: int, layers: int, bins: int):
        super().__init__()
        self.bins = bins
        self.pre = conv(1, channels)
        self.convs = SeparableConvs(channels, kernel, layers)
        self.proj = conv(channels, 3 * bins - 1)

    def inverse(self, x: Tensor, mask: Tensor, text: Tensor) -> Tensor:
        first, second = x.chunk(2, 1)
        h = self.convs(self.pre(first) + text, mask)
        h = (self.proj(h) * mask).transpose(1, 2).unsqueeze(1)
        widths, heights, slopes = h.split([self.bins, self.bins, self.bins - 1], -1)
        scale = math.sqrt(self.pre.out_channels)
        return torch.cat([first, inverse_spline(second, widths / scale, heights / scale, slopes)], 1) * mask


class DurationPredictor(nn.Module):
    """Noise to log durations given the text (section 2.2.2), the direction that synthesis uses.

    The first spline of the trained flow is left out of synthesis by the authors, and of the files with it.
    """

    def __init__(self, channels: int, kernel: int = 3, layers: int = 3, flows: int = 3, bins: int = 10):
        super().__init__()
        self.pre = conv(channels, channels)
        self.convs = SeparableConvs(channels, kernel, layers)
        self.proj = conv(channels, channels)
        self.m = nn.Parameter(torch.zeros(2, 1))
        self.logs = nn.Parameter(torch.zeros(2, 1))
        self.flows = nn.ModuleList(SplineFlow(channels, kernel, layers, bins) for _ in range(flows))

    def forward(self, hidden: Tensor, mask: Tensor, noise: Tensor) -> Tensor:
        """hidden `(batch, channels, symbols)` and noise `(batch, 2, symbols)` to log frames `(batch, symbols)`."""
        text = self.proj(self.convs(self.pre(hidden), mask)) * mask
        for flow in reversed(self.flows):
            noise = flow.inverse(noise.flip(1), mask, text)
        noise = (noise.flip(1) - self.m) * torch.exp(-self.logs) * mask
        return noise[:, 0]


class ResBlock(nn.Module):
    """HiFi-GAN's second residual block (Kong et al. 2020): one convolution per dilation."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]):
        super().__init__()
        self.convs = nn.ModuleList(conv(channels, channels, kernel, dilation) for dilation in dilations)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        for layer in self.convs:
            x = x + layer(inside(F.leaky_relu(x, LEAK), mask))
        return x


class Decoder(nn.Module):
    """HiFi-GAN generator from latent frames to samples."""

    def __init__(
        self,
        latent: int,
        channels: int,
        rates: tuple[int, ...],
        kernels: tuple[int, ...],
        block_kernels: tuple[int, ...],
        dilations: tuple[tuple[int, ...], ...],
        block: type[nn.Module] = ResBlock,
        bias: bool = False,  # of the last convolution
    ):
        super().__init__()
        self.rates, self.blocks = rates, len(block_kernels)
        self.conv_pre = conv(latent, channels, 7)
        self.ups, self.resblocks = nn.ModuleList(), nn.ModuleList()
        for rate, kernel in zip(rates, kernels, strict=True):
            self.ups.append(nn.ConvTranspose1d(channels, channels // 2, kernel, rate, (kernel - rate) // 2))
            channels //= 2
            self.resblocks.extend(block(channels, *shape) for shape in zip(block_kernels, dilations, strict=True))
        self.conv_post = conv(channels, 1, 7, bias=bias)

    def trainable(self, condition: int = 0, film: bool = False) -> "Decoder":
        """A copy to be trained, which starts as this decoder; it may take a condition of so many numbers.

        As in multi-speaker VITS, a 1x1 convolution of the condition is added after the first convolution; with film it
        gives a gain as well (FiLM, Perez et al. 2018).
        """
        made = copy.deepcopy(self).requires_grad_(True)
        if condition:
            made.cond = conv(condition, made.conv_pre.out_channels * (1 + film))
            nn.init.zeros_(made.cond.weight)
            nn.init.zeros_(made.cond.bias)
        return made

    def forward(self, z: Tensor, mask: Tensor | None, g: Tensor | None = None) -> Tensor:
        """z `(batch, latent, frames)` to `(batch, frames * hop)`; without a mask every frame is valid.

        g `(batch, size)` is the condition of a decoder that takes one.
        """
        x = self.conv_pre(inside(z, mask))
        if g is not None:
            shift, *gain = self.cond(g.unsqueeze(2)).split(x.shape[1], 1)
            x = x * (1 + gain[0]) + shift if gain else x + shift
        for i, (rate, up) in enumerate(zip(self.rates, self.ups, strict=True)):
            x = up(inside(F.leaky_relu(x, LEAK), mask))
            mask = mask if mask is None else mask.repeat_interleave(rate, 2)
            blocks = self.resblocks[i * self.blocks : (i + 1) * self.blocks]
            x = sum(block(x, mask) for block in blocks) / self.blocks
        return torch.tanh(self.conv_post(inside(F.leaky_relu(x, 0.01), mask)))[:, 0]


def inside(x: Tensor, mask: Tensor | None) -> Tensor:
    """x with zeros where the mask has them; as it is without a mask."""
    return x if mask is None else x * mask
