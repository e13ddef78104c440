"""VCTK 0.92: 110 English speakers of various accents reading newspaper sentences.

    VCTK-Corpus-0.92/speaker-info.txt
    VCTK-Corpus-0.92/txt/p225/p225_001.txt
    VCTK-Corpus-0.92/wav48_silence_trimmed/p225/p225_001_mic1.flac   (and _mic2)

CC BY 4.0; 44 hours at 48 kHz, an archive of 11 GB. Microphone 1 is used: all speakers have it. p315 has no
transcripts, so its recordings are set aside.

Roles: the last ten speakers in alphabetical order are never seen, the others adaptation. Splits by sentence, for all
speakers alike (all of them read the first 24).
"""

from pathlib import Path

from lib.corpora.fetch import fetched
from lib.corpora.recorded.clip import Clip
from lib.corpora.recorded.layout import About, find, hold_out_last, read_text, recordings, some, transcript

ABOUT = About(
    "vctk",
    "VCTK 0.92",
    "CC BY 4.0",
    "110 speakers, 44 h, 11 GB",
    "Fetch it with this command or from the University of Edinburgh's DataShare, handle 10283/3443.",
)
AUDIO = "wav48_silence_trimmed"
HELD_OUT = 10


def fetch(to: Path) -> Path:
    """Fetch and unpack the corpus; address and SHA-256 are torchaudio's."""
    from torchaudio.datasets import vctk

    return fetched(vctk.URL, to, sha256=vctk._CHECKSUMS[vctk.URL])


def clips(source: Path) -> list[Clip]:
    """All utterances of microphone 1, with accent and gender where speaker-info.txt is there."""
    root = find(source, AUDIO, ABOUT)
    speakers = speaker_info(root / "speaker-info.txt")
    found = []
    for file in recordings(root / AUDIO, "*/*_mic1.*"):
        speaker, name = file.parent.name, file.stem.removesuffix("_mic1")
        sentence, problem = transcript(root / "txt" / speaker / f"{name}.txt")
        recipe = speakers.get(speaker, {})
        found.append(Clip(name, speaker, sentence, file, recipe=recipe, problem=problem))
    return hold_out_last(some(found, root, ABOUT, f"{AUDIO}/*/*_mic1.flac"), HELD_OUT)


def speaker_info(file: Path) -> dict[str, dict]:
    """age, gender and accent by speaker, from the columns ID AGE GENDER ACCENTS REGION; empty where it is missing."""
    if not file.is_file():
        return {}
    rows = (line.split() for line in read_text(file).split("\n")[1:])
    return {row[0]: {"age": row[1], "gender": row[2], "accent": row[3]} for row in rows if len(row) >= 4}
