"""A small corpus of buzzing consonants and vowels with exact alignments, in the place of the embedded corpus."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lib import audio
from lib.corpora.corpus import Corpus, Utterance

PHONEMES = "|sˈɑ mˈidə ʃˈu nˈɑ.|"
SECONDS = {"|": 0.1, " ": 0.03, ".": 0.05, "ˈ": 0.02, "s": 0.09, "ʃ": 0.1, "m": 0.08, "n": 0.08, "d": 0.04}
VOICES = {
    "pre_one": ("pretraining", 110.0),
    "ada_one": ("adaptation", 160.0),
    "ada_two": ("adaptation", 210.0),
    "new_one": ("never_seen", 130.0),
    "new_two": ("never_seen", 190.0),
}
SENTENCES = {"train": ("The dog sleeps.", "A bird sings."), "test": ("The cat runs away.", "Some rain falls.")}


def speech(pitch: float, seed: int) -> np.ndarray:
    """1.6 s of `PHONEMES`: noise for s and ʃ, a dozen harmonics for what is voiced."""
    random = np.random.default_rng(seed)
    pieces, phase = [], 0.0
    for symbol in PHONEMES:
        time = np.arange(round(SECONDS.get(symbol, 0.16) * audio.RATE)) / audio.RATE
        if symbol in "ɑiəumn":
            angle = phase + 2 * np.pi * pitch * (1 + 0.03 * seed) * time
            phase = float(angle[-1])
            pieces.append(sum(np.sin(k * angle) / k for k in range(1, 12)))
        else:
            pieces.append(random.standard_normal(len(time)) * (0.1 if symbol in "sʃ" else 1e-3))
    wave = np.concatenate(pieces)
    return (0.4 * wave / np.abs(wave).max()).astype(np.float32)


def source(root: Path) -> Corpus:
    """The corpus, written to `root`: five voices, two training and two test sentences each."""
    utterances = []
    for voice, (role, pitch) in VOICES.items():
        for split, sentences in SENTENCES.items():
            for number, text in enumerate(sentences):
                wave = speech(pitch, number)
                name = f"{voice}_{split}_{number:03d}"
                path = f"audio/{voice}/{name}.flac"
                audio.write(root / path, wave)
                seconds = len(wave) / audio.RATE
                durations = [SECONDS.get(symbol, 0.16) for symbol in PHONEMES]
                durations[-1] += seconds - sum(durations)
                utterances.append(
                    Utterance(name, voice, text, PHONEMES, tuple(durations), role, split, "typical", path, seconds)
                )
    corpus = Corpus(root, "embedded", "0123456789ab", utterances)
    corpus.save()
    return corpus
