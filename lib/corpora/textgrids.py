"""Durations from the TextGrids of a forced aligner, in the study's phoneme alphabet.

`<utterance>.TextGrid` has a tier "phones" and, where words are to be told apart, a tier "words". Labels are ARPAbet (as
Montreal Forced Aligner's english_us_arpa writes it: AH0, IY1, ZH) or symbols of `lib.text` themselves. Stress marks and
spaces take no time; a pause within the text is a comma, silence at either end `|`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from praatio import textgrid
from praatio.data_classes.interval_tier import IntervalTier
from praatio.utilities.constants import Interval
from praatio.utilities.errors import PraatioException

from lib import text
from lib.corpora.corpus import Corpus, CorpusError, Utterance
from lib.files import file_hash, fingerprint

SILENT = ("", "sil", "sp", "spn", "<eps>", "|")
ARPABET = {
    **{"AA": "ɑ", "AE": "æ", "AH": "ʌ", "AO": "ɔ", "AW": "W", "AY": "I", "EH": "ɛ", "ER": "ɜɹ", "EY": "A", "IH": "ɪ"},
    **{"IY": "i", "OW": "O", "OY": "Y", "UH": "ʊ", "UW": "u", "B": "b", "CH": "ʧ", "D": "d", "DH": "ð", "F": "f"},
    **{"G": "ɡ", "HH": "h", "JH": "ʤ", "K": "k", "L": "l", "M": "m", "N": "n", "NG": "ŋ", "P": "p", "R": "ɹ", "S": "s"},
    **{"SH": "ʃ", "T": "t", "TH": "θ", "V": "v", "W": "w", "Y": "j", "Z": "z", "ZH": "ʒ"},
}
UNSTRESSED = {"AH": "ə", "ER": "əɹ"}
STRESS = {"1": "ˈ", "2": "ˌ"}
_LABEL = re.compile(r"([A-Z]{1,2})([012]?)")
TOLERANCE = 0.05  # seconds by which a TextGrid may be shorter or longer than its recording
GAP = 1e-4  # seconds by which neighbouring intervals may miss each other


class TextGridError(ValueError):
    """A TextGrid that cannot be used; the message names the file and says what to do."""


def timed(corpus: Corpus, folder: Path) -> Corpus:
    """The corpus with phonemes and durations from the TextGrids anywhere below `folder`, written to its manifest.

    Utterances without a usable TextGrid are set aside with the reason. Raises CorpusError when none is left.
    """
    files = {file.stem: file for file in sorted(Path(folder).rglob("*.TextGrid"))}
    utterances, aside = [], list(corpus.set_aside)
    for item in corpus.utterances:
        try:
            if item.utterance not in files:
                raise TextGridError(f"{item.utterance}.TextGrid: no such file; align the recording.")
            phonemes, durations = read(files[item.utterance], item)
            utterances.append(replace(item, phonemes=phonemes, durations=durations))
        except TextGridError as error:
            reason = str(error).replace(f"{folder}/", "")
            aside.append({"utterance": item.utterance, "speaker": item.speaker, "text": item.text, "reason": reason})
    if not utterances:
        raise CorpusError(f"{folder}: no TextGrid fits the corpus {corpus.name} ({aside[-1]['reason']})")
    used = [file_hash(files[item.utterance]) for item in utterances]
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
    pairs = [pair for interval in _merged(intervals) for pair in _symbols(interval, file)]
    pairs = _with_spaces(pairs, _word_starts(file))
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


def _merged(intervals: list[Interval]) -> list[Interval]:
    """Intervals with silences that follow each other as one."""
    out: list[Interval] = []
    for interval in intervals:
        silent = interval.label.strip() in SILENT
        if silent and out and out[-1].label == "":
            out[-1] = Interval(out[-1].start, interval.end, "")
        else:
            out.append(Interval(interval.start, interval.end, "" if silent else interval.label.strip()))
    return out


def _symbols(interval: Interval, file: Path) -> list[tuple[str, float, float]]:
    """(symbol, start, end) of a label; a stress mark before it takes no time, several symbols share it equally."""
    start, end, label = interval
    if not label:
        return [(text.SILENCE, start, end)]
    match = _LABEL.fullmatch(label)
    if match and match[1] in ARPABET:
        phone, level = match.groups()
        symbols = UNSTRESSED.get(phone, ARPABET[phone]) if level == "0" else ARPABET[phone]
        marks = [(STRESS[level], start, start)] if level in STRESS else []
    elif all(symbol in text.PHONES + text.STRESS for symbol in label):
        symbols, marks = label.lstrip(text.STRESS), [(mark, start, start) for mark in label if mark in text.STRESS]
    else:
        raise TextGridError(f"{file}: the label {label!r} at {start:.2f} s is neither ARPAbet nor of this alphabet.")
    step = (end - start) / max(1, len(symbols))
    return marks + [(symbol, start + i * step, start + (i + 1) * step) for i, symbol in enumerate(symbols)]


def _word_starts(file: Path) -> list[float]:
    """Where words begin; none where there is no such tier."""
    try:
        return [interval.start for interval in intervals_of(file, "words") if interval.label.strip() not in SILENT]
    except TextGridError:
        return []


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
