"""flite, another engine: recordings of four real people, joined (kal) or modelled (awb, rms, slt).

flite reads with its own lexicon and tells when each phone ends. An utterance's phonemes are what flite said, in the
study's symbols, laid over the study's own reading of it: from there come stress marks, spaces and punctuation,
which take no time, and the symbol where two differ in notation only (T and t, ᵊ and ə). A pause is the punctuation's
there, or a comma.
"""

import itertools
import re
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from lib import text
from lib.corpora.embedded.parts import FLITE, VoiceError, run_flite
from lib.corpora.textgrids import ARPABET

PAUSE = "pau"
PHONES = {label.lower(): symbols for label, symbols in ARPABET.items()} | {
    **{"ax": "ə", "axr": "əɹ", "er": "əɹ", "dx": "T", "el": "ᵊl", "em": "əm", "en": "ᵊn", "hv": "h", "nx": "n"}
}
ALIKE = str.maketrans("Tᵊᵻɐɜʌ", "təəəəə")  # symbols that differ in notation more than in sound
FURTHEST = 0.3  # phone error rate above which flite has read something else


def say(sentence: str, speaker: str, rate: float) -> tuple[str, np.ndarray, np.ndarray, int]:
    """Phonemes, wave (samples,), samples of each phoneme and the sampling rate. Raises `VoiceError`."""
    expected = text.phonemize(sentence)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "speech.wav"
        options = ("-voice", FLITE[speaker], "--setf", f"duration_stretch={1 / rate:.4f}", "-psdur")
        told = run_flite(*options, "-t", sentence, "-o", str(file))
        try:
            wave, sampling = soundfile.read(file, dtype="float32")
        except soundfile.LibsndfileError as error:
            raise VoiceError(f"flite wrote no speech ({error}); run: sudo apt-get install flite") from None
    phones = [(label, float(end)) for label, end in re.findall(r"(\S+):([\d.]+)", told)]
    phonemes, ends = lay(expected, phones)
    bounds = np.minimum(np.round(np.array(ends) * sampling), len(wave)).astype(np.int64)
    bounds[-1] = len(wave)
    return phonemes, wave, np.diff(bounds, prepend=0), sampling


def lay(expected: str, phones: list[tuple[str, float]]) -> tuple[str, list[float]]:
    """Phonemes and when each ends, from the study's reading of a text and flite's phones (label, end in seconds)."""
    said, pauses, before = [], {}, 0.0
    for label, end in phones:
        if label == PAUSE:
            pauses[len(said)] = end
        elif label in PHONES:
            symbols = PHONES[label]
            steps = np.linspace(before, end, len(symbols) + 1)[1:]
            said += list(zip(symbols, steps.tolist(), strict=True))
        else:
            raise VoiceError(f"flite's phone {label!r} has no symbol in the study's alphabet.")
        before = end
    units = re.findall(rf"([^{text.PHONES}]*)([{text.PHONES}])", expected)
    tail = expected[sum(len(marks) + 1 for marks, _ in units) :]
    pairs = align("".join(phone for _, phone in units), "".join(symbol for symbol, _ in said))
    laid: list[tuple[str, float]] = []
    reached, owed = 0.0, ""
    for place, heard in pairs:
        marks, phone = units[place] if place is not None else ("", "")
        if heard is None:  # not said: its stress goes with it, spaces and punctuation stay
            owed += marks.rstrip(text.STRESS)
            continue
        laid += _between(owed + marks, reached, pauses.get(heard, reached))
        symbol, reached = said[heard]
        laid.append((phone if phone.translate(ALIKE) == symbol.translate(ALIKE) else symbol, reached))
        owed = ""
    laid += _between(owed + tail, reached, phones[-1][1])
    return "".join(symbol for symbol, _ in laid), [end for _, end in laid]


def _between(marks: str, start: float, end: float) -> list[tuple[str, float]]:
    """The marks between two phones; a pause that ends at `end` is their punctuation's, or a comma's."""
    pausing = max((i for i, mark in enumerate(marks) if mark in text.PUNCTUATION + text.SILENCE), default=None)
    if end > start and pausing is None:
        marks, pausing = f",{marks}", 0
    return [(mark, end if pausing is not None and i >= pausing else start) for i, mark in enumerate(marks)]


def align(expected: str, said: str) -> list[tuple[int | None, int | None]]:
    """Pairs of places of two phone strings by the fewest edits, None where one lacks the other's phone.

    Raises `VoiceError` where the two are too far apart to be one sentence.
    """
    import jiwer

    found = jiwer.process_characters(expected.translate(ALIKE), said.translate(ALIKE))
    if found.cer > FURTHEST:
        raise VoiceError("flite reads the sentence with other words than the study does.")
    pairs: list[tuple[int | None, int | None]] = []
    for chunk in found.alignments[0]:
        ours = range(chunk.ref_start_idx, chunk.ref_end_idx)
        theirs = range(chunk.hyp_start_idx, chunk.hyp_end_idx)
        pairs += itertools.zip_longest(ours, theirs)
    return pairs
