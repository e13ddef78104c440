"""A recording as a list of segments, one per phoneme symbol, each knowing the events it belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lib import audio
from lib.text import PHONES, STRESS, VOWELS

TOLERANCE = 0.05  # s; alignments of hop-based synthesisers miss the end of a recording by a few hops
SHORTEST = 0.1  # s; WORLD's spectral windows need several periods
FADE = 80  # samples (5 ms) over which a cut in running speech fades


class AtypicalError(ValueError):
    """A recording, alignment or profile that atypical speech cannot be simulated with."""


@dataclass(frozen=True)
class Event:
    """What was inserted or changed: `kind`, from `start` to `end` s of the new recording.

    first, last: the symbols phonemes[first:last] of the new phonemes; a deletion has none, and start = end.
    """

    kind: str
    start: float
    end: float
    first: int
    last: int


@dataclass(frozen=True)
class Segment:
    """The samples of one symbol; `marks` are (number, kind) of its events. A deletion leaves one without either."""

    symbol: str
    wave: np.ndarray
    marks: tuple[tuple[int, str], ...] = ()

    def marked(self, number: int, kind: str) -> Segment:
        return replace(self, marks=(*self.marks, (number, kind)))


def cut(wave: np.ndarray, phonemes: str, durations: Sequence[float], events: Sequence[Event] = ()) -> list[Segment]:
    """Segments of (samples,) at 16 kHz; the last one takes up to 50 ms that the alignment misses at the end.

    Raises `lib.audio.AudioError` for an unusable wave, AtypicalError for an alignment that does not fit it.
    """
    wave = audio.check(wave, "The recording")
    seconds = np.asarray(durations, np.float64)
    if seconds.shape != (len(phonemes),):
        raise AtypicalError(f"{seconds.size} durations for {len(phonemes)} phoneme symbols: give one per symbol.")
    if not any(symbol in PHONES for symbol in phonemes):
        raise AtypicalError("The phonemes hold no phone: give what lib.text.phonemize returns.")
    if not np.isfinite(seconds).all() or (seconds < 0).any():
        raise AtypicalError("A duration is negative or not a number: align the recording again.")
    if len(wave) < SHORTEST * audio.RATE:
        raise AtypicalError(f"The recording lasts {len(wave) / audio.RATE:.3f} s: at least {SHORTEST} s are needed.")
    if abs(seconds.sum() - len(wave) / audio.RATE) > TOLERANCE:
        raise AtypicalError(
            f"The durations sum to {seconds.sum():.3f} s and the recording lasts {len(wave) / audio.RATE:.3f} s: "
            "align the recording again."
        )
    ends = np.minimum(np.round(np.cumsum(seconds) * audio.RATE).astype(int), len(wave))
    ends[-1] = len(wave)
    starts = np.concatenate(([0], ends[:-1]))
    segments = [Segment(symbol, wave[a:b]) for symbol, a, b in zip(phonemes, starts, ends, strict=True)]
    for number, event in enumerate(events):
        for index in range(event.first, event.last):
            segments[index] = segments[index].marked(number, event.kind)
    gone = [(event.first, number, event.kind) for number, event in enumerate(events) if event.first == event.last]
    for first, number, kind in sorted(gone, reverse=True):
        segments.insert(first, Segment("", wave[:0], ((number, kind),)))
    return segments


def join(segments: Sequence[Segment]) -> tuple[np.ndarray, str, tuple[float, ...], tuple[Event, ...]]:
    """Samples, phonemes, durations in s (exact to the sample) and events, sorted by start, of segments."""
    edges = np.concatenate(([0], np.cumsum([len(segment.wave) for segment in segments]))) / audio.RATE
    found: dict[tuple[int, str], Event] = {}
    place = 0
    for segment, start, end in zip(segments, edges[:-1], edges[1:], strict=True):
        after = place + bool(segment.symbol)
        for mark in segment.marks:
            before = found.get(mark, Event(mark[1], float(start), float(end), place, after))
            found[mark] = replace(before, end=float(end), last=after)
        place = after
    wave = np.concatenate([segment.wave for segment in segments]).astype(np.float32)
    durations = tuple(len(segment.wave) / audio.RATE for segment in segments if segment.symbol)
    events = tuple(sorted(found.values(), key=lambda event: (event.start, event.end)))
    return wave, "".join(segment.symbol for segment in segments), durations, events


def next_number(segments: Sequence[Segment]) -> int:
    """A number that no event of `segments` has."""
    return 1 + max((number for segment in segments for number, _ in segment.marks), default=-1)


def words(symbols: Sequence[str]) -> list[tuple[int, int]]:
    """Spans (first, last) of the words: runs of phones, stress marks and deletions with a phone among them."""
    spans, first = [], None
    for place, symbol in enumerate([*symbols, " "]):
        inside = symbol == "" or symbol in PHONES or symbol in STRESS
        if inside and first is None:
            first = place
        elif not inside and first is not None:
            if any(one and one in PHONES for one in symbols[first:place]):
                spans.append((first, place))
            first = None
    return spans


def syllables(symbols: Sequence[str]) -> list[tuple[int, int]]:
    """Spans of the syllables of one word: a vowel each, and of the consonants between vowels the last goes right.

    A stress mark opens its syllable together with the consonant before it. A word without a vowel is one syllable.
    """
    nuclei = [place for place, symbol in enumerate(symbols) if symbol and symbol in VOWELS]
    starts = [0]
    for before, nucleus in zip(nuclei, nuclei[1:], strict=False):
        start = nucleus
        while start - 1 > before and symbols[start - 1] in STRESS:
            start -= 1
        if start - 1 > before:
            start -= 1
        while start - 1 > before and symbols[start - 1] in STRESS:
            start -= 1
        starts.append(start)
    return list(zip(starts, [*starts[1:], len(symbols)], strict=True))


def fade(wave: np.ndarray, start: bool = False, end: bool = False) -> np.ndarray:
    """A copy of (samples,) with raised-cosine fades of 5 ms (at most half of it) at its start or end."""
    wave = wave.copy()
    width = min(FADE, len(wave) // 2)
    ramp = (0.5 - 0.5 * np.cos(np.pi * (np.arange(width) + 0.5) / max(width, 1))).astype(np.float32)
    if start:
        wave[:width] *= ramp
    if end and width:
        wave[-width:] *= ramp[::-1]
    return wave


def room_tone(wave: np.ndarray, samples: int, random: np.random.Generator) -> np.ndarray:
    """White noise (samples,) as loud as the quietest twentieth of the 10 ms frames of `wave`, for silent gaps."""
    frames = wave[: len(wave) // 160 * 160].reshape(-1, 160)
    level = np.quantile(np.sqrt((frames.astype(np.float64) ** 2).mean(1)), 0.05)
    return (random.standard_normal(samples) * level).astype(np.float32)
