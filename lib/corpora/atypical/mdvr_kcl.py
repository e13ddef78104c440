"""MDVR-KCL: a text read and a talk with the clinician over a phone, 16 people with Parkinson's disease, 21 without.

    26-29_09_2017_KCL/ReadText/PD/ID02_pd_2_0_0.wav     ID, group, Hoehn and Yahr stage, UPDRS II-5, UPDRS III-18
    26-29_09_2017_KCL/SpontaneousDialogue/HC/ID00_hc_0_0_0.wav

CC BY 4.0; 73 recordings of one to four minutes at 44.1 kHz, 3 hours, 0.6 GB on Zenodo. They are cut at pauses into
pieces of at most 20 s. The dialogues hold the clinician too, so the read text alone is used. There are no transcripts:
Whisper tiny.en writes them, and the recipe says so; they are unfit as the reference of a word error rate.

Conditions: parkinsons, controls typical; `severity` by Hoehn and Yahr stage: mild to 2, moderate 3, severe 4 and 5.
Roles: the last three speakers of each group are never seen, the others adaptation. Splits by transcript.
"""

import re
from pathlib import Path

from lib import audio
from lib.corpora.fetch import is_done, mark_done, unpack, zenodo
from lib.corpora.recorded.clip import Clip, pieces
from lib.corpora.recorded.layout import About, find, hold_out_last, recordings, some

ABOUT = About(
    "mdvr_kcl",
    "MDVR-KCL",
    "CC BY 4.0",
    "37 speakers, 3 h, 0.6 GB",
    "Fetch it with this command or from Zenodo, record 2867216.",
)
RECORD, ARCHIVE = 2867216, "26_29_09_2017_KCL.zip"
LONGEST = 20.0  # seconds of a piece
HELD_OUT = 3
_NAME = re.compile(r"(ID\d+)_?(hc|pd)_(\d)_(\d)_(\d)", re.IGNORECASE)  # ID22hc_0_0_0 lacks its underscore


def fetch(to: Path) -> Path:
    """Fetch and unpack the recordings, with the checksum Zenodo states."""
    if not is_done(to, ARCHIVE, str(RECORD)):
        archive = zenodo(RECORD, ARCHIVE, to)
        unpack(archive, to)
        mark_done(to, ARCHIVE, str(RECORD))
        archive.unlink()
    return to


def severity(stage: int) -> str:
    """Severity of a Hoehn and Yahr stage from 1 to 5."""
    return "mild" if stage <= 2 else "moderate" if stage == 3 else "severe"


def clips(source: Path) -> list[Clip]:
    """The pieces of the read text; a recording that cannot be read is set aside whole."""
    root = find(source, "ReadText", ABOUT)
    found = []
    for file in recordings(root / "ReadText"):
        if (match := _NAME.match(file.stem)) is not None:
            found += _pieces(file, match)
    return hold_out_last(some(found, root, ABOUT, "ReadText/PD/ID02_pd_2_0_0.wav"), HELD_OUT)


def _pieces(file: Path, match: re.Match) -> list[Clip]:
    speaker, group, stage = match[1].upper(), match[2].lower(), int(match[3])
    condition = "parkinsons" if group == "pd" else "typical"
    recipe = {"hoehn_yahr": stage, "updrs_2_5": int(match[4]), "updrs_3_18": int(match[5])}
    if group == "pd":
        recipe["severity"] = severity(stage)
    name = f"{speaker}_{group}_read"
    try:
        wave = audio.read(file)
    except audio.AudioError as error:
        problem = str(error).replace(str(file), file.name)
        return [Clip(name, speaker, "", file, condition=condition, recipe=recipe, problem=problem)]
    known = {"condition": condition, "recipe": recipe, "machine": True}
    spans = enumerate(pieces(wave, LONGEST))
    return [Clip(f"{name}_{i:03d}", speaker, "", file, start=start, end=end, **known) for i, (start, end) in spans]
