"""ESD, the Emotional Speech Database: ten English and ten Mandarin speakers, 350 sentences in five emotions.

    0011/0011.txt                          0011_000001 <tab> The nine the eggs, I keep. <tab> Neutral
    0011/Angry/0011_000351.wav             (some releases: 0011/Angry/train/..., evaluation/..., test/...)

Research only, under a licence to sign; 29 hours at 16 kHz, an archive of 2.3 GB. The English speakers 0011 to 0020 are
used; `style` in the recipe is the emotion.

Roles: 0019 (a woman) and 0020 (a man) are never seen, the others adaptation. Splits by sentence, not by the release's
folders: each sentence is said in all emotions.
"""

from pathlib import Path

from lib.corpora.recorded.clip import Clip
from lib.corpora.recorded.layout import About, find, hold_out, recordings, said, some, table

ABOUT = About(
    "esd",
    "ESD",
    "research only",
    "10 English speakers, 14 h, 2.3 GB",
    "Ask for it by the form at hltsingapore.github.io/ESD.",
)
ENGLISH = range(11, 21)
NEVER_SEEN = ("0019", "0020")
STYLES = ("Angry", "Happy", "Neutral", "Sad", "Surprise")


def clips(source: Path) -> list[Clip]:
    """The utterances of the English speakers."""
    root = find(source, "00[12][0-9]/00[12][0-9].txt", ABOUT)
    found = []
    for speaker in (f"{number:04d}" for number in ENGLISH):
        if not (root / speaker).is_dir():
            continue
        sentences = {row[0]: row[1] for row in table(root / speaker / f"{speaker}.txt", "\t", 2)}
        for style in STYLES:
            for file in recordings(root / speaker / style):
                text = said(sentences, file.stem, f"{speaker}.txt")
                found.append(Clip(file.stem, speaker, file=file, recipe={"style": style}, **text))
    return hold_out(some(found, root, ABOUT, "0011/Angry/*.wav to 0020/Surprise/*.wav"), NEVER_SEEN)
