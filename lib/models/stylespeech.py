"""StyleSpeech (Min et al. 2021, arXiv 2106.03153), the baseline of "Pruning self-attention" (arXiv 2308.14909).

Text and a reference mel to log-mel: the Mel-Style encoder makes a style vector of the reference, and that vector
scales and shifts every layer norm of the phoneme encoder and the mel decoder (Style-Adaptive Layer Norm, SALN).

What both TTS backbones share comes from `lib.models.fft_block` and `lib.models.fastspeech2`: the FFT block, the
variance predictors and the length regulator. Two details follow that shared block and not the authors' release:
the convolutions' activation is ReLU (theirs: Mish), and scores are divided by the root of a head's width (theirs:
of the model's width). Every padded position is masked, so an utterance gives the same output alone and in a batch.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.models.fastspeech2 import VariancePredictor, expand
from lib.models.fft_block import FFTBlock, Hooks, Sizes, check_positions, length_mask, sinusoidal_positions
from lib.models.layers import Conv1d, Dropout, Linear, dropout
from lib.models.mel_style import MelStyleEncoder, StyleAdaptiveLayerNorms, check_reference

LONGEST_SYMBOL = 60  # frames that synthesis gives one symbol at most


@dataclass(frozen=True)
class StyleSpeechDims(Sizes):
    """Sizes of the model; the defaults are the paper's."""

    told = "StyleSpeech sizes"
    n_symbols: int = 180
    n_mels: int = 80
    hidden: int = 256
    heads: int = 2
    encoder_layers: int = 4
    decoder_layers: int = 4
    filter: int = 1024
    kernels: tuple[int, int] = (9, 1)
    dropout: float = 0.1
    predictor_filter: int = 256
    predictor_kernel: int = 3
    predictor_dropout: float = 0.5
    style: int = 128  # style vector
    style_hidden: int = 128
    style_heads: int = 2
    style_kernel: int = 5
    max_symbols: int = 512
    max_frames: int = 2000

    @property
    def shortest_reference(self) -> int:
        """Receptive field of the style encoder's two convolutions, in frames."""
        return 1 + 2 * (self.style_kernel - 1)


class StyleFFTBlock(FFTBlock):
    """An FFT block whose layer norms have no scale and shift of their own: SALN gives them."""

    def __init__(self, channels: int, heads: int, filter_channels: int, kernels: tuple[int, int], dropout: float):
        super().__init__(channels, heads, filter_channels, kernels, dropout)
        self.attention_norm = nn.LayerNorm(channels, elementwise_affine=False)
        self.conv_norm = nn.LayerNorm(channels, elementwise_affine=False)


class EncoderPrenet(nn.Module):
    """Two convolutions with Mish and a linear layer, with a residual."""

    def __init__(self, channels: int, dropout: float, kernel: int = 3):
        super().__init__()
        self.convs = nn.ModuleList(Conv1d(channels, channels, kernel) for _ in range(2))
        self.out = Linear(channels, channels)
        self.dropout = dropout

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        """x `(batch, symbols, channels)`, 0 on padding, to the same."""
        h = x
        for conv in self.convs:
            h = dropout(F.mish(conv(h)), self.dropout, self.training) * keep
        return (x + self.out(h)) * keep


class VarianceEmbedding(nn.Module):
    """One number per symbol (pitch or energy, z-scores) to a vector: two convolutions with ReLU, a linear layer."""

    def __init__(self, channels: int, kernel: int, dropout: float):
        super().__init__()
        self.conv1 = Conv1d(1, channels, kernel)
        self.conv2 = Conv1d(channels, channels, kernel)
        self.out = Linear(channels, channels)
        self.dropout = dropout

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """values `(batch, symbols)`, mask `(batch, symbols)`; returns `(batch, symbols, channels)`."""
        keep = mask.unsqueeze(-1).to(values.dtype)
        h = dropout(F.relu(self.conv1(values.unsqueeze(-1) * keep)), self.dropout, self.training)
        h = dropout(F.relu(self.conv2(h * keep)), self.dropout, self.training)
        return dropout(self.out(h), self.dropout, self.training)


def positions_in_symbol(durations: Tensor, longest: int) -> Tensor:
    """For every frame, how many frames its symbol has lasted: durations `(batch, symbols)` to `(batch, longest)`."""
    starts = (durations.cumsum(1) - durations).unsqueeze(-1)
    return torch.arange(longest, device=durations.device) - expand(starts, durations, longest).squeeze(-1)


class StyleSpeech(nn.Module):
    """Mel-Style encoder, phoneme encoder, variance adaptor and mel decoder."""

    PREDICTORS = ("duration", "pitch", "energy")

    def __init__(self, dims: StyleSpeechDims):
        super().__init__()
        self.dims = dims
        d = dims
        self.style_encoder = MelStyleEncoder(
            d.n_mels, d.style_hidden, d.style_heads, d.style_kernel, d.style, d.dropout
        )
        self.embedding = nn.Embedding(d.n_symbols, d.hidden, padding_idx=0)
        self.register_buffer("encoder_positions", sinusoidal_positions(d.max_symbols, d.hidden), persistent=False)
        self.register_buffer("decoder_positions", sinusoidal_positions(d.max_frames, d.hidden), persistent=False)
        block = (d.hidden, d.heads, d.filter, d.kernels, d.dropout)
        self.encoder_prenet = EncoderPrenet(d.hidden, d.dropout)
        self.encoder = nn.ModuleList(StyleFFTBlock(*block) for _ in range(d.encoder_layers))
        self.encoder_out = Linear(d.hidden, d.hidden)
        self.decoder_prenet = nn.Sequential(
            Linear(d.hidden, d.hidden // 2), nn.Mish(), Dropout(d.dropout), Linear(d.hidden // 2, d.hidden)
        )
        self.decoder = nn.ModuleList(StyleFFTBlock(*block) for _ in range(d.decoder_layers))
        sites = [f"e{i}" for i in range(d.encoder_layers)] + [f"d{i}" for i in range(d.decoder_layers)]
        self.norms = StyleAdaptiveLayerNorms(sites, d.hidden, d.style)
        predictor = (d.hidden, d.predictor_filter, d.predictor_kernel, d.predictor_dropout)
        self.duration = VariancePredictor(*predictor)
        self.pitch = VariancePredictor(*predictor)
        self.energy = VariancePredictor(*predictor)
        self.variance_norm = nn.LayerNorm(d.hidden)
        self.pitch_embedding = VarianceEmbedding(d.hidden, d.predictor_kernel, d.predictor_dropout)
        self.energy_embedding = VarianceEmbedding(d.hidden, d.predictor_kernel, d.predictor_dropout)
        self.to_mel = Linear(d.hidden, d.n_mels)

    def style(self, mel: Tensor, lengths: Tensor) -> Tensor:
        """Style vectors `(batch, style)` of reference mels `(batch, frames, n_mels)` with frame counts `(batch,)`."""
        return self.style_encoder(mel, length_mask(lengths, mel.shape[1]))

    def encode(self, symbols: Tensor, lengths: Tensor, hooks: Hooks) -> tuple[Tensor, Tensor]:
        """Symbols `(batch, symbols)` to hidden `(batch, symbols, hidden)` and its mask.

        Raises:
            ValueError: more symbols than the model has positions.
        """
        check_positions(symbols.shape[1], self.dims.max_symbols, "phonemes", "max_symbols")
        mask = length_mask(lengths, symbols.shape[1])
        keep = mask.unsqueeze(-1)
        x = self.encoder_prenet(self.embedding(symbols) * keep, keep)
        x = (x + self.encoder_positions[: symbols.shape[1]]) * keep
        for i, block in enumerate(self.encoder):
            x = block(x, mask, f"e{i}", hooks)
        return self.encoder_out(x) * keep, mask

    def decode(self, x: Tensor, frames: Tensor, hooks: Hooks) -> Tensor:
        """Expanded hidden states `(batch, frames, hidden)` and frame counts to log-mel `(batch, frames, n_mels)`.

        Raises:
            ValueError: more frames than the model has positions.
        """
        check_positions(x.shape[1], self.dims.max_frames, "frames", "max_frames")
        mask = length_mask(frames, x.shape[1])
        keep = mask.unsqueeze(-1)
        x = (self.decoder_prenet(x) + self.decoder_positions[: x.shape[1]]) * keep
        for i, block in enumerate(self.decoder):
            x = block(x, mask, f"d{i}", hooks)
        return self.to_mel(x) * keep

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Teacher-forced pass; each utterance's own mel is its style reference, unless the batch has another.

        batch: symbols, symbol_lengths, durations (frames), pitch and energy (z-scores per symbol), mel, frame_lengths;
        for references of their own, reference `(batch, frames, n_mels)` and reference_lengths `(batch,)`.
        Returns mel `(batch, frames, n_mels)` and duration (log(1 + frames)), pitch, energy `(batch, symbols)`.
        """
        reference = ("reference", "reference_lengths") if "reference" in batch else ("mel", "frame_lengths")
        hooks = self.norms.hooks(self.style(*(batch[name] for name in reference)))
        x, mask = self.encode(batch["symbols"], batch["symbol_lengths"], hooks)
        out = self._predict(x, mask)
        x = self._regulate(x, mask, batch["pitch"], batch["energy"], batch["durations"], batch["mel"].shape[1])
        return out | {"mel": self.decode(x, batch["frame_lengths"], hooks)}

    @torch.no_grad()
    def synthesise(
        self, symbols: Tensor, lengths: Tensor, reference: Tensor, reference_lengths: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Text in the voice of a reference: symbols `(batch, symbols)`, log-mels `(batch, reference frames, n_mels)`.

        Returns log-mel `(batch, frames, n_mels)` and frame counts `(batch,)`, everything predicted.

        Raises:
            ReferenceSpeechError: a reference is silent or shorter than the style encoder's receptive field.
        """
        check_reference(reference, reference_lengths, self.dims.shortest_reference)
        hooks = self.norms.hooks(self.style(reference, reference_lengths))
        x, mask = self.encode(symbols, lengths, hooks)
        predicted = self._predict(x, mask)
        durations = (predicted["duration"].float().exp() - 1).round().clamp(0, LONGEST_SYMBOL).long() * mask
        durations[:, 0] += (durations.sum(1) == 0).long()
        frames = durations.sum(1)
        x = self._regulate(x, mask, predicted["pitch"], predicted["energy"], durations, int(frames.max()))
        return self.decode(x, frames, hooks), frames

    def _predict(self, x: Tensor, mask: Tensor) -> dict[str, Tensor]:
        return {name: getattr(self, name)(x, mask, name) for name in self.PREDICTORS}

    def _regulate(
        self, x: Tensor, mask: Tensor, pitch: Tensor, energy: Tensor, durations: Tensor, longest: int
    ) -> Tensor:
        """Add pitch and energy, repeat each symbol for its frames and add the frame's position in its symbol."""
        x = self.variance_norm(x) + self.pitch_embedding(pitch, mask) + self.energy_embedding(energy, mask)
        position = positions_in_symbol(durations, longest).clamp(0, self.dims.max_frames - 1)
        return expand(x * mask.unsqueeze(-1), durations, longest) + self.decoder_positions[position]
