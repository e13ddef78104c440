"""FluencyBank (TalkBank): people who stutter, in interviews and reading, transcribed in CHAT.

    Voices-AWS/interview/24fa.cha      *PAR: <tab> <I was> [/] I was &-um glad . (bullet)1200_4300(bullet)
    Voices-AWS/interview/24fa.wav      (or .mp3) the recording of the same name

Members of FluencyBank only, free to researchers; Voices-AWS: 32 adults, 3.5 hours, 1 GB. Utterances are cut by their
time stamps (ms); utterances without one, and those with unintelligible stretches (xxx, yyy, www), are set aside. The
text is what the speaker meant to say: repetitions, revisions, fillers, fragments and stuttering marks are taken out;
the line as transcribed stays in the recipe as `chat`. Stereo recordings are mixed.

Condition: stuttering. Of the speakers, PAR and CHI (the participants) are used, interviewers are not. Roles: the last
six speakers are never seen, the others adaptation. Splits by sentence.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from lib import audio
from lib.corpora.corpus import CorpusError
from lib.corpora.recorded.clip import Clip, safe_name
from lib.corpora.recorded.layout import About, hold_out_last, read_text, some
from lib.files import named, walk

ABOUT = About(
    "fluencybank",
    "FluencyBank",
    "members of FluencyBank only",
    "32 speakers, 3.5 h, 1 GB (Voices-AWS)",
    "Ask for membership at fluency.talkbank.org.",
)
PARTICIPANTS = ("PAR", "CHI")
HELD_OUT = 6
_BULLET = re.compile(r"\x15(\d+)_(\d+)\x15")
_UNINTELLIGIBLE = re.compile(r"\b(?:xxx|yyy|www)\b")
_CUT = (
    r"\x15[^\x15]*\x15",  # time stamps
    r"<[^<>]*>\s*\[/+\??\]",  # <repeated or revised> [/] [//] [///]
    r"\S+\s*\[/+\??\]",  # repeated [/]
    r"\[[^\]]*\]",  # other codes
    r"(?<!\S)&[-+=~*]\S*",  # fillers, fragments, events, gestures
    r"\(\d*[.:]?\d*\.*\)",  # pauses
    r"(?<!\S)\+[^\s\w]+\S*",  # trailing off, interruption, quotation
    r"(?<!\S)0\w+",  # words left out
)
_MARKS = r"↫[^↫]*↫|@\w[\w:]*|[≠ˈˌ^:↑↓⌈⌉⌊⌋„‡<>‹›()«»“”\"]"  # repeated sounds, word forms, blocks, prolongation


def clips(source: Path) -> list[Clip]:
    """The participants' utterances of every transcript that has a recording beside it."""
    if not source.is_dir():
        raise CorpusError(f"{source}: no such folder; give the one FluencyBank's transcripts and media are in.")
    transcripts = [file for file in walk(source) if file.suffix.lower() == ".cha"]
    found = [clip for file in transcripts for clip in _clips(file, source)]
    return hold_out_last(some(found, source, ABOUT, ".cha transcripts with utterances of PAR or CHI"), HELD_OUT)


def _clips(file: Path, source: Path) -> Iterator[Clip]:
    beside = [named(file.with_suffix(suffix)) for suffix in audio.SUFFIXES + audio.UNREAD]
    recording = next((each for each in beside if each.is_file()), file.with_suffix(".wav"))
    task = file.parent.name
    for number, line in enumerate(main_lines(read_text(file))):
        bullet, sentence = _BULLET.search(line), intended(line)
        problem, span = "", {}
        if bullet is None:
            problem = f"{file.name}: the utterance has no time stamp; align it."
        elif _UNINTELLIGIBLE.search(line):
            problem = f"{file.name}: the transcriber did not understand all of it; it is left out."
        elif not re.search(r"\w", sentence):
            problem = f"{file.name}: no word is left without fillers and fragments; it is left out."
        else:
            span = {"start": int(bullet[1]) / 1000, "end": int(bullet[2]) / 1000}
        name = safe_name("_".join((*file.relative_to(source).with_suffix("").parts, f"{number:04d}")))
        recipe = {"task": task, "chat": _BULLET.sub("", line).strip()}
        known = {"condition": "stuttering", "mix": True, "recipe": recipe, "problem": problem}
        yield Clip(name, file.stem, sentence, recording, **known, **span)


def main_lines(content: str) -> list[str]:
    """The participants' main lines of a CHAT transcript, continued lines joined."""
    joined = re.sub(r"\r?\n[\t ]+", " ", content)
    heads = tuple(f"*{code}:" for code in PARTICIPANTS)
    return [line.split(":", 1)[1].strip() for line in joined.split("\n") if line.startswith(heads)]


def intended(line: str) -> str:
    """The words of a CHAT main line as the speaker meant them (CHAT manual, "Disfluency transcription")."""
    line = re.sub("|".join(_CUT), " ", line)
    line = re.sub(_MARKS, "", line)
    line = re.sub(r"[_+]", " ", line)
    line = re.sub(r"\s+([.,?!;])", r"\1", line)
    return " ".join(line.split()).lstrip(".,?!; ")
