"""LibriSpeech: read English audiobooks at 16 kHz.

    LibriSpeech/SPEAKERS.TXT
    LibriSpeech/train-clean-100/103/1240/103-1240-0000.flac
    LibriSpeech/train-clean-100/103/1240/103-1240.trans.txt    lines of "103-1240-0000 CHAPTER ONE MISSUS RACHEL ..."

CC BY 4.0; train-clean-100: 251 speakers, 100 hours, 6 GB; dev and test: 40 speakers and 5 hours each, 0.3 GB. The
transcripts are capital letters without punctuation; they are lowered, since capitals would be spelt out.

Roles: train-* pretraining, dev-* adaptation, test-* never seen; no speaker is in two of them. Splits by sentence.
"""

from collections.abc import Sequence
from pathlib import Path

from lib.corpora.corpus import CorpusError
from lib.corpora.fetch import fetched
from lib.corpora.recorded.clip import Clip
from lib.corpora.recorded.layout import About, find, read_text, recordings, said, some

ABOUT = About(
    "librispeech",
    "LibriSpeech",
    "CC BY 4.0",
    "251 speakers, 100 h, 6 GB (train-clean-100)",
    "Fetch it with this command or from openslr.org/12.",
)
PARTS = ("train-clean-100", "dev-clean", "test-clean")
ROLES = {"train": "pretraining", "dev": "adaptation", "test": "never_seen"}


def fetch(to: Path, parts: Sequence[str] = PARTS) -> Path:
    """Fetch and unpack subsets; addresses and SHA-256 are torchaudio's."""
    from torchaudio.datasets import librispeech

    return fetch_subsets(to, parts, librispeech._CHECKSUMS)


def fetch_subsets(to: Path, parts: Sequence[str], checksums: dict[str, str]) -> Path:
    """Fetch the subsets named; checksums: address -> SHA-256, the address ending in <subset>.tar.gz."""
    addresses = {url.rsplit("/", 1)[1].removesuffix(".tar.gz"): url for url in checksums}
    for part in parts:
        if part not in addresses:
            raise CorpusError(f"There is no subset {part!r}; there are {', '.join(addresses)}.")
    for part in parts:
        fetched(addresses[part], to, sha256=checksums[addresses[part]])
    return to


def role_of(subset: str) -> str:
    """The role of a subset's speakers, by its name."""
    kind = subset.split("-")[0]
    if kind not in ROLES:
        raise CorpusError(f"{subset}: not a subset of {ABOUT.title}; they are named train-*, dev-* and test-*.")
    return ROLES[kind]


def clips(source: Path) -> list[Clip]:
    """All utterances of all subsets that are there."""
    root = find(source, "*/*/*/*.trans.txt", ABOUT)
    found = []
    for chapter in sorted({file.parent for file in recordings(root, "*/*/*/*")}):
        speaker, subset = chapter.parent.name, chapter.parents[1].name
        listing = chapter / f"{speaker}-{chapter.name}.trans.txt"
        sentences = transcripts(listing)
        for file in recordings(chapter, "*"):
            text = said(sentences, file.stem, listing.name)
            found.append(Clip(file.stem, speaker, file=file, role=role_of(subset), recipe={"subset": subset}, **text))
    return some(found, source, ABOUT, "flac files beside the transcripts")


def transcripts(file: Path) -> dict[str, str]:
    """Sentence by utterance id; empty where the file is missing."""
    if not file.is_file():
        return {}
    pairs = (line.split(maxsplit=1) for line in read_text(file).split("\n"))
    return {pair[0]: pair[1].strip().lower() for pair in pairs if len(pair) == 2}
