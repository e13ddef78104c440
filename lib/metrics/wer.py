"""Word and character error rate of Whisper's transcripts against the intended texts.

WER = (S + D + I) / N: substituted, deleted and inserted words over the words of the reference, after
Whisper's English normaliser (Radford et al. 2022, appendix C); CER is the same over characters, spaces
included. Ratios: 0 is best, and insertions can take them above 1. Counts are jiwer's.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from lib.metrics import MetricError, check_pairs, check_waves, is_silent

if TYPE_CHECKING:
    from lib.models.whisper.model import Whisper

LARGEST_COMPRESSION = 2.4


def score(
    speech: Sequence[np.ndarray],
    reference: Sequence[str],
    *,
    device: str = "cpu",
    recogniser: Whisper | None = None,
    batch_size: int = 16,
    context_seconds: float = 5.0,
) -> dict[str, np.ndarray]:
    """Transcribe `speech` (waves of at most 30 s) with `recogniser` and compare with `reference` (texts).

    The recogniser is Whisper tiny.en on `device` unless one is given. A silent wave counts as an empty
    transcript (WER 1), since Whisper writes words into silence. `context_seconds` is Whisper.transcribe's:
    30 gives exactly Whisper's own transcripts, 5 is several times faster and differs in fewer than 1 word of
    100 on LibriSpeech test-other. Returns what `compare` returns.
    Raises MetricError for an empty reference or audio that is not finite mono, WhisperError for longer audio.
    """
    waves = check_waves(speech, "Speech", silence=True)
    check_pairs(waves, reference)
    for index, text in enumerate(reference):
        _normalised_reference(text, index)
    if recogniser is None:
        from lib.models.whisper import sizes as whisper

        recogniser = whisper.load("tiny.en", device)
    audible = [index for index, wave in enumerate(waves) if not is_silent(wave)]
    hypotheses = [""] * len(waves)
    texts = recogniser.transcribe([waves[index] for index in audible], batch_size, context_seconds=context_seconds)
    for index, text in zip(audible, texts, strict=True):
        hypotheses[index] = text
    return compare(hypotheses, reference)


def compare(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, np.ndarray]:
    """Error rates of transcripts against texts, float64 arrays of shape (batch,).

    wer and cer (ratios); wer_insertions, wer_deletions, wer_substitutions and wer_words (counts; the words
    are the reference's); wer_hallucinated (1 where the transcript repeats itself, see `hallucinated`, or 0).
    Raises MetricError for a reference that is missing or has no words.
    """
    import jiwer

    check_pairs(hypotheses, references)
    rows = []
    for index, (hypothesis, reference) in enumerate(zip(hypotheses, references, strict=True)):
        expected, heard = _normalised_reference(reference, index), normalise(hypothesis)
        words = jiwer.process_words(expected, heard)
        rows.append(
            {
                "wer": words.wer,
                "cer": jiwer.cer(expected, heard),
                "wer_insertions": words.insertions,
                "wer_deletions": words.deletions,
                "wer_substitutions": words.substitutions,
                "wer_words": words.hits + words.substitutions + words.deletions,
                "wer_hallucinated": float(hallucinated(hypothesis)),
            }
        )
    names = ["wer", "cer", "wer_insertions", "wer_deletions", "wer_substitutions", "wer_words"]
    return {name: np.array([row[name] for row in rows], dtype=np.float64) for name in [*names, "wer_hallucinated"]}


def normalise(text: str) -> str:
    """`text` through Whisper's English normaliser: lower case, no punctuation, one spelling of numbers."""
    return _normaliser()(text)


def hallucinated(text: str) -> bool:
    """Whether a transcript looks made up: it repeats itself.

    True where zlib compresses it more than 2.4 times (Whisper's own threshold, section 4.5), which needs
    about 100 characters to show, or where one to four words occur four times in a row.
    """
    raw = text.encode()
    if len(raw) > LARGEST_COMPRESSION * len(zlib.compress(raw)):
        return True
    words = normalise(text).split()
    return any(
        words[start : start + size] * 4 == words[start : start + 4 * size]
        for size in range(1, 5)
        for start in range(len(words) - 4 * size + 1)
    )


def has_words(text: str) -> bool:
    """Whether a text can be a reference: the normaliser leaves words of it ("um, mhm" and "(inaudible)" are none)."""
    return isinstance(text, str) and any(character.isalnum() for character in normalise(text))


def _normalised_reference(text: str, index: int) -> str:
    if not has_words(text):
        raise MetricError(f"Reference {index} has no words: give the text that utterance {index} speaks.")
    return normalise(text)


@lru_cache(maxsize=1)
def _normaliser():
    from whisper_normalizer.english import EnglishTextNormalizer

    return EnglishTextNormalizer()
