"""Speaking styles with known truth: WORLD changes to a recording, and the English prompts that name them.

A style is a level for each factor of `PHRASES`: pitch, range, energy, rate, breath. What a level does is a number
(`Change`), so text, speaker and timing stay what they were and the style's effect is known exactly.
"""

from dataclasses import dataclass

import numpy as np
import torch

from lib import audio
from lib.corpora.world import Analysis, warp_envelope
from lib.pitch import yin

FRAME = 0.005  # seconds between WORLD's frames
FLOOR, CEILING = 50.0, 350.0  # F0 search range in Hz
SHORTEST_VOICE = 10  # frames of 10 ms
PHRASES = {
    "pitch": {
        "low": ("a low voice", "a deep voice", "a low-pitched voice", "a voice of low pitch"),
        "middle": ("a medium pitch", "an ordinary pitch", "a mid-pitched voice", "a voice of normal pitch"),
        "high": ("a high voice", "a high-pitched voice", "a raised pitch", "a voice of high pitch"),
    },
    "range": {
        "flat": ("flat intonation", "a monotone delivery", "hardly any melody", "a monotonous tone"),
        "middle": ("natural intonation", "ordinary intonation", "some melody", "a normal tone"),
        "lively": ("lively intonation", "an expressive melody", "animated pitch movement", "an animated tone"),
    },
    "energy": {
        "soft": ("softly spoken", "a quiet voice", "low volume", "quiet speech"),
        "middle": ("normal volume", "neither loud nor quiet", "moderate volume", "speech of normal loudness"),
        "loud": ("loudly spoken", "a loud voice", "high volume", "loud speech"),
    },
    "rate": {
        "slow": ("slow speech", "speaking slowly", "an unhurried pace", "a slow pace"),
        "middle": ("a normal pace", "speaking at normal speed", "an ordinary tempo", "a moderate pace"),
        "fast": ("fast speech", "speaking quickly", "a hurried pace", "a fast pace"),
    },
    "breath": {
        "clear": ("a clear voice", "a clean voice", "without breathiness", "a voice without breath noise"),
        "breathy": ("a breathy voice", "much breath in the voice", "an airy voice", "a voice full of breath"),
    },
}
DEFAULTS = {factor: ("clear" if factor == "breath" else "middle") for factor in PHRASES}


class StyleError(ValueError):
    """A style that is not known; the sentence names it and what there is."""


@dataclass(frozen=True)
class Change:
    """What is done to a recording; the defaults do nothing."""

    pitch: float = 0.0  # semitones added to F0
    range: float = 1.0  # factor on F0's movement around its mean, in semitones
    energy: float = 0.0  # dB
    rate: float = 1.0  # factor on the speed
    breath: float = 0.0  # share of the periodic part that is replaced by noise, 0 to 1
    warp: float = 1.0  # factor on the frequencies of the spectral envelope: another speaker


def levels_of(named: dict[str, str]) -> dict[str, str]:
    """A level for every factor: those of `named`, the middle for the others. Raises StyleError for unknown ones."""
    for factor, level in named.items():
        if level not in PHRASES.get(factor, {}):
            known = ", ".join(PHRASES.get(factor, PHRASES))
            raise StyleError(f"The style has {factor} {level!r}: choose from {known}.")
    return DEFAULTS | named


def drawn(random: np.random.Generator) -> dict[str, str]:
    """A random level of every factor."""
    return {factor: str(random.choice(list(levels))) for factor, levels in PHRASES.items()}


def change_of(levels: dict[str, str], amounts: dict[str, dict[str, float]], warp: float = 1.0) -> Change:
    """The change for levels by factor; `amounts` holds the number of every level that is not the default."""
    numbers = {f: amounts[f][level] for f, level in levels_of(levels).items() if level != DEFAULTS[f]}
    return Change(**numbers, warp=warp)


def prompt(levels: dict[str, str], wording: int = 0) -> str:
    """An English description of the levels, factors in the order of `PHRASES`; `wording` chooses among synonyms.

    Raises StyleError for no level at all: an empty prompt describes nothing.
    """
    if not levels:
        raise StyleError("The style names no factor, so it has no prompt: give at least one, such as pitch.")
    levels_of(levels)
    parts = [PHRASES[factor][levels[factor]] for factor in PHRASES if factor in levels]
    return ", ".join(phrases[wording % len(phrases)] for phrases in parts)


def track(wave: np.ndarray, rate: int) -> np.ndarray:
    """F0 (1 + samples / 5 ms,) in Hz, 0 where unvoiced, by pYIN (Mauch and Dixon 2014).

    WORLD's own DIO takes creaky voices for an octave higher: joe at 86 Hz for 160 Hz.
    """
    from librosa import pyin

    hop = round(FRAME * rate)
    f0, voiced, _ = pyin(wave, fmin=FLOOR, fmax=CEILING, sr=rate, frame_length=2048, hop_length=hop)
    places = np.round(np.arange(int(len(wave) / rate / FRAME) + 1) * FRAME * rate / hop).astype(int)
    return np.where(voiced, np.nan_to_num(f0), 0.0)[np.minimum(places, len(f0) - 1)]


def analyse(wave: np.ndarray, rate: int) -> Analysis:
    """WORLD parameters of (samples,) at `rate` Hz: F0 by `track` and StoneMask, CheapTrick, D4C, every 5 ms."""
    import pyworld

    signal = np.ascontiguousarray(audio.check(wave, "wave"), dtype=np.float64)
    coarse = track(audio.check(wave, "wave"), rate)
    times = np.arange(len(coarse)) * FRAME
    f0 = pyworld.stonemask(signal, coarse, times, rate)
    f0 = np.where((f0 >= FLOOR) & (f0 <= CEILING), f0, 0.0)
    size = pyworld.get_cheaptrick_fft_size(rate, FLOOR)
    envelope = pyworld.cheaptrick(signal, f0, times, rate, f0_floor=FLOOR, fft_size=size)
    return Analysis(f0, envelope, pyworld.d4c(signal, f0, times, rate, fft_size=size), len(signal))


def restyled_f0(f0: np.ndarray, change: Change) -> np.ndarray:
    """F0 (frames,) in Hz with its movement scaled around the mean (in semitones) and its mean shifted; 0 stays 0."""
    voiced = f0 > 0
    if not voiced.any():
        return f0.copy()
    semitones = 12 * np.log2(f0[voiced])
    mean = semitones.mean()
    moved = np.zeros_like(f0)
    moved[voiced] = 2 ** ((mean + change.pitch + change.range * (semitones - mean)) / 12)
    return np.where(voiced, np.clip(moved, FLOOR, CEILING), 0.0)


def restyle(analysis: Analysis, change: Change, rate: int) -> np.ndarray:
    """The analysed speech, changed, as (samples,) float32 at `rate` Hz; as long as it was unless the speed changes."""
    import pyworld

    frames = len(analysis.f0)
    kept = np.minimum(np.round(np.arange(0, frames, change.rate)).astype(int), frames - 1)
    envelope = analysis.envelope if change.warp == 1 else warp_envelope(analysis.envelope, change.warp)
    noise = analysis.aperiodicity + change.breath * (1 - analysis.aperiodicity)
    parts = (restyled_f0(analysis.f0, change)[kept], envelope[kept], noise[kept])
    wave = pyworld.synthesize(*(np.ascontiguousarray(part) for part in parts), rate, FRAME * 1000)
    wave = audio.fit(wave, round(analysis.samples / change.rate)) * 10 ** (change.energy / 20)
    return np.clip(wave, -1, 1).astype(np.float32)


def add_pause(wave: np.ndarray, at: int, samples: int, fade: int = 64) -> np.ndarray:
    """(samples,) with silence let in at a sample, the sound before and after it faded."""
    slope = np.linspace(0, 1, fade, dtype=np.float32)
    before, after = wave[:at].copy(), wave[at:].copy()
    before[-fade:] *= slope[::-1][-len(before) :] if len(before) else 1
    after[:fade] *= slope[: len(after)]
    return np.concatenate([before, np.zeros(samples, np.float32), after])


def intonation(wave: np.ndarray) -> dict[str, float]:
    """f0_median and f0_spread (10th to 90th percentile), semitones; NaN for a wave with under 0.1 s of voice.

    F0 by `lib.pitch.yin` from 50 to 300 Hz: joe's creaky voice lies at 86 Hz, below the range of `lib.metrics.prosody`.
    """
    f0 = yin(torch.from_numpy(np.asarray(wave, np.float32)).unsqueeze(0), f0_min=FLOOR, f0_max=300.0)[0][0].numpy()
    if (f0 > 0).sum() < SHORTEST_VOICE:
        return {"f0_median": np.nan, "f0_spread": np.nan}
    semitones = 12 * np.log2(f0[f0 > 0] / 100)
    low, middle, high = np.percentile(semitones, [10, 50, 90])
    return {"f0_median": float(middle), "f0_spread": float(high - low)}
