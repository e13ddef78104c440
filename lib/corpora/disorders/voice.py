"""Rate, articulation and voice of a whole recording, in one pass through WORLD."""

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np

from lib.audio import RATE
from lib.corpora.disorders.profile import Profile
from lib.corpora.disorders.resynthesis import FRAME, analyse_voiced, as_loud_as, read_at, synthesise
from lib.corpora.disorders.segments import Segment, next_number, syllables, words
from lib.corpora.world import Analysis
from lib.text import PHONES, VOWELS

SLOWEST, FASTEST = 3.0, 0.4  # bounds of an irregular syllable's factor, relative to the speaker's rate
BLUR = 15  # frames (75 ms) to either side over which imprecise consonants take the spectrum of their surroundings
SMEAR = 16  # bins (250 Hz) to either side
NASAL = ((280.0, 120.0, 6.0), (650.0, 220.0, -14.0), (1000.0, 180.0, 3.0))  # Hz, Hz, dB; at nasality 1
SYLLABIC = 20  # frames (100 ms) to either side for a syllable's level
QUIET = 35.0  # dB below the loudest: no speech there whose level could be evened out
TILT_FROM = 500.0  # Hz
SPEAKER_WIDE = {  # parameter of the profile: kind of event, over the whole recording
    "slowness": "rate",
    "irregularity": "irregular_rate",
    "tilt": "voice_tilt",
    "breathiness": "breathiness",
    "pitch_range": "monopitch",
    "level_range": "monoloudness",
    "level": "hypophonia",
    "tremor_f0": "tremor",
    "tremor_amplitude": "tremor",
    "jitter": "jitter",
    "shimmer": "shimmer",
}
NEUTRAL = {item.name: item.default for item in fields(Profile)}


def revoice(segments: Sequence[Segment], profile: Profile, seed: int) -> list[Segment]:
    """Segments spoken as `profile` says; as they are where it changes neither time, articulation nor voice.

    The level is that of the recording, but for the profile's `level`. Samples beyond full scale bring all down.
    """
    changed = [name for name in (*SPEAKER_WIDE, "rush", "imprecision", "nasality") if _moves(profile, name)]
    if not changed:
        return list(segments)
    wave = np.concatenate([segment.wave for segment in segments])
    analysis = analyse_voiced(wave)
    marked, factors = retime(_mark(segments, profile), profile, seed)
    old = np.array([len(segment.wave) for segment in segments])
    new = np.round(old * factors).astype(int)
    edges, sources = (np.concatenate(([0], np.cumsum(sizes))) for sizes in (new, old))
    total = int(edges[-1])
    times = np.interp(np.arange(total // 80 + 2) * 80, edges, sources) / RATE
    frames = read_at(analysis, times)
    symbols = _symbol_of_frames(segments, edges, len(times))
    speech = synthesise(_voice(_articulate(frames, symbols, profile), profile, seed), total)
    speech = as_loud_as(speech, wave) * np.float32(10 ** (profile.level / 20))
    speech = (speech / max(1.0, float(np.abs(speech).max()))).astype(np.float32)
    return [
        replace(segment, wave=speech[start:stop])
        for segment, start, stop in zip(marked, edges[:-1], edges[1:], strict=True)
    ]


def retime(segments: Sequence[Segment], profile: Profile, seed: int) -> tuple[list[Segment], np.ndarray]:
    """Segments with their rushes marked, and the factor (segments,) on the duration of each."""
    random = np.random.default_rng([seed, 3])
    made, number = list(segments), next_number(segments)
    factors = np.full(len(made), float(profile.slowness))
    spans = words([segment.symbol for segment in made])
    for first, last in spans:
        for start, stop in syllables([segment.symbol for segment in made[first:last]]):
            wobble = np.exp(random.standard_normal() * profile.irregularity)
            factors[first + start : first + stop] *= np.clip(wobble, FASTEST, SLOWEST)
    free = 0
    for index, (first, _) in enumerate(spans):
        if random.random() < profile.rush and index >= free:
            free = min(index + profile.rush_words, len(spans))
            for place in range(first, spans[free - 1][1]):
                factors[place] /= profile.rush_speed
                made[place] = made[place].marked(number + index, "rush")
    return made, factors


def _moves(profile: Profile, name: str) -> bool:
    return getattr(profile, name) != NEUTRAL[name]


def _mark(segments: Sequence[Segment], profile: Profile) -> list[Segment]:
    """Segments with the events of the whole recording, of imprecise consonants and of nasal vowels."""
    number = next_number(segments)
    kinds = dict.fromkeys(kind for name, kind in SPEAKER_WIDE.items() if _moves(profile, name))
    made = []
    for place, segment in enumerate(segments):
        for order, kind in enumerate(kinds):
            segment = segment.marked(number + order, kind)
        own = number + len(kinds) + place
        if segment.symbol and segment.symbol in VOWELS and profile.nasality:
            segment = segment.marked(own, "hypernasality")
        elif segment.symbol and segment.symbol in PHONES and segment.symbol not in VOWELS and profile.imprecision:
            segment = segment.marked(own, "imprecise_consonant")
        made.append(segment)
    return made


def _symbol_of_frames(segments: Sequence[Segment], edges: np.ndarray, frames: int) -> np.ndarray:
    """The symbol (frames,) spoken at every frame."""
    places = np.searchsorted(edges, np.arange(frames) * 80, side="right") - 1
    return np.array([segment.symbol for segment in segments])[np.clip(places, 0, len(segments) - 1)]


def _articulate(frames: Analysis, symbols: np.ndarray, profile: Profile) -> Analysis:
    """Imprecise consonants (their log envelope moves to its mean over time and frequency) and nasal vowels."""
    logarithm = np.log(np.maximum(frames.envelope, 1e-16))
    vowel = np.isin(symbols, list(VOWELS))
    consonant = np.isin(symbols, list(PHONES)) & ~vowel
    if profile.imprecision:
        blurred = _mean_over(_mean_over(logarithm, BLUR, 0), SMEAR, 1)
        logarithm += profile.imprecision * _soft(consonant)[:, None] * (blurred - logarithm)
    if profile.nasality:
        hertz = np.linspace(0, RATE / 2, logarithm.shape[1])
        curve = sum(gain * np.exp(-0.5 * ((hertz - centre) / width) ** 2) for centre, width, gain in NASAL)
        logarithm += profile.nasality * _soft(vowel)[:, None] * curve * np.log(10) / 10
    return replace(frames, envelope=np.exp(logarithm))


def _voice(frames: Analysis, profile: Profile, seed: int) -> Analysis:
    """Pitch, loudness, tilt, breathiness, tremor, jitter and shimmer."""
    random = np.random.default_rng([seed, 4])
    phase, wobble = random.random() * 2 * np.pi, random.standard_normal((2, len(frames.f0)))
    tremor = np.sin(2 * np.pi * profile.tremor_rate * np.arange(len(frames.f0)) * FRAME + phase)
    voiced = frames.f0 > 0
    pitch = np.log(np.where(voiced, frames.f0, 1.0))
    centre = np.median(pitch[voiced]) if voiced.any() else 0.0
    f0 = np.exp(centre + (pitch - centre) * profile.pitch_range)
    f0 *= np.maximum((1 + profile.tremor_f0 * tremor) * (1 + profile.jitter * wobble[0]), 0.3)
    amplitude = np.maximum((1 + profile.tremor_amplitude * tremor) * (1 + profile.shimmer * wobble[1]), 0.05)
    gain = 20 * np.log10(amplitude) + (profile.level_range - 1) * _loudness(frames.envelope)
    hertz = np.linspace(0, RATE / 2, frames.envelope.shape[1])
    tilt = profile.tilt * np.log2(np.maximum(hertz, TILT_FROM) / TILT_FROM)
    noise = frames.aperiodicity**2
    noise = noise + (1 - noise) * profile.breathiness
    return replace(
        frames,
        f0=np.where(voiced, f0, 0.0),
        envelope=frames.envelope * 10 ** ((gain[:, None] + tilt) / 10),
        aperiodicity=np.minimum(np.sqrt(noise), 1 - 1e-12),
    )


def _loudness(envelope: np.ndarray) -> np.ndarray:
    """Level (frames,) of the syllables in dB around their mean; pauses are as far off as the softest speech."""
    level = 10 * np.log10(np.maximum(_mean_over(envelope.sum(1)[:, None], SYLLABIC, 0)[:, 0], 1e-16))
    level = np.maximum(level, level.max() - QUIET)
    return level - level[level > level.max() - QUIET].mean()


def _soft(chosen: np.ndarray) -> np.ndarray:
    """Weights (frames,) of a mask with edges of 15 ms, so that the spectrum does not jump."""
    return _mean_over(chosen.astype(np.float64)[:, None], 1, 0)[:, 0]


def _mean_over(values: np.ndarray, reach: int, axis: int) -> np.ndarray:
    """Moving average over 2 reach + 1 neighbours, the outermost repeated."""
    from scipy.ndimage import uniform_filter1d

    return uniform_filter1d(values, 2 * reach + 1, axis=axis, mode="nearest")
