"""MCD: mel-cepstral distortion along the dynamic time warping path, in dB, as papers that publish it mean it.

Kubichek, "Mel-cepstral distance measure for objective speech quality assessment", 1993:
MCD = 10 sqrt(2) / ln 10 * mean over the path of |c_speech - c_reference|. The cepstra are SPTK's mel-cepstra
c_1 ... c_24 (alpha 0.42 at 16 kHz) of WORLD's spectral envelope (CheapTrick, Morise 2015) every 5 ms; c_0, the level,
is left out. 0 dB is identical; it has no upper bound.

`mcd_as_released` is what HyperTTS's released evaluation computes: order 25, alpha 0.65, envelopes of 512 points, and in
place of the mean along the path the mean of the whole accumulated-cost matrix over the reference's frames, which is
about 5 dB for a recording against itself. `lib.metrics.filterbank_mcd` is the fast form by a mel filter bank.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from lib.audio import RATE
from lib.metrics import check_pairs, check_waves
from lib.metrics.dtw import warp
from lib.workers import map_in_processes

FRAME = 5.0  # ms
SHORTEST = 640
DECIBEL = 10.0 * math.sqrt(2.0) / math.log(10.0)
ROUNDING = 1e-9
PAIRS = 8  # of a process's portion and of a batch of paths


@dataclass(frozen=True)
class Settings:
    """Mel-cepstra: order, frequency warping alpha, points of the envelope; `floor` is added to power ** `exponent`."""

    order: int
    alpha: float
    points: int
    floor: float
    exponent: int


STANDARD = Settings(24, 0.42, 1024, 1e-16, 1)
RELEASED = Settings(25, 0.65, 512, 1e-8, 2)  # the released call hands SPTK the power as if it were a magnitude


def score(
    speech: Sequence[np.ndarray], reference: Sequence[np.ndarray], *, device: str = "cpu", cores: int = 1
) -> dict[str, np.ndarray]:
    """`mcd` and `mcd_as_released` (batch,) in dB of mono 16 kHz waves of at least 40 ms.

    The level does not matter to `mcd`; the released form adds a constant to the power, so it matters there.
    cores: processes for the envelopes, which WORLD computes on a CPU, a wave after the other; paths are `device`'s.
    Raises MetricError for silent, NaN or too short waves.
    """
    waves, expected = check_waves(speech, "Speech", SHORTEST), check_waves(reference, "Reference", SHORTEST)
    check_pairs(waves, expected)
    order = np.argsort([len(wave) + len(other) for wave, other in zip(waves, expected, strict=True)])
    portions = [order[start : start + PAIRS] for start in range(0, len(order), PAIRS)]
    both = [[expected[i] for i in portion] + [waves[i] for i in portion] for portion in portions]
    found = {"mcd": np.zeros(len(waves)), "mcd_as_released": np.zeros(len(waves))}
    for portion, cepstra in zip(portions, map_in_processes(_portion, both, cores, threads=1), strict=True):
        size = len(portion)
        for settings, values in cepstra.items():
            total, length, mean, frames = _paths(values[:size], values[size:], device)
            if settings == STANDARD:
                found["mcd"][portion] = total / length
            else:
                found["mcd_as_released"][portion] = mean / frames
    return found


def mel_cepstra(wave: np.ndarray, settings: Settings = STANDARD, f0: tuple | None = None) -> np.ndarray:
    """SPTK's mel-cepstra c_1 ... c_order of WORLD's envelope, `(frames, order)` in float64, a frame every 5 ms.

    f0: what `track` found, where the caller has it.
    """
    import pyworld

    samples = np.ascontiguousarray(wave, dtype=np.float64)
    power = pyworld.cheaptrick(samples, *(f0 or track(wave)), RATE, fft_size=settings.points)
    cepstra = np.fft.irfft(np.log(power**settings.exponent + settings.floor), axis=1)[:, : settings.points // 2 + 1]
    cepstra[:, 0] /= 2
    return (cepstra @ _warped(settings))[:, 1:]


def track(wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """WORLD's F0 in Hz, 0 where unvoiced, and its times in s, both `(frames,)`: what the envelope's windows follow."""
    warnings.filterwarnings("ignore", message="pkg_resources")  # pyworld's import says where it is installed
    import pyworld

    samples = np.ascontiguousarray(wave, dtype=np.float64)
    f0, times = pyworld.dio(samples, RATE, frame_period=FRAME)
    return pyworld.stonemask(samples, f0, times, RATE), times


@lru_cache(maxsize=4)
def _warped(settings: Settings) -> np.ndarray:
    """The matrix `(points / 2 + 1, order + 1)` by which a cepstrum's frequency axis is warped (SPTK's freqt)."""
    import pysptk

    impulses = np.eye(settings.points // 2 + 1)
    return np.stack([pysptk.freqt(impulse, settings.order, settings.alpha) for impulse in impulses])


def _portion(waves: list[np.ndarray]) -> dict[Settings, list[np.ndarray]]:
    tracks = [track(wave) for wave in waves]
    return {s: [mel_cepstra(w, s, f0) for w, f0 in zip(waves, tracks, strict=True)] for s in (STANDARD, RELEASED)}


def _paths(rows: list[np.ndarray], columns: list[np.ndarray], device: str) -> tuple[np.ndarray, ...]:
    """Cost and steps of each pair's path, mean of its accumulated cost, the reference's frames, each `(pairs,)`."""
    padded = [
        torch.nn.utils.rnn.pad_sequence([torch.from_numpy(c) for c in side], batch_first=True)
        for side in (rows, columns)
    ]
    first, second = (DECIBEL * each.to(device) for each in padded)
    cost = torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist")
    lengths = [torch.tensor([len(c) for c in side], device=device) for side in (rows, columns)]
    warping = warp(torch.nn.functional.threshold_(cost, ROUNDING, 0.0), *lengths)
    found = (warping.total, warping.length, warping.mean_accumulated, lengths[0])
    return tuple(values.cpu().numpy().astype(np.float64) for values in found)
