"""Disfluencies placed at phoneme and word boundaries: stuttering, and the deleted syllables of cluttering."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lib.audio import RATE
from lib.corpora.disorders.profile import DISFLUENCIES, Profile
from lib.corpora.disorders.resynthesis import analyse_voiced, stretch
from lib.corpora.disorders.segments import Segment, fade, next_number, room_tone, syllables, words
from lib.corpora.world import Analysis
from lib.text import PHONES, SILENCE, STRESS, VOWELS

STOPS = "pbtdkɡʔTʧʤ"  # no stop or affricate can be held
NEUTRAL = "əɐʌɜᵊ"  # the vowels of "uh"
SHORTEST_UNIT = 640  # samples (40 ms): a shorter copy of a sound is heard as a click
SHORTEST_HELD = 160  # samples


@dataclass(frozen=True)
class Speech:
    """The recording the disfluencies are made of; `segments` before any was inserted, `edges` (segments + 1,)."""

    wave: np.ndarray
    analysis: Analysis
    segments: Sequence[Segment]
    edges: np.ndarray


def disfluent(segments: Sequence[Segment], profile: Profile, seed: int) -> list[Segment]:
    """Segments with the disfluencies of `profile`; deletions first. Every word draws its own random numbers.

    The same seed therefore makes a word disfluent at every severity from the lowest at which it is.
    """
    segments = delete(segments, profile, seed)
    if not any(getattr(profile, kind) for kind in DISFLUENCIES):
        return segments
    wave = np.concatenate([segment.wave for segment in segments])
    edges = np.concatenate(([0], np.cumsum([len(segment.wave) for segment in segments])))
    speech = Speech(wave, analyse_voiced(wave), segments, edges)
    made: list[Segment] = []
    place, number = 0, next_number(segments)
    for index, (first, last) in enumerate(words([segment.symbol for segment in segments])):
        made += segments[place:first]
        random = np.random.default_rng([seed, 1, index])
        made += _word(speech, first, last, _kind(profile, random), profile, number + index, random)
        place = last
    return made + list(segments[place:])


def delete(segments: Sequence[Segment], profile: Profile, seed: int) -> list[Segment]:
    """Segments without some unstressed syllables of words of several; the rest of the word closes up."""
    kept, number = list(segments), next_number(segments)
    spans = words([segment.symbol for segment in segments]) if profile.deletion else []
    for index, (first, last) in enumerate(spans):
        random = np.random.default_rng([seed, 2, index])
        symbols = [segment.symbol for segment in segments[first:last]]
        parts = syllables(symbols)
        for order, (start, stop) in enumerate(parts):
            unlucky = random.random() < profile.deletion
            stressed = any(symbol and symbol in STRESS for symbol in symbols[start:stop])
            if not unlucky or stressed or order == 0:
                continue
            start, stop = first + start, first + stop
            empty = segments[start].wave[:0]
            kept[start] = Segment("", empty, ((number, "deleted_syllable"),))
            for gone in range(start + 1, stop):
                kept[gone] = Segment("", empty)
            if stop < len(kept) and kept[start - 1].symbol:
                kept[start - 1] = replace(kept[start - 1], wave=fade(kept[start - 1].wave, end=True))
                kept[stop] = replace(kept[stop], wave=fade(kept[stop].wave, start=True))
            number += 1
    return [segment for segment in kept if segment.symbol or segment.marks]


def _kind(profile: Profile, random: np.random.Generator) -> str | None:
    bound, chance = 0.0, random.random()
    for kind in DISFLUENCIES:
        bound += getattr(profile, kind)
        if chance < bound:
            return kind
    return None


def _word(speech: Speech, first: int, last: int, kind: str | None, profile: Profile, number: int, random) -> list:
    """The segments of one word after its disfluency."""
    word = list(speech.segments[first:last])
    if kind is None:
        return word
    if kind.endswith("repetition"):
        return _repeat(speech, word, kind, profile, number, random)
    if kind == "prolongation":
        return _prolong(speech, word, first, profile, number)
    if kind == "block":
        return _block(speech, word, first, profile, number, random)
    return _interject(speech, word, profile, number, random)


def _repeat(speech: Speech, word: list, kind: str, profile: Profile, number: int, random) -> list:
    """Copies of the word's first sound, first syllable, or (words of one syllable) all of it, and a gap after each.

    A sound is the first phone, or as many as last 40 ms. A copy is the recording's own samples; only its last 5 ms
    fade. A word of several syllables repeats its first one instead of itself.
    """
    parts = syllables([segment.symbol for segment in word])
    if kind == "word_repetition" and len(parts) > 1:
        kind = "syllable_repetition"
    if kind == "sound_repetition":
        stop = 1
        while stop < len(word) and (
            not any(segment.symbol and segment.symbol in PHONES for segment in word[:stop])
            or sum(len(segment.wave) for segment in word[:stop]) < SHORTEST_UNIT
        ):
            stop += 1
    else:
        stop = parts[0][1]
    unit = [segment for segment in word[:stop] if segment.symbol]
    made: list[Segment] = []
    for _ in range(1 + int(random.random() * profile.repetitions)):
        copy = [Segment(segment.symbol, segment.wave) for segment in unit]
        copy[-1] = replace(copy[-1], wave=fade(copy[-1].wave, end=True))
        if made:
            copy[0] = replace(copy[0], wave=fade(copy[0].wave, start=True))
        made += [segment.marked(number, kind) for segment in [*copy, *_silence(speech, profile.gap, random)]]
    return made + [replace(word[0], wave=fade(word[0].wave, start=True)), *word[1:]]


def _prolong(speech: Speech, word: list, first: int, profile: Profile, number: int) -> list:
    """The word's first phone that can be held (no stop, at least 10 ms) becomes `prolongation_seconds` longer."""
    for place, segment in enumerate(word):
        holdable = segment.symbol and segment.symbol in PHONES and segment.symbol not in STOPS
        if holdable and len(segment.wave) >= SHORTEST_HELD:
            start, stop = speech.edges[first + place : first + place + 2]
            samples = int(stop - start) + round(profile.prolongation_seconds * RATE)
            held = fade(stretch(speech.analysis, speech.wave, start, stop, samples), start=True, end=True)
            word[place] = replace(segment, wave=held).marked(number, "prolongation")
            break
    return word


def _block(speech: Speech, word: list, first: int, profile: Profile, number: int, random) -> list:
    """A silence before the word, whose first syllable begins abruptly (no fade) with its F0 raised."""
    pause = [segment.marked(number, "block") for segment in _silence(speech, profile.block_seconds, random)]
    stop = syllables([segment.symbol for segment in word])[0][1]
    begin, end = int(speech.edges[first]), int(speech.edges[first + stop])
    if end - begin < SHORTEST_HELD or not profile.onset_tension:
        return pause + word
    tense = stretch(speech.analysis, speech.wave, begin, end, end - begin, profile.onset_tension)
    offsets = speech.edges[first : first + stop + 1] - begin
    tense = fade(tense, end=True)
    onset = [
        replace(segment, wave=tense[a:b]).marked(number + 1_000_000, "tense_onset")
        for segment, a, b in zip(word[:stop], offsets[:-1], offsets[1:], strict=True)
    ]
    return pause + onset + word[stop:]


def _interject(speech: Speech, word: list, profile: Profile, number: int, random) -> list:
    """A filled pause before the word: the speaker's own most neutral long vowel, stretched; then a gap."""
    vowels = [
        (segment.symbol in NEUTRAL, len(segment.wave), -place)
        for place, segment in enumerate(speech.segments)
        if segment.symbol and segment.symbol in VOWELS and len(segment.wave) >= SHORTEST_HELD
    ]
    if not vowels:
        return word
    place = -max(vowels)[2]
    start, stop = speech.edges[place : place + 2]
    samples = round(profile.interjection_seconds * RATE)
    uttered = fade(stretch(speech.analysis, speech.wave, start, stop, samples), start=True, end=True)
    filled = [Segment(speech.segments[place].symbol, uttered), *_silence(speech, profile.gap, random)]
    return [segment.marked(number, "interjection") for segment in filled] + word


def _silence(speech: Speech, seconds: float, random: np.random.Generator) -> list[Segment]:
    samples = round(seconds * RATE)
    return [Segment(SILENCE, room_tone(speech.wave, samples, random))] if samples else []
