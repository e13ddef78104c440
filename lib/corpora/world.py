"""New speakers from recorded ones: WORLD analysis, a warped envelope and a scaled F0, durations untouched.

Morise, Yokomori and Ozawa, "WORLD: a vocoder-based high-quality speech synthesis system" (IEICE 2016).
"""

from dataclasses import dataclass

import numpy as np

from lib import audio

FLOOR, CEILING = 60.0, 500.0  # F0 search range in Hz
JUMP = 0.2  # DIO's largest relative F0 change between frames; at its own 0.1 creaky speech turns unvoiced


@dataclass(frozen=True)
class Analysis:
    """f0: (frames,) Hz, 0 where unvoiced, every 5 ms; envelope, aperiodicity: (frames, bins)."""

    f0: np.ndarray
    envelope: np.ndarray
    aperiodicity: np.ndarray
    samples: int


def analyse(wave: np.ndarray) -> Analysis:
    """WORLD parameters of (samples,) at 16 kHz: F0 by DIO and StoneMask, CheapTrick, D4C."""
    import pyworld

    signal = np.ascontiguousarray(audio.check(wave, "wave"), dtype=np.float64)
    coarse, times = pyworld.dio(signal, audio.RATE, f0_floor=FLOOR, f0_ceil=CEILING, allowed_range=JUMP)
    f0 = pyworld.stonemask(signal, coarse, times, audio.RATE)
    envelope = pyworld.cheaptrick(signal, f0, times, audio.RATE)
    return Analysis(f0, envelope, pyworld.d4c(signal, f0, times, audio.RATE), len(signal))


def warp_envelope(envelope: np.ndarray, factor: float) -> np.ndarray:
    """Move every spectral peak of (frames, bins) from f to factor * f Hz, by interpolating the log envelope.

    factor > 1 is a shorter vocal tract; bins read from above the Nyquist frequency take the highest bin's.
    """
    if not 0.5 <= factor <= 2:
        raise ValueError(f"The envelope warp {factor} is outside 0.5..2.")
    bins = envelope.shape[1]
    source = np.minimum(np.arange(bins) / factor, bins - 1)
    low = np.minimum(source.astype(int), bins - 2)
    weight = source - low
    logarithm = np.log(np.maximum(envelope, 1e-16))
    warped = logarithm[:, low] * (1 - weight) + logarithm[:, low + 1] * weight
    return np.ascontiguousarray(np.exp(warped))


def shift(analysis: Analysis, warp: float, f0_scale: float) -> np.ndarray:
    """Speech with the envelope warped by `warp` and F0 scaled by `f0_scale`; as long as the analysed wave."""
    import pyworld

    if not 0.3 <= f0_scale <= 3:
        raise ValueError(f"The F0 scale {f0_scale} is outside 0.3..3.")
    envelope = warp_envelope(analysis.envelope, warp)
    wave = pyworld.synthesize(analysis.f0 * f0_scale, envelope, analysis.aperiodicity, audio.RATE)
    return audio.fit(wave, analysis.samples).astype(np.float32)
