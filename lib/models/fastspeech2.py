"""The FastSpeech-2-type backbone of HyperTTS (arXiv 2404.04645, section 3): text and speaker embedding to log-mel.

Lengths are counted in symbols (encoder) and in frames (decoder); every padded position is masked, so an
utterance gives the same output alone and in a batch.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.models.fft_block import NO_HOOKS, FFTBlock, Hooks, Sizes, check_positions, length_mask, sinusoidal_positions
from lib.models.layers import BatchNorm1d, Conv1d, Linear, dropout


@dataclass(frozen=True)
class FastSpeech2Dims(Sizes):
    """Sizes of the backbone; the defaults are the paper's (35.7 M parameters with its aligner)."""

    told = "backbone sizes"
    n_symbols: int = 180
    n_mels: int = 80
    hidden: int = 256
    heads: int = 2
    encoder_layers: int = 4
    decoder_layers: int = 6
    filter: int = 1024
    kernels: tuple[int, int] = (9, 1)
    dropout: float = 0.2
    speaker: int = 256  # GE2E embedding
    predictor_filter: int = 256
    duration_kernel: int = 3
    pitch_kernel: int = 5
    predictor_dropout: float = 0.5
    bins: int = 256  # quantised pitch and energy
    postnet_layers: int = 5
    postnet_channels: int = 512
    postnet_dropout: float = 0.5
    max_symbols: int = 512
    max_frames: int = 2000


class VariancePredictor(nn.Module):
    """Two convolutions with ReLU, layer norm and dropout, then one number per symbol (FastSpeech 2, figure 1c)."""

    def __init__(self, channels: int, filter_channels: int, kernel: int, dropout: float):
        super().__init__()
        sizes = [channels, filter_channels, filter_channels]
        self.convs = nn.ModuleList(Conv1d(a, b, kernel) for a, b in pairwise(sizes))
        self.norms = nn.ModuleList(nn.LayerNorm(filter_channels) for _ in self.convs)
        self.out = nn.Linear(filter_channels, 1)
        self.dropout = dropout

    def forward(self, x: Tensor, mask: Tensor, site: str, hooks: Hooks = NO_HOOKS) -> Tensor:
        """x `(batch, symbols, channels)` to `(batch, symbols)`, 0 on padding."""
        keep = mask.unsqueeze(-1).to(x.dtype)
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            h = conv(x * keep)
            if f"{site}{i}" in hooks.after_conv:
                h = hooks.after_conv[f"{site}{i}"](h)
            x = dropout(norm(F.relu(h)), self.dropout, self.training)
        return self.out(x).squeeze(-1) * mask


class Postnet(nn.Module):
    """Tacotron 2's residual convolutional postnet on `(batch, frames, n_mels)`, masked between its layers."""

    def __init__(self, n_mels: int, channels: int, layers: int, dropout: float, kernel: int = 5):
        super().__init__()
        sizes = [n_mels] + [channels] * (layers - 1) + [n_mels]
        self.convs = nn.ModuleList(Conv1d(a, b, kernel) for a, b in pairwise(sizes))
        self.norms = nn.ModuleList(BatchNorm1d(b) for b in sizes[1:])
        self.dropout = dropout

    def forward(self, mel: Tensor, mask: Tensor) -> Tensor:
        keep, h = mask.unsqueeze(-1).to(mel.dtype), mel
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            h = norm(conv(h * keep))
            h = torch.tanh(h) if i < len(self.convs) - 1 else h
            h = dropout(h, self.dropout, self.training)
        return (mel + h) * keep


def expand(h: Tensor, durations: Tensor, longest: int | None = None) -> Tensor:
    """The length regulator, without a loop: each symbol's vector repeated for its frames.

    h `(batch, symbols, channels)`, durations `(batch, symbols)` in frames, integers >= 0;
    returns `(batch, frames, channels)` with zeros after each utterance's last frame.
    """
    ends = durations.cumsum(1)
    longest = int(ends[:, -1].max()) if longest is None else longest
    frame = torch.arange(longest, device=h.device).expand(len(h), -1).contiguous()
    symbol = torch.searchsorted(ends, frame, right=True).clamp_max(h.shape[1] - 1)
    out = h.gather(1, symbol.unsqueeze(-1).expand(-1, -1, h.shape[-1]))
    return out * length_mask(ends[:, -1], longest).unsqueeze(-1)


class FastSpeech2(nn.Module):
    """Encoder, variance adaptor, decoder and postnet, with a speaker embedding added to the encoder's output."""

    PREDICTORS = ("duration", "pitch", "energy")

    def __init__(self, dims: FastSpeech2Dims):
        super().__init__()
        self.dims = dims
        d = dims
        self.embedding = nn.Embedding(d.n_symbols, d.hidden, padding_idx=0)
        self.register_buffer("encoder_positions", sinusoidal_positions(d.max_symbols, d.hidden), persistent=False)
        self.register_buffer("decoder_positions", sinusoidal_positions(d.max_frames, d.hidden), persistent=False)
        block = (d.hidden, d.heads, d.filter, d.kernels, d.dropout)
        self.encoder = nn.ModuleList(FFTBlock(*block) for _ in range(d.encoder_layers))
        self.decoder = nn.ModuleList(FFTBlock(*block) for _ in range(d.decoder_layers))
        self.speaker = Linear(d.speaker, d.hidden)
        predictor = (d.hidden, d.predictor_filter)
        self.duration = VariancePredictor(*predictor, d.duration_kernel, d.predictor_dropout)
        self.pitch = VariancePredictor(*predictor, d.pitch_kernel, d.predictor_dropout)
        self.energy = VariancePredictor(*predictor, d.pitch_kernel, d.predictor_dropout)
        self.register_buffer("bin_edges", torch.linspace(-4, 4, d.bins - 1), persistent=False)
        self.pitch_embedding = nn.Embedding(d.bins, d.hidden)
        self.energy_embedding = nn.Embedding(d.bins, d.hidden)
        self.to_mel = Linear(d.hidden, d.n_mels)
        self.postnet = Postnet(d.n_mels, d.postnet_channels, d.postnet_layers, d.postnet_dropout)

    def sites(self, modules: str) -> dict[str, int]:
        """Adapter sites of the modules named by letters of "evd", with the channels at each."""
        d, names = self.dims, {}
        if unknown := set(modules) - set("evd"):
            raise ValueError(f"unknown modules {sorted(unknown)}: name them by letters of 'evd'")
        if "e" in modules:
            names |= {f"e{i}": d.hidden for i in range(d.encoder_layers)}
        if "v" in modules:
            names |= {f"{p}{i}": d.predictor_filter for p in self.PREDICTORS for i in range(2)}
        if "d" in modules:
            names |= {f"d{i}": d.hidden for i in range(d.decoder_layers)}
        return names

    def encode(self, symbols: Tensor, lengths: Tensor, speaker: Tensor, hooks: Hooks = NO_HOOKS):
        """Symbols `(batch, symbols)` and speaker `(batch, 256)` to hidden `(batch, symbols, hidden)` and its mask."""
        check_positions(symbols.shape[1], self.dims.max_symbols, "phonemes", "backbone.max_symbols")
        mask = length_mask(lengths, symbols.shape[1])
        x = (self.embedding(symbols) + self.encoder_positions[: symbols.shape[1]]) * mask.unsqueeze(-1)
        for i, block in enumerate(self.encoder):
            x = block(x, mask, f"e{i}", hooks)
        return (x + self.speaker(speaker).unsqueeze(1)) * mask.unsqueeze(-1), mask

    def decode(self, x: Tensor, frames: Tensor, hooks: Hooks = NO_HOOKS) -> tuple[Tensor, Tensor]:
        """Expanded hidden states `(batch, frames, hidden)` to the mel before and after the postnet."""
        check_positions(x.shape[1], self.dims.max_frames, "frames", "backbone.max_frames")
        mask = length_mask(frames, x.shape[1])
        x = (x + self.decoder_positions[: x.shape[1]]) * mask.unsqueeze(-1)
        for i, block in enumerate(self.decoder):
            x = block(x, mask, f"d{i}", hooks)
        mel = self.to_mel(x) * mask.unsqueeze(-1)
        return mel, self.postnet(mel, mask)

    def forward(self, batch: dict[str, Tensor], hooks: Hooks = NO_HOOKS) -> dict[str, Tensor]:
        """Teacher-forced pass: the recording's durations (frames), pitch and energy (z-scores per symbol).

        batch: symbols, symbol_lengths, speaker, durations, pitch, energy, mel, frame_lengths.
        """
        x, mask = self.encode(batch["symbols"], batch["symbol_lengths"], batch["speaker"], hooks)
        out = {name: getattr(self, name)(x, mask, name, hooks) for name in self.PREDICTORS}
        x = x + self._variance(batch["pitch"], batch["energy"]) * mask.unsqueeze(-1)
        x = expand(x, batch["durations"], batch["mel"].shape[1])
        out["mel"], out["mel_postnet"] = self.decode(x, batch["frame_lengths"], hooks)
        return out

    @torch.no_grad()
    def synthesise(self, symbols: Tensor, lengths: Tensor, speaker: Tensor, hooks: Hooks = NO_HOOKS):
        """Text to log-mel `(batch, frames, n_mels)` and frame counts `(batch,)`, everything predicted."""
        x, mask = self.encode(symbols, lengths, speaker, hooks)
        log_duration, pitch, energy = (getattr(self, name)(x, mask, name, hooks) for name in self.PREDICTORS)
        durations = (log_duration.float().exp() - 1).round().clamp(0, 60).long() * mask
        durations[:, 0] += (durations.sum(1) == 0).long()
        x = x + self._variance(pitch, energy) * mask.unsqueeze(-1)
        frames = durations.sum(1)
        return self.decode(expand(x, durations), frames, hooks)[1], frames

    def _variance(self, pitch: Tensor, energy: Tensor) -> Tensor:
        return self.pitch_embedding(torch.bucketize(pitch.float(), self.bin_edges)) + self.energy_embedding(
            torch.bucketize(energy.float(), self.bin_edges)
        )


def loss(out: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """FastSpeech 2's losses, each a mean over valid positions, and "total", their sum.

    L1 on the mel, and on that after the postnet where there is one; MSE on log(1 + frames), pitch and energy.
    """
    frames = length_mask(batch["frame_lengths"], batch["mel"].shape[1]).unsqueeze(-1)
    symbols = length_mask(batch["symbol_lengths"], batch["symbols"].shape[1])
    numbers = frames.sum() * batch["mel"].shape[-1]
    mels = [name for name in ("mel", "mel_postnet") if name in out]
    targets = {"duration": torch.log1p(batch["durations"].float()), "pitch": batch["pitch"], "energy": batch["energy"]}
    parts = {name: ((out[name] - batch["mel"]).abs() * frames).sum() / numbers for name in mels}
    for name, target in targets.items():
        parts[name] = ((out[name] - target).square() * symbols).sum() / symbols.sum()
    return {"total": sum(parts.values()), **parts}
