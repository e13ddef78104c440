"""speechocean762: English sentences read by Mandarin speakers, half of them children, and experts' scores of them.

    train/text, utt2spk, wav.scp    lines of "000010011 WE CALL IT BEAR", of "000010011 0001", of the recording's path
    train/spk2age, spk2gender       lines of "0001 6", of "0001 m"
    WAVE/SPEAKER0001/000010011.WAV
    resource/scores.json            {"000010011": {"accuracy": 8, "fluency": 9, "prosodic": 9, "total": 8, ...}, ...}

and test/ as train/; or a table, metadata.csv, with the columns path, speaker, text, split, age and sex. Free, also for
commercial use; 250 speakers, 5,000 recordings, 6 hours, 16 kHz, phones as microphones. The transcripts are capital
letters without punctuation; they are brought to a sentence's spelling. Silence at either end is cut.

Conditions: children (below 16) and adults, both non-native: no disorder. `severity` is the speaker's proficiency, the
mean of the sentences' total scores in the words of the corpus's own scale of 0 to 10: from 7 mild ("good"), from 5
moderate ("understandable"), below severe. Without the scores it is the age, since recognisers err more on younger
voices: below 9 severe, below 16 moderate, else mild; `severity_by` says which of the two. Roles: the train folder's
speakers adaptation, the test folder's never seen. Splits by sentence.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from lib.corpora.corpus import CorpusError
from lib.corpora.recorded import folder
from lib.corpora.recorded.clip import Clip
from lib.corpora.recorded.layout import About, find, read_text, some
from lib.text import sentence

ABOUT = About(
    "speechocean762",
    "speechocean762",
    "free, also for commercial use",
    "250 speakers, 6 h, 0.6 GB",
    "Its publisher states no checksums: fetch speechocean762.tar.gz from openslr.org/101.",
)
ROLES = {"train": "adaptation", "test": "never_seen"}
GROWN = 16  # years; below, a speaker is a child
PROFICIENT = {"mild": 7.0, "moderate": 5.0, "severe": 0.0}  # least mean score
OLD = {"mild": GROWN, "moderate": 9, "severe": 0}  # least age, where there are no scores


def clips(source: Path) -> list[Clip]:
    """All utterances of both folders, or of the table. Raises `CorpusError` naming a speaker without a known age."""
    source = Path(source)
    if (source / "metadata.csv").is_file():
        return some(list(_from_table(source / "metadata.csv")), source, ABOUT, "rows in metadata.csv")
    root = find(source, "train/text", ABOUT)
    scores = _scores(root / "resource" / "scores.json")
    found = [clip for part in ROLES if (root / part).is_dir() for clip in _from_folder(root, part, scores)]
    return some(found, root, ABOUT, "utterances in train/text and test/text")


def _from_folder(root: Path, part: str, scores: dict[str, dict]) -> Iterator[Clip]:
    place = root / part
    said, speakers, files, ages, sexes = (
        _pairs(place / name) for name in ("text", "utt2spk", "wav.scp", "spk2age", "spk2gender")
    )
    totals: dict[str, list[float]] = {}
    for name in (name for name in said if name in scores):
        totals.setdefault(speakers.get(name, ""), []).append(scores[name]["total"])
    for name, words in said.items():
        if name not in speakers:
            raise CorpusError(f"{place / 'utt2spk'}: names no speaker of {name}; unpack the corpus again.")
        speaker = speakers[name]
        file = root / files.get(name, f"WAVE/SPEAKER{speaker}/{name}.WAV")
        about = {"sex": sexes.get(speaker, "")} | scores.get(name, {})
        yield _clip(name, speaker, words, file, part, ages.get(speaker, ""), about, totals.get(speaker), place)


def _from_table(listing: Path) -> Iterator[Clip]:
    for number, row in folder.rows(listing, ("path", "speaker", "text", "split", "age")):
        if row["split"] not in ROLES:
            raise CorpusError(f"{listing}, line {number}: the split {row['split']!r} is not one of {', '.join(ROLES)}.")
        file, about = listing.parent / row["path"], {"sex": row.get("sex", "")}
        yield _clip(file.stem, row["speaker"], row["text"], file, row["split"], row["age"], about, None, listing)


def _clip(
    name: str, speaker: str, words: str, file: Path, part: str, age: str, about: dict, totals: list[float] | None,
    place: Path,
) -> Clip:  # fmt: skip
    """One utterance; age: as written; about: what its recipe says beside age and severity; totals: its speaker's."""
    if not age.isdecimal():
        raise CorpusError(f"{place}: the age of speaker {speaker} is {age!r}, not a number; unpack the corpus again.")
    years = int(age)
    least, value = (PROFICIENT, sum(totals) / len(totals)) if totals else (OLD, years)
    severity = next(severity for severity, bound in least.items() if value >= bound)
    recipe = {"age": years, **about, "severity": severity, "severity_by": "scores" if totals else "age"}
    condition = "children" if years < GROWN else "adults"
    return Clip(name, speaker, sentence(words), file, role=ROLES[part], condition=condition, recipe=recipe)


def _pairs(file: Path) -> dict[str, str]:
    """What follows the first word of each line, by that word. Raises `CorpusError` for a missing file or value."""
    if not file.is_file():
        raise CorpusError(f"{file}: no such file; unpack the corpus again.")
    found = {}
    for number, line in enumerate(read_text(file).split("\n"), 1):
        key, _, value = " ".join(line.split()).partition(" ")
        if key and not value:
            raise CorpusError(f"{file}, line {number}: nothing after {key}; unpack the corpus again.")
        found |= {key: value} if key else {}
    return found


def _scores(file: Path) -> dict[str, dict]:
    """accuracy, completeness, fluency, prosodic and total, 0 to 10, by utterance; empty without the file."""
    if not file.is_file():
        return {}
    try:
        given = json.loads(read_text(file))
        return {
            name: {key: float(value) for key, value in entry.items() if key not in ("text", "words")}
            for name, entry in given.items()
            if "total" in entry
        }
    except (ValueError, AttributeError, TypeError):
        raise CorpusError(f"{file}: not the scores of {ABOUT.title}; unpack the corpus again or remove it.") from None
