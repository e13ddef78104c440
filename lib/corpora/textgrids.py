"""Durations from the TextGrids of a forced aligner, in the study's phoneme alphabet.

`<utterance>.TextGrid` has a tier "phones" and, where words are to be told apart, a tier "words". The labels of a file
are all of one alphabet: ARPAbet (as Montreal Forced Aligner's english_us_arpa writes it: AH0, IY1, ZH), the IPA of its
English models (aj, tʃ, ɫ̩; `lib.corpora.ipa`), or symbols of `lib.text` themselves. What is no phone (spn, SIL, [noise],
laughter) counts as silence, and a word without phones (<unk>) as none. Stress marks and spaces take no time; a pause
within the text is a comma, silence at either end `|`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from praatio import textgrid
from praatio.data_classes.interval_tier import IntervalTier
from praatio.utilities.constants import Interval
from praatio.utilities.errors import PraatioException

from lib import text
from lib.corpora import ipa
from lib.corpora.corpus import Corpus, CorpusError, Utterance
from lib.files import file_hash, fingerprint, name_key, walk

NO_PHONE = re.compile(
    r"|sp|sil|spn|nsn|sns|ns|lau|unk|oov|eps|epi|pau|pause|silence|noise|br|brth|breath\w*|inhale|exhale|laugh\w*|cough\w*"
    r"|garbage|inaudible|unintelligible|unknown|xxx|h#|[|#_.-]+|<.*>|\[.*\]|\{.*\}|\(.*\)|\++\w*\++"
)  # what aligners and annotators write where no phone is, in any case
ARPABET = {
    **{"AA": "ɑ", "AE": "æ", "AH": "ʌ", "AO": "ɔ", "AW": "W", "AY": "I", "EH": "ɛ", "ER": "ɜɹ", "EY": "A", "IH": "ɪ"},
    **{"IY": "i", "OW": "O", "OY": "Y", "UH": "ʊ", "UW": "u", "B": "b", "CH": "ʧ", "D": "d", "DH": "ð", "F": "f"},
    **{"G": "ɡ", "HH": "h", "JH": "ʤ", "K": "k", "L": "l", "M": "m", "N": "n", "NG": "ŋ", "P": "p", "R": "ɹ", "S": "s"},
    **{"SH": "ʃ", "T": "t", "TH": "θ", "V": "v", "W": "w", "Y": "j", "Z": "z", "ZH": "ʒ"},
}
UNSTRESSED = {"AH": "ə", "ER": "əɹ"}
STRESS = {"1": "ˈ", "2": "ˌ"}
_LABEL = re.compile(r"([A-Z]{1,2})([012]?)")
_OWN = re.compile(rf"[{text.PHONES}]|[{text.VOWELS}][ɹlmn]")
OWN_ONLY = set("AIOWYQTʧʤᵊᵻ" + text.STRESS)  # of the study's symbols, those that other alphabets lack
TOLERANCE = 0.05  # seconds by which a TextGrid may be shorter or longer than its recording
GAP = 1e-4  # seconds by which neighbouring intervals may miss each other


class TextGridError(ValueError):
    """A TextGrid that cannot be used; the message names the file and says what to do."""


def timed(corpus: Corpus, folder: Path) -> Corpus:
    """The corpus with phonemes and durations from the TextGrids anywhere below `folder`, written to its manifest.

    Utterances without a usable TextGrid are set aside with the reason. Raises CorpusError when none is left.
    """
    files: dict[str, list[Path]] = {}
    for file in walk(Path(folder)):
        if file.suffix.lower() == ".textgrid":
            files.setdefault(name_key(file.stem), []).append(file)
    utterances, aside = [], list(corpus.set_aside)
    for item in corpus.utterances:
        try:
            found = files.get(name_key(item.utterance), [])
            if not found:
                raise TextGridError(f"{item.utterance}.TextGrid: no such file; align the recording.")
            if len(found) > 1:
                raise TextGridError(f"{found[0]} and {found[1]} are both of {item.utterance}; remove one.")
            phonemes, durations = read(found[0], item)
            utterances.append(replace(item, phonemes=phonemes, durations=durations))
        except TextGridError as error:
            reason = str(error).replace(f"{folder}/", "")
            aside.append({"utterance": item.utterance, "speaker": item.speaker, "text": item.text, "reason": reason})
    if not utterances:
        raise CorpusError(f"{folder}: no TextGrid fits the corpus {corpus.name} ({aside[-1]['reason']})")
    used = [file_hash(files[name_key(item.utterance)][0]) for item in utterances]
    aligned = replace(corpus, utterances=utterances, set_aside=aside, hash=fingerprint(corpus.hash, used))
    aligned.save()
    return aligned


def intervals_of(file: Path, tier: str) -> list[Interval]:
    """The intervals (start, end, label) of a tier, in order, without gaps; seconds.

    tier: its name in any case; "phones" also finds "speaker - phones" where there is one such tier. Raises
    TextGridError for a file that is missing or no TextGrid, a tier that is not there, and a gap between intervals.
    """
    if not file.is_file():
        raise TextGridError(f"{file}: no such file; give the path of a TextGrid.")
    try:
        grid = textgrid.openTextgrid(str(file), includeEmptyIntervals=True, reportingMode="silence")
    except (PraatioException, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise TextGridError(f"{file}: not readable as a TextGrid ({reason}); export it again.") from None
    tiers = [each for each in grid.tiers if isinstance(each, IntervalTier)]
    found = [each for each in tiers if each.name.lower() == tier]
    found = found or [each for each in tiers if each.name.lower().endswith(f"- {tier}")]
    if len(found) != 1 or not found[0].entries:
        names = ", ".join(each.name for each in tiers) or "none"
        raise TextGridError(
            f"{file}: not one interval tier named {tier!r} with intervals; its interval tiers: {names}."
        )
    intervals = list(found[0].entries)
    if not found[0].maxTimestamp - intervals[-1].end <= GAP:
        raise TextGridError(f"{file}: the tier {tier} is cut short at {intervals[-1].end} s; export it again.")
    for before, after in zip(intervals, intervals[1:], strict=False):
        if not after.start - before.end <= GAP:
            raise TextGridError(f"{file}: the tier {tier} leaves a gap at {before.end} s; align the recording again.")
    return intervals


def read(file: Path, item: Utterance) -> tuple[str, tuple[float, ...]]:
    """Phonemes and seconds per symbol of an utterance. Raises TextGridError for unknown labels and another length."""
    intervals = intervals_of(file, "phones")
    if not (intervals[0].start >= 0 and abs(intervals[-1].end - item.seconds) <= TOLERANCE):
        raise TextGridError(
            f"{file}: ends at {intervals[-1].end:.2f} s, the prepared recording at {item.seconds:.2f} s; align the "
            "prepared recording."
        )
    intervals = _merged(intervals)
    pairs = [pair for each in zip(intervals, _phones(intervals, file), strict=True) for pair in _symbols(*each)]
    pairs = _with_spaces(pairs, _word_starts(file, pairs))
    if pairs[0][0] != text.SILENCE:
        pairs.insert(0, (text.SILENCE, intervals[0].start, intervals[0].start))
    if pairs[-1][0] != text.SILENCE:
        pairs.append((text.SILENCE, item.seconds, item.seconds))
    symbols = [
        "," if symbol == text.SILENCE and 0 < place < len(pairs) - 1 else symbol
        for place, (symbol, _, _) in enumerate(pairs)
    ]
    starts = [0.0, *(start for _, start, _ in pairs[1:]), item.seconds]
    starts = [min(start, item.seconds) for start in starts]
    return "".join(symbols), tuple(b - a for a, b in zip(starts, starts[1:], strict=False))


def _silent(label: str) -> bool:
    return bool(NO_PHONE.fullmatch(re.sub(r"_[bies]$", "", label.strip().casefold())))


def _merged(intervals: list[Interval]) -> list[Interval]:
    """Intervals with silences that follow each other as one; labels in one form of accents."""
    out: list[Interval] = []
    for interval in intervals:
        label = "" if _silent(interval.label) else unicodedata.normalize("NFC", interval.label.strip())
        if not label and out and not out[-1].label:
            out[-1] = Interval(out[-1].start, interval.end, "")
        else:
            out.append(
                Interval(interval.start, interval.end, re.sub(r"_[BIES]$", "", label))
            )  # Kaldi's place in a word
    return out


def _arpabet(label: str, following: str) -> str:
    """Stress mark and symbols of an ARPAbet label; empty where it is none."""
    match = _LABEL.fullmatch(label)
    if match is None or match[1] not in ARPABET:
        return ""
    phone, level = match.groups()
    return STRESS.get(level, "") + (UNSTRESSED.get(phone, ARPABET[phone]) if level == "0" else ARPABET[phone])


def _own(label: str, following: str) -> str:
    return label if _OWN.fullmatch(label.lstrip(text.STRESS)) else ""


def _lowered(label: str, following: str) -> str:
    return _arpabet(label.upper(), following) if label.islower() else ""


def _phones(intervals: list[Interval], file: Path) -> list[str]:
    """Stress marks and symbols of each interval, by the one alphabet that all labels of a file are of."""
    labels = [interval.label for interval in intervals]
    own = OWN_ONLY & set("".join(labels))
    alphabets: list[Callable[[str, str], str]] = [_arpabet, *([_own] if own else []), ipa.phones, _lowered]
    unknown = []
    for known in alphabets:
        found = [known(*pair) if pair[0] else "" for pair in zip(labels, [*labels[1:], ""], strict=True)]
        strange = [each for each, phones in zip(intervals, found, strict=True) if each.label and not phones]
        if not strange:
            return found
        unknown.append(strange)
    first = min(unknown, key=len)[0]
    raise TextGridError(
        f"{file}: the label {first.label!r} at {first.start:.2f} s is neither ARPAbet nor English IPA nor of the "
        "study's alphabet, as the file's others are; align it with english_us_arpa or english_mfa."
    )


def _symbols(interval: Interval, phones: str) -> list[tuple[str, float, float]]:
    """(symbol, start, end) of an interval; a stress mark before it takes no time, several symbols share it equally."""
    start, end, label = interval
    if not label:
        return [(text.SILENCE, start, end)]
    symbols = phones.lstrip(text.STRESS)
    marks = [(mark, start, start) for mark in phones if mark in text.STRESS]
    step = (end - start) / len(symbols)
    return marks + [(symbol, start + i * step, start + (i + 1) * step) for i, symbol in enumerate(symbols)]


def _word_starts(file: Path, pairs: list[tuple[str, float, float]]) -> list[float]:
    """Where words begin; none where there is no such tier. What holds no phone is no word, whatever its label is."""
    spoken = [start for symbol, start, _ in pairs if symbol in text.PHONES]
    try:
        words = [interval for interval in intervals_of(file, "words") if interval.label.strip()]
    except TextGridError:
        return []
    return [word.start for word in words if any(word.start - GAP <= start < word.end - GAP for start in spoken)]


def _with_spaces(pairs: list[tuple[str, float, float]], starts: list[float]) -> list[tuple[str, float, float]]:
    """A space of no length before every word but the first."""
    out: list[tuple[str, float, float]] = []
    waiting = sorted(starts)
    for pair in pairs:
        if waiting and pair[0] != text.SILENCE and pair[1] >= waiting[0] - GAP:
            waiting.pop(0)
            if any(symbol in text.PHONES for symbol, _, _ in out):
                out.append((" ", pair[1], pair[1]))
        out.append(pair)
    return out
