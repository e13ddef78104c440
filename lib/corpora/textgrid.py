"""Phone durations from Praat TextGrid files, as forced aligners write them.

Long and short text formats, UTF-8 or UTF-16. Both formats are the same list of values to Praat: quoted strings,
numbers and <flags> that stand alone; all other words are decoration (Praat manual, "TextGrid file formats").
"""

import codecs
import math
import re
from dataclasses import dataclass
from pathlib import Path

TOLERANCE = 1e-4  # seconds by which neighbouring intervals may miss each other
_VALUE = re.compile(
    r"""(?<!\S)(?: "(?P<string>(?:[^"]|"")*)" | (?P<number>[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?) | (?P<flag><\w+>)"""
    r""" | (?P<comment>![^\n]*) )(?!\S)""",
    re.VERBOSE,
)


class TextGridError(ValueError):
    """A TextGrid that cannot be used; the message names the file and says what to do."""


@dataclass(frozen=True)
class Interval:
    """A labelled stretch of a recording, in seconds."""

    label: str
    start: float
    end: float

    @property
    def duration(self) -> float:
        return self.end - self.start


def read(path: Path | str, tier: str = "phones") -> list[Interval]:
    """The intervals of a tier, in order, without gaps.

    tier: its name in any case; "phones" also finds "speaker - phones" where there is one such tier.
    Raises TextGridError for a file that is missing, empty, cut short or no TextGrid, for a tier that is not there,
    and for intervals that are empty, overlap or leave a gap.
    """
    path = Path(path)
    tiers = _tiers(_values(path), path)
    wanted = tier.lower()
    found = [t for t in tiers if t[0].lower() == wanted] or [t for t in tiers if t[0].lower().endswith(f"- {wanted}")]
    if len(found) != 1:
        names = ", ".join(name for name, _ in tiers) or "none"
        count = "no interval tier" if not found else f"{len(found)} interval tiers"
        raise TextGridError(f"{path}: {count} named {tier!r}; choose one of its interval tiers: {names}.")
    intervals = found[0][1]
    _check(intervals, f"{path}, tier {found[0][0]}")
    return intervals


def _text(path: Path) -> str:
    if not path.is_file():
        raise TextGridError(f"{path}: no such file; give the path of a TextGrid.")
    content = path.read_bytes()
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        raise TextGridError(f"{path}: neither UTF-8 nor UTF-16 text; save it from Praat as UTF-8.") from None


def _values(path: Path) -> list[str | float]:
    """Strings, numbers and flags of a file in order, after its two header strings."""
    values: list[str | float] = []
    for match in _VALUE.finditer(_text(path)):
        if match["number"] is not None:
            values.append(float(match["number"]))
        elif match["string"] is not None:
            values.append(match["string"].replace('""', '"'))
        elif match["flag"] is not None:
            values.append(match["flag"])
    if [value for value in values[:2] if isinstance(value, str)] != ["ooTextFile", "TextGrid"]:
        raise TextGridError(f"{path}: not a TextGrid in Praat's long or short text format; save it from Praat as text.")
    return values[2:]


def _tiers(values: list[str | float], path: Path) -> list[tuple[str, list[Interval]]]:
    """Names and intervals of the interval tiers; point tiers are left out."""
    stream = iter(values)

    def take(kind: type):
        value = next(stream, None)
        if not isinstance(value, kind):
            raise TextGridError(f"{path}: damaged or cut short; export it again.")
        return value

    take(float), take(float)
    if take(str) != "<exists>":
        return []
    tiers = []
    for _ in range(int(take(float))):
        kind, name = take(str), take(str)
        take(float), take(float)
        count = int(take(float))
        if kind == "IntervalTier":
            spans = [(take(float), take(float), take(str)) for _ in range(count)]
            tiers.append((name, [Interval(label, start, end) for start, end, label in spans]))
        elif kind == "TextTier":
            for _ in range(count):
                take(float), take(str)
        else:
            raise TextGridError(f"{path}: a tier of the unknown kind {kind!r}; export it again.")
    return tiers


def _check(intervals: list[Interval], name: str) -> None:
    if not intervals:
        raise TextGridError(f"{name}: no intervals; align the recording again.")
    previous = intervals[0].start
    for number, interval in enumerate(intervals, 1):
        if not (math.isfinite(interval.end) and interval.end > interval.start >= 0):
            raise TextGridError(
                f"{name}: interval {number} runs from {interval.start} to {interval.end} s; align the recording again."
            )
        if abs(interval.start - previous) > TOLERANCE:
            what = "overlaps its neighbour" if interval.start < previous else "leaves a gap before it"
            raise TextGridError(f"{name}: interval {number} at {interval.start} s {what}; align the recording again.")
        previous = interval.end
