"""One recorded utterance before it is read: where it is, what is said, its split, its samples."""

import hashlib
import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from lib import audio
from lib.corpora.corpus import CorpusError
from lib.metrics import wer

KEPT_SILENCE = 0.1  # seconds left at either end
SHORTEST, LONGEST = 0.2, 30.0  # seconds of usable speech; Whisper hears 30


@dataclass(frozen=True)
class Clip:
    """One utterance as a corpus's files describe it, before its recording is read.

    split: empty where the sentence's hash decides it; start, end: seconds of `file` (None: its end); mix: average
    the channels of a recording that has several; language: phonemes are checked for English ("en") only; machine: the
    corpus has no transcripts, a recogniser writes this one; recipe: what the corpus says of the utterance; problem:
    why it is set aside, empty where it is usable.
    """

    utterance: str
    speaker: str
    text: str
    file: Path
    role: str = "adaptation"
    split: str = ""
    condition: str = "typical"
    start: float = 0.0
    end: float | None = None
    mix: bool = False
    language: str = "en"
    machine: bool = False
    recipe: dict = field(default_factory=dict)
    problem: str = ""

    @property
    def path(self) -> str:
        """Where the prepared recording lies in the corpus folder."""
        return f"audio/{safe_name(self.speaker)}/{self.utterance}.flac"


def safe_name(name: str) -> str:
    """A file name without separators, spaces or a leading dot; letters of any script stay, accents in one form."""
    return re.sub(r"[^\w.-]+", "-", unicodedata.normalize("NFC", name)).lstrip(".") or "-"


def normalise(sentence: str) -> str:
    """A sentence without case, punctuation and repeated spaces; two that are equal here are the same sentence."""
    plain = " ".join(re.sub(r"[^\w']+", " ", sentence.casefold().replace("’", "'")).split())
    return plain or sentence.strip()


def split_sentences(sentences: Iterable[str], test: float = 0.1, validation: float = 0.1) -> dict[str, str]:
    """The split of each normalised sentence: those with the smallest hashes are test, the next validation.

    test, validation: their shares of the distinct sentences, rounded up; one sentence is train, two are test and train.
    """
    keys = sorted(
        {normalise(sentence) for sentence in sentences}, key=lambda key: hashlib.sha256(key.encode()).digest()
    )
    tested = math.ceil(test * len(keys)) if len(keys) > 1 else 0
    validated = math.ceil(validation * len(keys)) if len(keys) > 2 else 0
    names = ["test"] * tested + ["validation"] * validated
    return dict(zip(keys, names + ["train"] * (len(keys) - len(names)), strict=True))


def with_splits(clips: Sequence[Clip]) -> list[Clip]:
    """Clips with a split each: their own, that of the same sentence elsewhere, or by the sentence's hash.

    Test clips in which no error could be counted are set aside: whatever is trained is scored on the others.
    Raises `CorpusError` naming both utterances where a sentence is in two splits.
    """
    given: dict[str, Clip] = {}
    for clip in clips:
        if clip.split:
            first = given.setdefault(normalise(clip.text), clip)
            if first.split != clip.split:
                raise CorpusError(
                    f"{first.utterance} ({first.split}) and {clip.utterance} ({clip.split}) say the same sentence; "
                    "put a sentence into one split, so that none that is tested is trained on."
                )
    free = split_sentences(c.text for c in clips if not c.problem and normalise(c.text) not in given)
    splits = free | {key: clip.split for key, clip in given.items()}
    return [_countable(replace(clip, split=splits.get(normalise(clip.text), "train"))) for clip in clips]


def _countable(clip: Clip) -> Clip:
    """A clip, set aside where it is of the test split and its text has no words for an error rate."""
    if clip.problem or clip.split != "test" or not clip.text or wer.has_words(clip.text):
        return clip
    problem = (
        f"{clip.file.name}: the transcript of test utterance {clip.utterance} has no words ({clip.text[:30]!r}): "
        "errors cannot be counted in it, write what is said or put the utterance into the training split."
    )
    return replace(clip, problem=problem)


def samples(clip: Clip, trim: bool = True) -> np.ndarray:
    """The clip's speech, (samples,) float32 at 16 kHz, silence at either end cut to `KEPT_SILENCE`.

    Raises `lib.audio.AudioError` for a recording that is unusable, or shorter or longer than the limits.
    """
    wave = _read(clip)
    if trim:
        start, end = audio.active(wave)
        kept = round(KEPT_SILENCE * audio.RATE)
        wave = wave[max(0, start - kept) : end + kept]
    seconds = len(wave) / audio.RATE
    if seconds < SHORTEST:
        raise audio.AudioError(
            f"{clip.file}: {seconds:.2f} s of sound, at least {SHORTEST} s are needed; leave it out."
        )
    if seconds > LONGEST:
        raise audio.AudioError(f"{clip.file}: {seconds:.1f} s, at most {LONGEST:.0f} s are used; cut it at a pause.")
    return wave


def _read(clip: Clip) -> np.ndarray:
    if clip.file.suffix == ".g722":
        return _g722(clip.file)
    whole = clip.start == 0 and clip.end is None and not clip.mix
    return audio.read(clip.file) if whole else _stretch(clip)


def _g722(file: Path) -> np.ndarray:
    """A raw .g722 file of 64 kbit/s."""
    from G722 import G722

    if not file.is_file():
        raise audio.AudioError(f"{file}: no such file; fetch the corpus again.")
    wave = np.asarray(G722(audio.RATE, 64_000).decode(file.read_bytes()), np.int16)
    return audio.check(wave / np.float32(32768), file)


def _stretch(clip: Clip) -> np.ndarray:
    """The part of a recording from `start` to `end`, its channels averaged where the clip says so."""
    with audio.opened(clip.file) as file:
        rate, frames, channels = file.samplerate, file.frames, file.channels
        first, last = round(clip.start * rate), frames if clip.end is None else round(clip.end * rate)
        if not 0 <= first < min(last, frames):
            raise audio.AudioError(
                f"{clip.file}: holds {frames / rate:.2f} s, not {clip.start:.2f} to {last / rate:.2f} s; "
                "correct its time stamps or fetch it again."
            )
        if channels > 1 and not clip.mix:
            raise audio.AudioError(f"{clip.file}: has {channels} channels, expected mono; mix it down.")
        file.seek(first)
        wave = file.read(min(last, frames) - first, dtype="float32", always_2d=True).mean(1)
    return audio.resample(audio.check(wave, clip.file), rate, audio.RATE)


def pieces(wave: np.ndarray, longest: float) -> list[tuple[float, float]]:
    """Start and end in seconds of the pieces of (samples,) at 16 kHz, cut where it is quietest; none exceeds `longest`.

    Each cut lies in the second half of the longest piece possible, in the middle of its quietest 200 ms.
    """
    frame, most = audio.RATE // 100, round(longest * audio.RATE)
    power = audio.fit(wave, -(-len(wave) // frame) * frame).reshape(-1, frame).astype(np.float64) ** 2
    level = np.convolve(power.mean(1), np.ones(20), "same")
    cuts = [0]
    while len(wave) - cuts[-1] > most:
        first, last = (cuts[-1] + most // 2) // frame, (cuts[-1] + most) // frame
        cuts.append((first + int(level[first:last].argmin())) * frame)
    ends = [*cuts[1:], len(wave)]
    return [(start / audio.RATE, end / audio.RATE) for start, end in zip(cuts, ends, strict=True)]
