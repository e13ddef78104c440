"""LibriTTS: LibriSpeech's books at 24 kHz, cut at sentences, with case and punctuation.

    LibriTTS/train-clean-100/103/1241/103_1241_000000_000001.wav
    LibriTTS/train-clean-100/103/1241/103_1241_000000_000001.normalized.txt    (and .original.txt)

CC BY 4.0; train-clean-100: 247 speakers, 54 hours, 8 GB; dev-clean and test-clean: 40 and 39 speakers, 9 hours each.

Roles: train-* pretraining; dev-* and test-* adaptation (the corpus LTS2 of HyperTTS is dev-clean with test-clean),
but the last eight of their speakers in alphabetical order are never seen. Splits by sentence.
"""

from collections.abc import Sequence
from pathlib import Path

from lib.corpora.recorded.clip import Clip
from lib.corpora.recorded.layout import About, find, hold_out_last, recordings, some, transcript
from lib.corpora.recorded.librispeech import fetch_subsets, role_of

ABOUT = About(
    "libritts",
    "LibriTTS",
    "CC BY 4.0",
    "247 speakers, 54 h, 8 GB (train-clean-100)",
    "Fetch it with this command or from openslr.org/60.",
)
PARTS = ("train-clean-100", "dev-clean", "test-clean")
HELD_OUT = 8


def fetch(to: Path, parts: Sequence[str] = PARTS) -> Path:
    """Fetch and unpack subsets; addresses and SHA-256 are torchaudio's."""
    from torchaudio.datasets import libritts

    return fetch_subsets(to, parts, libritts._CHECKSUMS)


def clips(source: Path) -> list[Clip]:
    """All utterances of all subsets that are there, with their normalised text."""
    root = find(source, "*/*/*/*.normalized.txt", ABOUT)
    train, rest = [], []
    for file in recordings(root, "*/*/*/*"):
        subset, speaker = file.parents[2].name, file.parents[1].name
        sentence, problem = transcript(file.with_suffix(".normalized.txt"))
        pretraining = role_of(subset) == "pretraining"
        role = "pretraining" if pretraining else "adaptation"
        clip = Clip(file.stem, speaker, sentence, file, role, recipe={"subset": subset}, problem=problem)
        (train if pretraining else rest).append(clip)
    return some([*train, *hold_out_last(rest, HELD_OUT)], source, ABOUT, "wav files beside the transcripts")
