"""LJ Speech 1.1: one American woman reading non-fiction, 13,100 clips at 22.05 kHz.

    LJSpeech-1.1/metadata.csv               LJ001-0001|text as printed|text with numbers written out
    LJSpeech-1.1/wavs/LJ001-0001.wav

Public domain; 24 hours, an archive of 2.7 GB. Role: pretraining. Splits by sentence.
"""

from pathlib import Path

from lib.corpora.fetch import fetched
from lib.corpora.recorded.clip import Clip
from lib.corpora.recorded.layout import About, find, some, table

ABOUT = About(
    "ljspeech",
    "LJ Speech 1.1",
    "public domain",
    "1 speaker, 24 h, 2.7 GB",
    "Fetch it with this command or from keithito.com/LJ-Speech-Dataset.",
)


def fetch(to: Path) -> Path:
    """Fetch and unpack the corpus; address and SHA-256 are torchaudio's."""
    from torchaudio.datasets import ljspeech

    release = ljspeech._RELEASE_CONFIGS["release1"]
    return fetched(release["url"], to, sha256=release["checksum"])


def clips(source: Path) -> list[Clip]:
    """All clips listed in metadata.csv, with the text whose numbers are written out."""
    root = find(source, "metadata.csv", ABOUT)
    rows = table(root / "metadata.csv", "|", 2)
    found = [Clip(row[0], "LJ", row[-1], root / "wavs" / f"{row[0]}.wav", "pretraining") for row in rows]
    return some(found, root, ABOUT, "rows in metadata.csv")
