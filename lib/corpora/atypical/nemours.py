"""Nemours: eleven men with dysarthria, each saying 74 nonsense sentences, and a speech pathologist saying them too.

    BB/BB1.wav      BB/BB1.txt      The boat is reaping the time.
    BB/JPBB1.wav    BB/JPBB1.txt    the same sentence by the pathologist (speaker JP)

Research only, on CD-ROM; 814 sentences at 16 kHz, 0.5 GB. A speaker's folder may hold its wav and text files in
subfolders of any name; a sentence recorded by both stands in either's text file. The two paragraphs each man reads are
longer than 30 s and are set aside.

Conditions: dysarthria, JP typical. Roles: RL and SC are never seen, the others adaptation. Splits by sentence.
"""

import re
from pathlib import Path

from lib.corpora.recorded.clip import Clip
from lib.corpora.recorded.layout import About, find, hold_out, recordings, some, transcript
from lib.files import name_key, walk

ABOUT = About(
    "nemours",
    "Nemours",
    "research only",
    "11 speakers and a control, 814 sentences, 0.5 GB",
    "Ask the Nemours Speech Research Laboratory (H. Timothy Bunnell) for it.",
)
SPEAKERS = ("BB", "BK", "BV", "FB", "JF", "KS", "LL", "MH", "RK", "RL", "SC")
CONTROL = "JP"
NEVER_SEEN = ("RL", "SC")
_NAME = re.compile(rf"({CONTROL})?({'|'.join(SPEAKERS)})(\w+)", re.IGNORECASE)


def clips(source: Path) -> list[Clip]:
    """The sentences of the men and of the pathologist."""
    find(source, "[A-Z][A-Z]", ABOUT)
    found = []
    for file in recordings(source):
        if (match := _NAME.fullmatch(file.stem)) is None:
            continue
        home = next((parent for parent in file.parents if parent.name.upper() == match[2].upper()), file.parent)
        control = bool(match[1])
        own, other = file.stem, file.stem[len(CONTROL) :] if control else CONTROL + file.stem
        text = _text(home, own) or _text(home, other) or file.with_suffix(".txt")
        sentence, problem = transcript(text)
        speaker = CONTROL if control else match[2].upper()
        condition = "typical" if control else "dysarthria"
        found.append(Clip(file.stem.upper(), speaker, sentence, file, condition=condition, problem=problem))
    return hold_out(some(found, source, ABOUT, "BB/BB1.wav"), NEVER_SEEN)


def _text(home: Path, name: str) -> Path | None:
    wanted = name_key(f"{name}.txt")
    return next((file for file in walk(home) if name_key(file.name) == wanted), None)
