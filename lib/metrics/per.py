"""PER: phoneme error rate of hama's phoneme recogniser against the intended texts.

hama (CTC over phonemes, 4.7 MB, Apache-2.0) has no language model: it writes what it hears, where Whisper writes likely
words, or the same words again and again. PER = (substitutions + deletions + insertions) / reference phonemes. Reference
phonemes are `lib.text.phonemize`'s; both sides are written in the phonemes that the two alphabets share (no stress;
ə, ʌ and ɐ one, əɹ and ɝ one). Recordings are not at 0: LibriSpeech test-other, 25 utterances, is at 0.24. Compare with
the recordings of the same texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from lib import text
from lib.audio import RATE
from lib.metrics import MetricError, check_pairs, check_waves

SHORTEST = 1600
SPELLING = {  # as one writes it, to how both are compared; longer ones first
    **{"əɹ": "ɝ", "ɜɹ": "ɝ", "ɚ": "ɝ", "t͡ʃ": "ʧ", "d͡ʒ": "ʤ"},
    **{"eɪ": "A", "aɪ": "I", "oʊ": "O", "aʊ": "W", "ɔɪ": "Y"},
    **{"g": "ɡ", "T": "t", "ɾ": "t", "ᵊ": "ə", "ᵻ": "ɪ", "ʌ": "ə", "ɐ": "ə", "e": "A", "o": "O", "r": "ɹ", "ʔ": "t"},
}
PHONEMES = frozenset("AIOWYʧʤɝəɑæɔɛɪʊiupbtdkɡfvθðszʃʒhmnŋlɹjw")


def score(speech: Sequence[np.ndarray], reference: Sequence[str], *, device: str = "cpu") -> dict[str, np.ndarray]:
    """`per` (batch,), a ratio that insertions may take above 1, of mono 16 kHz waves against the texts they speak.

    device: ignored, the recogniser runs on a CPU. Raises MetricError for silent, NaN or too short waves and for a text
    without phonemes.
    """
    import jiwer

    waves = check_waves(speech, "Speech", SHORTEST)
    check_pairs(waves, reference)
    expected = [phonemes_of(said, index) for index, said in enumerate(reference)]
    pairs = zip(waves, expected, strict=True)
    values = [jiwer.wer(" ".join(phones), " ".join(heard(wave))) for wave, phones in pairs]
    return {"per": np.array(values, dtype=np.float64)}


def heard(wave: np.ndarray) -> str:
    """What hama hears in a wave, one character a phoneme."""
    return spelled("".join(_recogniser().transcribe_waveform(wave, RATE).phonemes))


def phonemes_of(said: str, index: int = 0) -> str:
    """The phonemes of a text, one character each. Raises MetricError for a text without any."""
    try:
        phones = spelled(text.phonemize(said))
    except text.TextError as error:
        raise MetricError(f"Reference {index} cannot be spoken: {error}") from None
    if not phones:
        raise MetricError(f"Reference {index} has no phonemes: give the text that utterance {index} speaks.")
    return phones


def spelled(phonemes: str) -> str:
    """Phonemes of either alphabet in the common one; stress, length, spaces and punctuation are left out."""
    bare = "".join(symbol for symbol in phonemes if symbol not in "ˈˌː ")
    for written, common in SPELLING.items():
        bare = bare.replace(written, common)
    return "".join(symbol for symbol in bare if symbol in PHONEMES)


@lru_cache(maxsize=1)
def _recogniser():
    from hama import ASRModel

    return ASRModel()
