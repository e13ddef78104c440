"""NeuroVoz: 54 people with Parkinson's disease and 58 without, speaking Castilian Spanish at 44.1 kHz.

    data/audios/HC_ACAMPADA_0034.wav            group, task, speaker
    data/transcriptions/HC_ACAMPADA_0034.txt
    data/metadata/metadata_hc.csv, metadata_pd.csv

CC BY-NC-ND 4.0 under a data usage agreement; 2,977 recordings, 1 GB. The 16 sentences to repeat and the monologue
(ESPONTANEA, by Whisper's transcript; set aside where longer than 30 s) are used, sustained vowels and syllable
repetitions (PATAKA) are not. The language is Spanish: models of English phonemes must not be trained on it.

Conditions: parkinsons, controls typical. Roles: the last eight speakers of each group are never seen, the others
adaptation. Splits by sentence.
"""

import re
from pathlib import Path

from lib.corpora.recorded.clip import Clip
from lib.corpora.recorded.layout import About, find, hold_out_last, recordings, some, transcript

ABOUT = About(
    "neurovoz",
    "NeuroVoz",
    "CC BY-NC-ND 4.0 under a data usage agreement",
    "112 speakers, 1 GB",
    "Ask for access at Zenodo, record 13647600.",
)
HELD_OUT = 8
MONOLOGUE = "ESPONTANEA"
_NAME = re.compile(r"(HC|PD)_(\w+)_(\d{4})")
_NO_SENTENCE = re.compile(r"[AEIOU]\d?|PATAKA\d?")


def clips(source: Path) -> list[Clip]:
    """The sentences and monologues."""
    root = find(source, "audios", ABOUT)
    found = []
    for file in recordings(root / "audios"):
        match = _NAME.fullmatch(file.stem)
        if match is None or _NO_SENTENCE.fullmatch(match[2]):
            continue
        group, task, speaker = match.groups()
        sentence, problem = transcript(root / "transcriptions" / f"{file.stem}.txt")
        recipe = {"task": task} | ({"transcript": "Whisper large (the corpus's)"} if task == MONOLOGUE else {})
        condition = "parkinsons" if group == "PD" else "typical"
        named = {"condition": condition, "language": "es", "recipe": recipe, "problem": problem}
        found.append(Clip(file.stem, f"{group}{speaker}", sentence, file, **named))
    return hold_out_last(some(found, root, ABOUT, "audios/HC_ACAMPADA_0034.wav"), HELD_OUT)
