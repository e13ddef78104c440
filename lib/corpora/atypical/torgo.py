"""TORGO: eight speakers with cerebral palsy or ALS, and seven controls, reading words and sentences at 16 kHz.

    F01/Session1/prompts/0001.txt
    F01/Session1/wav_headMic/0001.wav      (and wav_arrayMic/0001.wav)

A C as the second letter of a speaker's name is a control (FC01, MC01). Free for research, not for profit; 23 hours,
archives of 18 GB. The head microphone is used, the array where it was off (no file, or one without samples). Prompts
that are pictures (`input/images/...`), instructions in square brackets or `xxx` are no sentences, and are set aside.

Conditions: dysarthria, controls typical; `severity` is that of the corpus's Frenchay assessment (its "moderate to
severe" is severe here; some groupings count F03 as mild). Roles: F04 (mild), M04 (severe), FC03 and MC04 are never
seen, the others adaptation. Splits by sentence.
"""

import re
from pathlib import Path

from lib.corpora.recorded.clip import Clip
from lib.corpora.recorded.layout import About, find, hidden, hold_out, recordings, some, transcript

ABOUT = About(
    "torgo",
    "TORGO",
    "research, not for profit",
    "15 speakers, 23 h, 18 GB",
    "Its publisher states no checksums: fetch F, FC, M and MC from cs.toronto.edu/~complingweb/data/TORGO/torgo.html.",
)
SEVERITY = {
    **{"F01": "severe", "F03": "moderate", "F04": "mild", "M01": "severe", "M02": "severe", "M03": "mild"},
    **{"M04": "severe", "M05": "severe"},
}
NEVER_SEEN = ("F04", "M04", "FC03", "MC04")
MICROPHONES = ("wav_headMic", "wav_arrayMic")
HEADER = 44  # bytes of a wav file without samples
_SPEAKER = re.compile(r"[FM]C?\d\d")
_NO_SENTENCE = re.compile(r"\[.*\]|input/|\bxxx\b|\.jpg", re.IGNORECASE)


def clips(source: Path) -> list[Clip]:
    """One utterance per prompt that was recorded."""
    find(source, "[FM]*/Session*", ABOUT)
    found = []
    sessions = (path for path in source.rglob("Session*") if not hidden(path, source))
    for session in sorted(path for path in sessions if _SPEAKER.fullmatch(path.parent.name)):
        chosen = {}
        for microphone in reversed(MICROPHONES):
            here = {file.stem: file for file in recordings(session / microphone, "*")}
            chosen |= {name: file for name, file in here.items() if name not in chosen or _holds(file)}
        found += [_clip(session, file) for _, file in sorted(chosen.items())]
    return hold_out(some(found, source, ABOUT, "F01/Session1/wav_headMic/*.wav"), NEVER_SEEN)


def _holds(file: Path) -> bool:
    return file.exists() and file.stat().st_size > HEADER


def _clip(session: Path, file: Path) -> Clip:
    speaker = session.parent.name
    sentence, problem = transcript(session / "prompts" / f"{file.stem}.txt")
    if _NO_SENTENCE.search(sentence):
        problem = f"prompts/{file.stem}.txt: an instruction or picture, not a sentence; it has no transcript."
    condition = "typical" if speaker[1] == "C" else "dysarthria"
    recipe = {"session": session.name, "microphone": file.parent.name}
    if speaker in SEVERITY:
        recipe["severity"] = SEVERITY[speaker]
    name = f"{speaker}_{session.name}_{file.stem}"
    return Clip(name, speaker, sentence, file, condition=condition, recipe=recipe, problem=problem)
