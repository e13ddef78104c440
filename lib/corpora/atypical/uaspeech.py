"""UA-Speech: isolated words by 15 speakers with cerebral palsy and 13 controls, 16 kHz, eight microphones.

    audio/noisereduced/M04/M04_B1_C1_M5.wav    speaker, block, word, microphone (or audio/original/..., audio/M04/...)
    mlf/M04/M04_word.mlf                       "*/M04_B1_C1_M5.lab" and below it COMMAND

Research only, on request; 100 hours over all microphones, 50 GB. Microphone 5 is used; of several versions of the audio
the first of noisereduced, normalized, original. A C before the number is a control (CF02, CM04). Words are lowered.

Conditions: dysarthria, controls typical; `severity` follows the corpus's intelligibility classes (high: mild, mid:
moderate, low and very low: severe). Roles: F05, M11, M16, M12 (one of each class), CM12 and CM13 are never seen, the
others adaptation. Splits by word: the release's blocks repeat the same words.
"""

import re
from pathlib import Path

from lib.corpora.recorded.clip import Clip
from lib.corpora.recorded.layout import About, find, hold_out, read_text, recordings, said, some

ABOUT = About(
    "uaspeech",
    "UA-Speech",
    "research only",
    "28 speakers, 50 GB",
    "Ask the Statistical Speech Technology group of the University of Illinois (Mark Hasegawa-Johnson) for it.",
)
INTELLIGIBILITY = {
    "high": ("F05", "M08", "M09", "M10", "M14"),
    "mid": ("F04", "M05", "M11"),
    "low": ("F02", "M07", "M16"),
    "very low": ("F03", "M01", "M04", "M12"),
}
SEVERITY = {"high": "mild", "mid": "moderate", "low": "severe", "very low": "severe"}
NEVER_SEEN = ("F05", "M11", "M16", "M12", "CM12", "CM13")
VERSIONS = ("noisereduced", "normalized", "original", "control", "")
MICROPHONE = "M5"
_LABEL = re.compile(r'"\*/(.+?)\.lab"')
_NAME = re.compile(rf"(C?[FM]\d\d)_(B\d)_(\w+)_{MICROPHONE}")


def clips(source: Path) -> list[Clip]:
    """The words recorded by microphone 5, in one version of the audio."""
    root = find(source, "mlf", ABOUT)
    words: dict[str, str] = {}
    for file in sorted((root / "mlf").glob("*/*_word.mlf")):
        words |= labels(read_text(file))
    chosen: dict[str, Path] = {}
    for version in reversed(VERSIONS):
        chosen |= {file.stem: file for file in recordings(root / "audio" / version, f"*/*_{MICROPHONE}.*")}
    found = [_clip(match, words, file) for name, file in sorted(chosen.items()) if (match := _NAME.fullmatch(name))]
    return hold_out(some(found, root, ABOUT, f"audio/*/*/*_{MICROPHONE}.wav"), NEVER_SEEN)


def _clip(match: re.Match, words: dict[str, str], file: Path) -> Clip:
    speaker, block, word = match.groups()
    text = said(words, match[0], f"{speaker}_word.mlf")
    recipe = {"block": block, "word": word}
    for name, speakers in INTELLIGIBILITY.items():
        if speaker in speakers:
            recipe |= {"intelligibility": name, "severity": SEVERITY[name]}
    condition = "typical" if speaker.startswith("C") else "dysarthria"
    return Clip(match[0], speaker, file=file, condition=condition, recipe=recipe, **text)


def labels(content: str) -> dict[str, str]:
    """Word by utterance of an HTK master label file: a quoted name, its words, a full stop."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in content.split("\n"):
        if (match := _LABEL.match(line.strip())) is not None:
            name = match[1]
        elif line.strip() == ".":
            name = ""
        elif name and line.strip():
            found.setdefault(name, []).append(line.split()[-1].lower())
    return {name: " ".join(said) for name, said in found.items()}
