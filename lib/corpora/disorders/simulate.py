"""Simulated atypical speech: any aligned recording as a speaker of a given condition and severity would say it.

Everything made here is simulated, by cutting the recording at its alignment and by WORLD resynthesis, and every
report has to say so. `lib.corpora.disorders.profile` lists the parameters, their ranges and the literature.

    profile = draw_profile("parkinsons", "moderate", seed=3)
    made = simulate(corpus.wave(item), item.phonemes, item.durations, [profile], seed=3)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.corpora.disorders.fluency import disfluent
from lib.corpora.disorders.profile import Profile
from lib.corpora.disorders.segments import AtypicalError, Event, cut, join
from lib.corpora.disorders.voice import revoice


@dataclass(frozen=True)
class Simulated:
    """wave: (samples,) float32 at 16 kHz; phonemes and durations (s, one per symbol): what is now said, exactly.

    Repeated sounds are repeated symbols, silent gaps and blocks are `|`, an interjection is the symbol of its vowel,
    and deleted syllables are gone. The text that was meant stays the recording's.
    """

    wave: np.ndarray
    phonemes: str
    durations: tuple[float, ...]
    events: tuple[Event, ...]


def simulate(
    wave: np.ndarray, phonemes: str, durations: Sequence[float], profiles: Sequence[Profile], seed: int
) -> Simulated:
    """The recording (samples,) at 16 kHz as each profile says in turn: disfluencies first, then rate and voice.

    Several profiles are a mixed condition; events are in the time of the last recording. phonemes: symbols of
    `lib.text`; durations: seconds, one per symbol, summing to the recording within 50 ms. The same arguments give the
    same samples. A profile that changes nothing returns the recording's own samples.

    Raises `lib.audio.AudioError` for silence and other unusable samples, AtypicalError for an alignment that does
    not fit, for a recording without a voiced frame and without a profile; all are ValueErrors of one sentence.
    """
    if not profiles:
        raise AtypicalError("No profile is given: draw at least one.")
    made = Simulated(np.asarray(wave), phonemes, tuple(durations), ())
    for order, profile in enumerate(profiles):
        segments = cut(made.wave, made.phonemes, made.durations, made.events)
        own = int(np.random.SeedSequence([seed, order]).generate_state(1)[0])
        made = Simulated(*join(revoice(disfluent(segments, profile, own), profile, own)))
    return made
