"""Expresso, its read part: four speakers in a studio, seven and more styles.

    expresso/read_transcriptions.txt                               ex01_confused_00001 <tab> Are you *sure*?
    expresso/audio_48khz/read/ex01/confused/base/ex01_confused_00001.wav    (and longform/, conversational/)

CC BY-NC 4.0; 11 hours read, the whole archive 30 GB. Emphasis marks (`*`) are taken out of the text; `style` in the
recipe is the file name's, e.g. default_emphasis. Long-form readings are set aside where they exceed 30 s; the
conversations have no human transcripts and are left out.

Roles: ex04 is never seen, the others adaptation. Splits by sentence: the release's lists split files, and the same
sentence is read in several styles.
"""

import re
from pathlib import Path

from lib.corpora.recorded.clip import Clip
from lib.corpora.recorded.layout import About, find, hold_out, recordings, said, some, table

ABOUT = About(
    "expresso",
    "Expresso (read)",
    "CC BY-NC 4.0",
    "4 speakers, 11 h, 30 GB",
    "Its publisher states no checksum: fetch expresso.tar from speechbot.github.io/expresso and unpack it.",
)
NEVER_SEEN = ("ex04",)


def clips(source: Path) -> list[Clip]:
    """The read utterances."""
    root = find(source, "read_transcriptions.txt", ABOUT)
    rows = table(root / "read_transcriptions.txt", "\t", 2)
    sentences = {row[0]: row[1].replace("*", "") for row in rows}
    found = []
    for file in recordings(root / "audio_48khz" / "read"):
        speaker = file.stem.split("_")[0]
        style = re.sub(r"_\d+$", "", file.stem.partition("_")[2])
        text = said(sentences, file.stem, "read_transcriptions.txt")
        found.append(Clip(file.stem, speaker, file=file, recipe={"style": style}, **text))
    return hold_out(some(found, root, ABOUT, "audio_48khz/read/*/*/*/*.wav"), NEVER_SEEN)
