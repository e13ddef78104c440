"""Asterisk's English prompts: one American woman in a studio, 16 kHz, from a Debian package.

    usr/share/asterisk/sounds/en_US_f_Allison/vm-options.g722      (the package asterisk-core-sounds-en-g722)

CC BY-SA 3.0, recorded by Allison Smith; 568 prompts, 25 minutes, of which those longer than two seconds are used (about
200 prompts, 19 minutes); a package of 11 MB that needs no account. It has no transcripts: the prompts' own script does,
of which data/asterisk_prompts.txt holds these prompts' texts. A prompt that is not in it is transcribed by Whisper
tiny.en; its recipe says so, and it must not serve as the reference of a word error rate of Whisper itself.

Role: adaptation. Splits by sentence.
"""

import re
from pathlib import Path

from lib.corpora import debian
from lib.corpora.corpus import CorpusError
from lib.corpora.recorded.clip import Clip, safe_name
from lib.corpora.recorded.layout import About, hidden, some
from lib.files import DATA

PACKAGE = "asterisk-core-sounds-en-g722"
ABOUT = About(
    "asterisk",
    "Asterisk prompts (Allison Smith)",
    "CC BY-SA 3.0",
    "1 speaker, 19 min, 11 MB",
    f"Where there is no apt-get, put Debian's package {PACKAGE} (a .deb file) into the folder and fetch again.",
)
SPEAKER = "allison"
SCRIPT = DATA / "asterisk_prompts.txt"
WORDLESS = re.compile(r"silence/|tt-monkeys$|.*-2tone$|beep(err)?$")  # prompts without speech
SHORTEST = 2.0  # seconds; shorter prompts are single words
BYTES_PER_SECOND = 8000  # of G.722
_VOICE = re.compile(r"[a-z]{2}(_[A-Z]{2})?(_|$)")  # en_US_f_Allison, en


def fetch(to: Path) -> Path:
    """Fetch and unpack the package; a .deb lying in `to` is used."""
    return debian.fetch(PACKAGE, to, ABOUT.title, ABOUT.access)


def clips(source: Path) -> list[Clip]:
    """The prompts of more than two seconds below `source`, also /usr/share/asterisk where the package is installed."""
    if not source.is_dir():
        raise CorpusError(f"{source}: no such folder; fetch the corpus there first.")
    texts, found = script(), []
    for file in sorted(source.rglob("*.g722")):
        parts = file.relative_to(source).with_suffix("").parts
        voice = next((i for i, part in enumerate(parts[:-1]) if _VOICE.match(part)), -1)
        foreign = voice >= 0 and not parts[voice].startswith("en")
        name = "/".join(parts[voice + 1 :])
        short = file.stat().st_size < SHORTEST * BYTES_PER_SECOND
        if foreign or short or hidden(file, source) or WORDLESS.match(name):
            continue
        sentence = texts.get(name, "")
        found.append(Clip(safe_name(name.replace("/", "_")), SPEAKER, sentence, file, machine=not sentence))
    return some(found, source, ABOUT, "English .g722 files of two seconds or more")


def script(path: Path = SCRIPT) -> dict[str, str]:
    """What a prompt says by its file's name without the suffix. Raises `CorpusError` naming a line without a text."""
    texts = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("#") or not line.strip():
            continue
        name, _, sentence = line.partition(":")
        if not sentence.strip():
            raise CorpusError(f"{path}, line {number}: no text after the prompt's name; restore the file from git.")
        texts[name.strip()] = sentence.strip()
    return texts
