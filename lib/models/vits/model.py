"""VITS with its steps apart: text, prior, durations, latent, waveform (Kim et al. 2021, arXiv 2106.06103).

    text -> prior (m_p, logs_p) -> durations -> expanded -> z_p -> inverse flow -> z -> decoder -> waveform

`load` reads a Piper voice; the parts compute what its ONNX graph computes for the same noise, on any device, and
pass gradients. The latent z is `(batch, 192, frames)` at 86 frames a second. Such a file holds no posterior
encoder (recording -> z); `PosteriorEncoder` is one, trained by `inversion_loss` to undo the frozen decoder.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.models.fastspeech2 import expand
from lib.models.vits.layers import CouplingFlow, Decoder, DurationPredictor, TextEncoder, WaveNet, conv, frame_mask
from lib.models.vits.weights import VitsDims, VitsError, find, read, spell
from lib.pretrained import Pretrained

NOISE_SCALE, DURATION_NOISE_SCALE = 0.667, 0.8  # Piper's defaults
WINDOW = 1024  # samples of the posterior encoder's spectrogram


@dataclass(frozen=True)
class Prior:
    """N(m, exp(logs)^2) of the latent before the flow, each `(batch, latent, length)`, and valid lengths `(batch,)`.

    length counts symbols, or frames once expanded. hidden `(batch, channels, length)` is the text encoder's
    output. mask is `(batch, 1, length)`.
    """

    hidden: Tensor
    m: Tensor
    logs: Tensor
    lengths: Tensor

    @property
    def mask(self) -> Tensor:
        return frame_mask(self.lengths, self.m.shape[2])


class Vits(nn.Module):
    """A single-speaker VITS for synthesis; `id_map` spells phonemes, `pretrained` names the weights."""

    def __init__(
        self, dims: VitsDims, id_map: dict[str, list[int]] | None = None, pretrained: Pretrained | None = None
    ):
        super().__init__()
        d = self.dims = dims
        self.id_map, self.pretrained = id_map or {}, pretrained
        self.text_encoder = TextEncoder(d.symbols, d.channels, d.latent, d.inner, d.heads, d.layers, d.window)
        self.duration_predictor = DurationPredictor(d.channels)
        self.flow = CouplingFlow(d.latent, d.channels, d.flows, d.flow_kernel, d.flow_layers)
        self.decoder = Decoder(d.latent, d.decoder, d.rates, d.kernels, d.block_kernels, d.dilations)

    @property
    def device(self) -> torch.device:
        return self.text_encoder.proj.weight.device

    def ids(self, phonemes: list[str]) -> tuple[Tensor, Tensor, list[list[int]]]:
        """Phoneme strings of `lib.text` to ids `(batch, symbols)`, lengths `(batch,)` and each id's phoneme index."""
        spelled = [spell(text, self.id_map) for text in phonemes]
        lengths = torch.tensor([len(ids) for ids, _ in spelled], device=self.device)
        rows = [torch.tensor(ids, device=self.device) for ids, _ in spelled]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths, [owner for _, owner in spelled]

    def encode(self, ids: Tensor, lengths: Tensor) -> Prior:
        """ids `(batch, symbols)` and their lengths `(batch,)` to the prior of every symbol."""
        return Prior(*self.text_encoder(ids, frame_mask(lengths, ids.shape[1])), lengths)

    def durations(self, prior: Prior, noise: Tensor) -> Tensor:
        """Frames per symbol `(batch, symbols)`, drawn with standard normal `noise` `(batch, 2, symbols)`."""
        log_frames = self.duration_predictor(prior.hidden, prior.mask, noise * DURATION_NOISE_SCALE)
        return torch.ceil(log_frames.exp() * prior.mask[:, 0]).long()

    def expand(self, prior: Prior, durations: Tensor) -> Prior:
        """Repeat the prior of every symbol for its duration in frames; durations `(batch, symbols)`, whole."""
        durations = durations * prior.mask[:, 0].long()
        parts = (expand(x.mT, durations).mT.contiguous() for x in (prior.hidden, prior.m, prior.logs))
        return Prior(*parts, durations.sum(1))

    def sample_prior(self, expanded: Prior, noise: Tensor) -> Tensor:
        """z_p `(batch, latent, frames)` = m + exp(logs) noise NOISE_SCALE; noise of z_p's shape, standard normal."""
        return (expanded.m + noise * expanded.logs.exp() * NOISE_SCALE) * expanded.mask

    def to_latent(self, z_p: Tensor, frames: Tensor) -> Tensor:
        """Inverse flow: z_p to z, both `(batch, latent, frames)`."""
        return self.flow.inverse(*self._latent(z_p, frames))

    def decode(self, z: Tensor, frames: Tensor | None = None) -> Tensor:
        """z `(batch, latent, frames)` to waves `(batch, frames * hop)`, 0 after an utterance's own frames."""
        if frames is None or bool((frames == z.shape[2]).all()):
            self._latent(z, torch.tensor([z.shape[2]], device=z.device))
            return self.decoder(z, None)
        z, mask = self._latent(z, frames)
        return self.decoder(z, mask) * mask[:, 0].repeat_interleave(self.dims.hop, 1)

    def _latent(self, z: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        check_latent(z, self.dims.latent)
        mask = frame_mask(frames, z.shape[2])
        return z * mask, mask


def check_latent(z: Tensor, latent: int) -> None:
    """Raise VitsError unless z is `(batch, latent, frames)` with frames."""
    if z.ndim != 3 or z.shape[1] != latent or z.shape[2] == 0:
        raise VitsError(f"The latent has shape {tuple(z.shape)}: this voice needs (batch, {latent}, frames).")


def load(path: str | Path | None = None, device: torch.device | str = "cpu") -> Vits:
    """The Piper voice at `path`, or joe of the pip package: frozen, in evaluation mode, on `device`.

    Raises PretrainedError for a missing file and VitsError for one that is damaged or no such voice.
    """
    pretrained = find(path)
    dims, weights, id_map = read(pretrained.path)
    model = Vits(dims, id_map, pretrained)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise VitsError(f"{pretrained.path} is not a single-speaker VITS voice of Piper: {reason}") from error
    return model.eval().requires_grad_(False).to(device)


def spectrogram(waves: Tensor, hop: int = 256) -> Tensor:
    """Linear magnitudes `(batch, 513, frames)` of `(batch, samples)` as VITS computes them; frames = samples // hop."""
    edge = (WINDOW - hop) // 2
    if waves.shape[1] <= edge:
        raise VitsError(f"{waves.shape[1]} samples are too short for a spectrogram: give more than {edge}.")
    padded = F.pad(waves.unsqueeze(1), (edge, edge), mode="reflect")[:, 0]
    window = torch.hann_window(WINDOW, device=waves.device)
    spectrum = torch.stft(padded, WINDOW, hop, window=window, center=False, return_complex=True)
    return (spectrum.real**2 + spectrum.imag**2 + 1e-6).sqrt()


class PosteriorEncoder(nn.Module):
    """Linear spectrogram to N(m, exp(logs)^2) of z (section 2.2.1): one frame of z per frame of the spectrogram."""

    def __init__(self, latent: int = 192, channels: int = 192, kernel: int = 5, layers: int = 16):
        super().__init__()
        self.pre = conv(WINDOW // 2 + 1, channels)
        self.enc = WaveNet(channels, kernel, layers)
        self.proj = conv(channels, 2 * latent)

    def forward(self, magnitudes: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """magnitudes `(batch, 513, frames)` to m and logs, each `(batch, latent, frames)`."""
        mask = frame_mask(frames, magnitudes.shape[2])
        m, logs = (self.proj(self.enc(self.pre(magnitudes) * mask, mask)) * mask).chunk(2, 1)
        return m, logs


def inversion_loss(vits: Vits, encoder: PosteriorEncoder, z: Tensor, frames: Tensor, waves: Tensor) -> Tensor:
    """Negative log likelihood of z, per valid number, of an encoder that shall undo the frozen decoder.

    waves `(batch, frames * hop)` = vits.decode(z, frames).
    """
    m, logs = encoder(spectrogram(waves, vits.dims.hop), frames)
    mask = frame_mask(frames, z.shape[2])
    likelihood = (0.5 * ((z - m) * torch.exp(-logs)) ** 2 + logs + 0.5 * math.log(2 * math.pi)) * mask
    return likelihood.sum() / (mask.sum() * z.shape[1])
