"""EmoV-DB: four English speakers reading CMU Arctic sentences amused, angry, disgusted, neutral and sleepy.

    bea_Amused/amused_1-15_0001.wav      (or bea/Amused/...); the last four digits number the sentence
    cmuarctic.data                       ( arctic_a0001 "Author of the danger trail, Philip Steels, etc." )

Free for non-commercial research; 7 hours at 16 to 44.1 kHz, archives of 6 GB. The sentences are not in the archives:
put festvox.org's cmuarctic.data beside the folders; only its part A was read.

Roles: sam is never seen, bea, jenie and josh are adaptation. Splits by sentence; `style` in the recipe is the emotion.
"""

import re
from pathlib import Path

from lib.corpora.corpus import CorpusError
from lib.corpora.recorded.clip import Clip
from lib.corpora.recorded.layout import About, find, hold_out, read_text, recordings, said, some

ABOUT = About(
    "emovdb",
    "EmoV-DB",
    "non-commercial research",
    "4 speakers, 7 h, 6 GB",
    "Its publisher states no checksums: fetch it from openslr.org/115, and festvox.org/cmu_arctic/cmuarctic.data.",
)
SPEAKERS = ("bea", "jenie", "josh", "sam")
NEVER_SEEN = ("sam",)
_FOLDER = re.compile(rf"({'|'.join(SPEAKERS)})[_/]([A-Za-z]+)", re.IGNORECASE)
_SENTENCE = re.compile(r'\(\s*arctic_a(\d{4})\s+"(.*)"\s*\)')


def clips(source: Path) -> list[Clip]:
    """All utterances of the speakers and styles that are there."""
    root = find(source, "cmuarctic.data", ABOUT)
    sentences = dict(_SENTENCE.findall(read_text(root / "cmuarctic.data")))
    if not sentences:
        raise CorpusError(f'{root / "cmuarctic.data"}: holds no line ( arctic_a0001 "..." ); fetch it again.')
    found = []
    for file in recordings(root):
        if (match := _FOLDER.search(file.parent.relative_to(root).as_posix())) is None:
            continue
        speaker, style = match[1].lower(), match[2].lower()
        number = re.search(r"(\d{4})$", file.stem)
        text = said(sentences, number[1] if number else file.stem, "cmuarctic.data")
        found.append(Clip(f"{speaker}_{style}_{file.stem}", speaker, file=file, recipe={"style": style}, **text))
    return hold_out(some(found, root, ABOUT, "bea_Amused/*.wav"), NEVER_SEEN)
