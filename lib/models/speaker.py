"""GE2E speaker embeddings with Resemblyzer's weights, batched over utterances on any device.

Wan et al., "Generalized end-to-end loss for speaker verification", ICASSP 2018; the weights and the cutting
into partial utterances are Resemblyzer's, which HyperTTS conditions on and is evaluated with.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from lib.pretrained import resolve
from lib.workers import map_in_threads

RATE = 16000
HOP = 160
WINDOW = 400
CHANNELS = 40
SIZE = 256
PARTIAL = 160
PARTIALS_PER_SECOND = 1.3
LEAST_COVERAGE = 0.75
LEVEL = -30.0
CPU_WAVES, CPU_PARTIALS = 8, 24  # of a thread at once: more leave the cache, and cost up to four times as long
GPU_WAVES, GPU_PARTIALS = 256, 2048


class SpeakerError(ValueError):
    """Audio that has no speaker embedding."""


class SpeakerEncoder(nn.Module):
    """Three LSTM layers over 1.6 s of mel power spectrum, then a linear layer, ReLU and the unit sphere."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(CHANNELS, SIZE, 3, batch_first=True)
        self.linear = nn.Linear(SIZE, SIZE)

    def forward(self, mel: Tensor) -> Tensor:
        """Unit embeddings (batch, 256) of mel power (batch, 160, 40)."""
        _, (hidden, _) = self.lstm(mel)
        return nn.functional.normalize(self.linear(hidden[-1]).relu(), dim=1)


@lru_cache(maxsize=2)
def load(device: str = "cpu") -> SpeakerEncoder:
    """The encoder on `device` with weights from `lib.pretrained`; raises PretrainedError without them."""
    state = torch.load(resolve("ge2e").path, map_location="cpu", weights_only=True)["model_state"]
    encoder = SpeakerEncoder()
    encoder.load_state_dict({name: state[name] for name in encoder.state_dict()})
    return encoder.to(device).eval().requires_grad_(False)


def embed(waves: list[np.ndarray], device: str = "cpu", batch_size: int | None = None) -> np.ndarray:
    """GE2E embeddings (batch, 256), float32 and of unit norm, of mono 16 kHz `waves`.

    Each equals Resemblyzer's `embed_utterance` on the wave raised to -30 dBFS where it is quieter: partial
    utterances of 1.6 s start every 0.77 s, the last one is kept if sound covers 75 % of it, and the mean of
    their embeddings is normalised. Of Resemblyzer's `preprocess_wav` this keeps the level but not the voice
    activity detection, which drops pauses longer than 0.2 s and would make the embedding depend on a
    detector. Partial utterances are packed; `batch_size` is how many of them the network sees at once. On a CPU each of
    torch's threads takes some waves of its own.
    Raises SpeakerError for audio that is not finite mono, empty or silent.
    """
    if not waves:
        return np.zeros((0, SIZE), dtype=np.float32)
    encoder, on_cpu = load(str(device)), torch.device(device).type == "cpu"
    levelled = [normalise_level(wave, index) for index, wave in enumerate(waves)]
    starts = [partial_starts(len(wave)) for wave in levelled]
    order = sorted(range(len(waves)), key=lambda index: len(waves[index]))
    together = min(CPU_WAVES, -(-len(waves) // torch.get_num_threads())) if on_cpu else GPU_WAVES
    groups = [order[start : start + together] for start in range(0, len(order), together)]

    @torch.inference_mode()
    def work(group: list[int]) -> Tensor:
        mel = mel_power([levelled[i] for i in group], starts, group, device)
        owner = torch.tensor([place for place, i in enumerate(group) for _ in starts[i]], device=device)
        parts = mel.split(batch_size or (CPU_PARTIALS if on_cpu else GPU_PARTIALS))
        summed = torch.zeros(len(group), SIZE, device=device)
        return summed.index_add_(0, owner, torch.cat([encoder(part) for part in parts]))

    embedded = torch.cat(map_in_threads(work, groups) if on_cpu else list(map(work, groups)))
    return nn.functional.normalize(embedded[np.argsort(order)], dim=1).cpu().numpy()


def normalise_level(wave: np.ndarray, index: int = 0) -> np.ndarray:
    """`wave` raised to an RMS level of -30 dBFS; louder waves are returned as they are."""
    wave = np.asarray(wave)
    if wave.ndim != 1 or wave.size == 0 or not np.issubdtype(wave.dtype, np.floating):
        raise SpeakerError(f"Audio {index} is not a one-dimensional array of floats: give mono 16 kHz audio.")
    power = float(np.mean(np.square(wave, dtype=np.float64)))
    if not np.isfinite(power):
        raise SpeakerError(f"Audio {index} holds NaN or infinite samples: repair or drop it.")
    if power == 0.0:
        raise SpeakerError(f"Audio {index} is silent and has no speaker: drop it.")
    gain = 10 ** (LEVEL / 20) / np.sqrt(power)
    return (wave * max(gain, 1.0)).astype(np.float32)


def partial_starts(samples: int) -> list[int]:
    """First mel frame (10 ms) of each partial utterance of a wave; there is always at least one."""
    frames = -(-(samples + 1) // HOP)
    step = round(RATE / PARTIALS_PER_SECOND / HOP)
    starts = list(range(0, max(1, frames - PARTIAL + step + 1), step))
    covered = (samples - starts[-1] * HOP) / (PARTIAL * HOP)
    return starts[:-1] if len(starts) > 1 and covered < LEAST_COVERAGE else starts


def mel_power(waves: list[np.ndarray], starts: list[list[int]], owners: list[int], device: str = "cpu") -> Tensor:
    """Mel power (partials, 160, 40) of the partial utterances `starts[owner]` of each wave, in order."""
    last = max(starts[owner][-1] for owner in owners) + PARTIAL
    samples = max(last * HOP, max(len(wave) for wave in waves))
    padded = torch.zeros(len(waves), samples)
    for row, wave in enumerate(waves):
        padded[row, : len(wave)] = torch.from_numpy(wave)
    spectrum = torch.stft(
        padded.to(device),
        WINDOW,
        HOP,
        window=torch.hann_window(WINDOW, device=device),
        pad_mode="constant",
        return_complex=True,
    )
    power = spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag)
    mel = power.transpose(1, 2) @ _filters().to(device)
    rows = torch.tensor([row for row, owner in enumerate(owners) for _ in starts[owner]], device=device)
    firsts = torch.tensor([first for owner in owners for first in starts[owner]], device=device)
    frames = firsts[:, None] + torch.arange(PARTIAL, device=device)
    return mel[rows[:, None], frames]


@lru_cache(maxsize=1)
def _filters() -> Tensor:
    from torchaudio.functional import melscale_fbanks

    return melscale_fbanks(WINDOW // 2 + 1, 0.0, 8000.0, CHANNELS, RATE, norm="slaney", mel_scale="slaney")
