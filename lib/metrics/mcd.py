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
from functools import lru_cache, partial

import numpy as np

from lib.audio import RATE
from lib.metrics import check_pairs, check_waves
from lib.metrics.dtw import warp
from lib.workers import map_in_threads

FRAME = 5.0  # ms
SHORTEST = 640
DECIBEL = 10.0 * math.sqrt(2.0) / math.log(10.0)


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
    speech: Sequence[np.ndarray], reference: Sequence[np.ndarray], *, device: str = "cpu", released: bool = True
) -> dict[str, np.ndarray]:
    """`mcd` and `mcd_as_released` (batch,) in dB of mono 16 kHz waves of at least 40 ms.

    The level does not matter to `mcd`; the released form adds a constant to the power, so it matters there.
    WORLD computes envelopes on the CPU, whatever the device, a wave in each of torch's threads. released=False leaves
    `mcd_as_released` out.
    Raises MetricError for silent, NaN or too short waves.
    """
    waves, expected = check_waves(speech, "Speech", SHORTEST), check_waves(reference, "Reference", SHORTEST)
    check_pairs(waves, expected)
    chosen = (STANDARD, RELEASED) if released else (STANDARD,)
    cepstra = map_in_threads(partial(_cepstra, chosen=chosen), waves + expected)
    found = {}
    for place, settings in enumerate(chosen):
        heard, target = ([each[place] for each in side] for side in (cepstra[: len(waves)], cepstra[len(waves) :]))
        paths = warp(target, heard)
        if settings == STANDARD:
            found["mcd"] = DECIBEL * np.array([path.total / len(path.rows) for path in paths])
        else:
            means = [path.mean_accumulated / len(frames) for path, frames in zip(paths, target, strict=True)]
            found["mcd_as_released"] = DECIBEL * np.array(means)
    return found


def _cepstra(wave: np.ndarray, chosen: tuple[Settings, ...]) -> list[np.ndarray]:
    f0 = track(wave)
    return [mel_cepstra(wave, settings, f0) for settings in chosen]


def mel_cepstra(wave: np.ndarray, settings: Settings = STANDARD, f0: tuple | None = None) -> np.ndarray:
    """SPTK's mel-cepstra c_1 ... c_order of WORLD's envelope, `(frames, order)` in float64, a frame every 5 ms.

    f0: what `track` found, where the caller has it.
    """
    import pyworld

    samples = np.ascontiguousarray(wave, dtype=np.float64)
    power = pyworld.cheaptrick(samples, *(f0 or track(wave)), RATE, fft_size=settings.points)
    return np.log(power**settings.exponent + settings.floor) @ _warped(settings)


def track(wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """WORLD's F0 in Hz, 0 where unvoiced, and its times in s, both `(frames,)`: what the envelope's windows follow."""
    warnings.filterwarnings("ignore", message="pkg_resources")  # pyworld's import says where it is installed
    import pyworld

    samples = np.ascontiguousarray(wave, dtype=np.float64)
    f0, times = pyworld.dio(samples, RATE, frame_period=FRAME)
    return pyworld.stonemask(samples, f0, times, RATE), times


@lru_cache(maxsize=4)
def _warped(settings: Settings) -> np.ndarray:
    """The matrix `(points / 2 + 1, order)` from a log power spectrum to c_1 ... c_order: the inverse Fourier transform,
    then the warping of a cepstrum's frequency axis (SPTK's freqt)."""
    import pysptk

    impulses = np.eye(settings.points // 2 + 1)
    warping = np.stack([pysptk.freqt(impulse, settings.order, settings.alpha) for impulse in impulses])
    cepstra = np.fft.irfft(impulses, axis=1)[:, : len(impulses)]
    cepstra[:, 0] /= 2
    return (cepstra @ warping)[:, 1:]
