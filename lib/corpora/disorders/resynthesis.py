"""WORLD frames read at other times: stretching of one stretch of speech, or of all of it."""

import numpy as np

from lib import audio
from lib.corpora.disorders.segments import AtypicalError
from lib.corpora.world import Analysis, analyse

FRAME = 0.005  # s between WORLD frames


def analyse_voiced(wave: np.ndarray) -> Analysis:
    """WORLD parameters of (samples,) at 16 kHz. Raises AtypicalError where no frame is voiced."""
    found = analyse(wave)
    if not (found.f0 > 0).any():
        raise AtypicalError("The recording has no voiced frame: give one with speech that is not whispered.")
    return found


def read_at(analysis: Analysis, times: np.ndarray) -> Analysis:
    """The frames at `times` (frames,) s of the analysed wave: log envelope interpolated, voicing of the nearest."""
    count = len(analysis.f0)
    place = np.clip(times / FRAME, 0, count - 1)
    low = np.minimum(place.astype(int), count - 2)
    weight = place - low
    nearest = np.where(weight < 0.5, low, low + 1)
    pair = analysis.f0[low], analysis.f0[low + 1]
    between = pair[0] * (1 - weight) + pair[1] * weight
    f0 = np.where((pair[0] > 0) & (pair[1] > 0), between, analysis.f0[nearest])
    logarithm = np.log(np.maximum(analysis.envelope, 1e-16))
    share = weight[:, None]
    envelope = np.exp(logarithm[low] * (1 - share) + logarithm[low + 1] * share)
    return Analysis(f0, envelope, analysis.aperiodicity[nearest], round(len(times) * FRAME * audio.RATE))


def synthesise(analysis: Analysis, samples: int) -> np.ndarray:
    """Speech (samples,) float32 of WORLD frames, cut or extended with zeros."""
    import pyworld

    parts = (np.ascontiguousarray(part) for part in (analysis.f0, analysis.envelope, analysis.aperiodicity))
    return audio.fit(pyworld.synthesize(*parts, audio.RATE, FRAME * 1000), samples).astype(np.float32)


def stretch(analysis: Analysis, wave: np.ndarray, start: int, stop: int, samples: int, rise: float = 0.0) -> np.ndarray:
    """Samples start:stop of the analysed `wave` as `samples` samples, as loud; F0 is raised by `rise` falling to 0."""
    steps = np.arange(samples // 80 + 2) * 80 / samples
    frames = read_at(analysis, (start + np.minimum(steps, 1) * (stop - start)) / audio.RATE)
    frames.f0[:] *= 1 + rise * np.clip(1 - steps, 0, 1)
    return as_loud_as(synthesise(frames, samples), wave[start:stop])


def as_loud_as(wave: np.ndarray, other: np.ndarray) -> np.ndarray:
    """`wave` with the root mean square of `other`."""
    have, want = (np.sqrt((part.astype(np.float64) ** 2).mean()) for part in (wave, other))
    return wave if have == 0 else (wave * (want / have)).astype(np.float32)
