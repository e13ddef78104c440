"""RAVDESS, its speech: 24 actors saying two sentences in eight emotions and two intensities.

    Actor_01/03-01-06-01-02-01-12.wav    modality, channel, emotion, intensity, sentence, repetition, actor

CC BY-NC-SA 4.0; 1.5 hours at 48 kHz, an archive of 0.2 GB on Zenodo. Song and video (other modalities and channels)
are left out. `style` in the recipe is the emotion, `intensity` normal or strong. A few files are stereo and are mixed.

Roles: actors 21 to 24 (two men, two women) are never seen, the others adaptation. Splits: the sentence about kids is
train, the one about dogs test; there is no third sentence for validation.
"""

import re
from pathlib import Path

from lib.corpora.fetch import fetched
from lib.corpora.recorded.clip import Clip
from lib.corpora.recorded.layout import About, find, hold_out, recordings, some

ABOUT = About(
    "ravdess",
    "RAVDESS (speech)",
    "CC BY-NC-SA 4.0",
    "24 speakers, 1.5 h, 0.2 GB",
    "Fetch it with this command or from Zenodo, record 1188976.",
)
URL = "https://zenodo.org/records/1188976/files/Audio_Speech_Actors_01-24.zip"
MD5 = "bc696df654c87fed845eb13823edef8a"
STYLES = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
SENTENCES = {"01": ("Kids are talking by the door.", "train"), "02": ("Dogs are sitting by the door.", "test")}
NEVER_SEEN = ("21", "22", "23", "24")
_NAME = re.compile(r"03-01-0([1-8])-0([12])-(0[12])-0([12])-(\d\d)")


def fetch(to: Path) -> Path:
    """Fetch and unpack the speech recordings."""
    return fetched(URL, to, md5=MD5)


def clips(source: Path) -> list[Clip]:
    """The spoken utterances."""
    root = find(source, "Actor_*/03-01-*", ABOUT)
    found = []
    for file in recordings(root, "Actor_*/*"):
        if (match := _NAME.fullmatch(file.stem)) is None:
            continue
        style, intensity, sentence, repetition, actor = match.groups()
        recipe = {
            "style": STYLES[int(style) - 1],
            "intensity": ("normal", "strong")[int(intensity) - 1],
            "repetition": int(repetition),
            "gender": "MF"[int(actor) % 2 == 0],
        }
        words, split = SENTENCES[sentence]
        found.append(Clip(file.stem, actor, words, file, split=split, mix=True, recipe=recipe))
    return hold_out(some(found, root, ABOUT, "03-01-*.wav files"), NEVER_SEEN)
