"""Log-mel spectrograms as HyperTTS and StyleSpeech use them."""

from dataclasses import dataclass
from functools import lru_cache

import librosa
import torch
from torch import Tensor


@dataclass(frozen=True)
class MelDims:
    """Analysis parameters; the defaults are those of both TTS papers."""

    rate: int = 16000  # Hz
    n_fft: int = 1024  # samples, also the length of the Hann window
    hop: int = 256  # samples
    n_mels: int = 80
    f_min: float = 0.0  # Hz
    f_max: float = 8000.0  # Hz
    floor: float = 1e-5  # smallest mel magnitude before the logarithm

    @property
    def frames_per_second(self) -> float:
        return self.rate / self.hop


@lru_cache(maxsize=8)
def _filterbank(dims: MelDims) -> Tensor:
    bank = librosa.filters.mel(sr=dims.rate, n_fft=dims.n_fft, n_mels=dims.n_mels, fmin=dims.f_min, fmax=dims.f_max)
    return torch.from_numpy(bank).float()


def filterbank(dims: MelDims, device: torch.device | str = "cpu") -> Tensor:
    """Slaney-normalised mel filters, `(n_mels, n_fft // 2 + 1)`."""
    return _filterbank(dims).to(device)


def magnitude(waves: Tensor, dims: MelDims = MelDims()) -> Tensor:
    """Magnitude spectrogram of `(batch, samples)`: `(batch, frames, n_fft // 2 + 1)`, frames = 1 + samples // hop."""
    window = torch.hann_window(dims.n_fft, device=waves.device)
    spectrum = torch.stft(
        waves, dims.n_fft, dims.hop, window=window, center=True, pad_mode="reflect", return_complex=True
    )
    return spectrum.abs().transpose(1, 2)


def log_mel(waves: Tensor, dims: MelDims = MelDims()) -> Tensor:
    """Natural-log mel magnitudes of `(batch, samples)`: `(batch, frames, n_mels)`.

    Raises:
        ValueError: a wave is too short for one analysis window.
    """
    if waves.shape[-1] <= dims.n_fft // 2:
        raise ValueError(
            f"{waves.shape[-1]} samples are too short for a mel spectrogram: "
            f"give at least {dims.n_fft // 2 + 1} samples at {dims.rate} Hz"
        )
    mel = magnitude(waves, dims) @ filterbank(dims, waves.device).T
    return mel.clamp_min(dims.floor).log()
