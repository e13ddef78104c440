"""One manifest type for every corpus: utterance, speaker, text, split, condition, path."""

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

from lib import audio
from lib.files import replace_file

ROLES = ("pretraining", "adaptation", "never_seen")
SPLITS = ("train", "validation", "test")
CONDITIONS = (
    *("typical", "stuttering", "dysarthria", "parkinsons", "cluttering", "dysphonia", "mixed"),
    *("children", "adults"),  # non-native speakers, by age
)

WRITTEN = ("utterance", "speaker", "text", "phonemes", "role", "split", "condition", "path")

LONGEST = 1e9  # seconds


class CorpusError(ValueError):
    """A corpus that cannot be used; the message names the entry and says what to do."""


@dataclass(frozen=True)
class Utterance:
    """One recording and all that is known about it.

    durations: seconds, one per symbol of `phonemes`, summing to `seconds`; both are empty where no alignment is known.
    path: relative to the corpus root; recipe: how it was made (voice, timbre, prosody, rate, envelope warp, F0 scale,
    quality), or what a recorded corpus says of it (severity, style).
    """

    utterance: str
    speaker: str
    text: str
    phonemes: str
    durations: tuple[float, ...]
    role: str
    split: str
    condition: str
    path: str
    seconds: float
    recipe: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        for value, allowed in ((self.role, ROLES), (self.split, SPLITS), (self.condition, CONDITIONS)):
            if value not in allowed:
                raise CorpusError(f"{self.utterance}: {value!r} is not one of {', '.join(allowed)}.")
        if len(self.durations) != len(self.phonemes):
            raise CorpusError(
                f"{self.utterance}: {len(self.durations)} durations for {len(self.phonemes)} phoneme symbols."
            )
        aligned = bool(self.durations)
        if aligned and (min(self.durations) < 0 or abs(sum(self.durations) - self.seconds) > 1e-3):
            raise CorpusError(f"{self.utterance}: the durations do not sum to its {self.seconds} s.")
        if Path(self.path).is_absolute() or ".." in Path(self.path).parts:
            raise CorpusError(f"{self.utterance}: the path {self.path} leaves the corpus folder.")


@dataclass
class Corpus:
    """A folder of recordings with its manifest: `<root>/manifest.jsonl` and `<root>/corpus.json`."""

    root: Path
    name: str
    hash: str
    utterances: list[Utterance]
    set_aside: list[dict] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.root = Path(self.root)
        seen: set[str] = set()
        splits: dict[str, str] = {}
        for item in self.utterances:
            if item.utterance in seen:
                raise CorpusError(f"{self.name}: the utterance id {item.utterance} occurs twice; ids are unique.")
            seen.add(item.utterance)
            if splits.setdefault(item.text, item.split) != item.split:
                raise CorpusError(f"{self.name}: {item.text!r} is in two splits; a sentence belongs to one.")

    def select(self, role: str | None = None, split: str | None = None, speaker: str | None = None) -> list[Utterance]:
        """Utterances of a role, split and speaker (None: any). Raises `CorpusError` for an unknown name."""
        known = {item.speaker for item in self.utterances}
        for value, allowed in ((role, ROLES), (split, SPLITS), (speaker, sorted(known))):
            if value is not None and value not in allowed:
                raise CorpusError(f"{self.name}: {value!r} is not one of {', '.join(allowed)}.")
        return [
            item
            for item in self.utterances
            if role in (None, item.role) and split in (None, item.split) and speaker in (None, item.speaker)
        ]

    def speakers(self, role: str | None = None) -> list[str]:
        """Speakers of a role (None: all), in the manifest's order."""
        return list(dict.fromkeys(item.speaker for item in self.select(role=role)))

    def first(self, role: str, count: int) -> list[Utterance]:
        """The first `count` test utterances of every speaker of a role."""
        return [u for name in self.speakers(role) for u in self.select(role, "test", name)[:count]]

    def wave(self, utterance: Utterance) -> np.ndarray:
        """The recording, (samples,) float32 at 16 kHz. Raises `lib.audio.AudioError` when it is unusable."""
        return audio.read(self.root / utterance.path)

    def table(self):
        """The manifest as a pandas DataFrame, one row per utterance, the recipe's entries as columns."""
        import pandas

        rows = []
        for item in self.utterances:
            row = dict(vars(item))
            rows.append(row | {f"recipe_{key}": value for key, value in row.pop("recipe").items()})
        return pandas.DataFrame(rows)

    def save(self) -> None:
        """Write both manifest files, each appearing whole."""
        with replace_file(self.root / "manifest.jsonl") as temporary, open(temporary, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(vars(item), ensure_ascii=False) + "\n" for item in self.utterances)
        about = {
            "name": self.name,
            "hash": self.hash,
            "utterances": len(self.utterances),
            "seconds": round(sum(item.seconds for item in self.utterances), 3),
            "set_aside": self.set_aside,
        }
        write_text(self.root / "corpus.json", json.dumps(about, ensure_ascii=False, indent=1) + "\n")

    @classmethod
    def load(cls, root: str | Path) -> "Corpus":
        """Read a saved corpus. Raises `CorpusError` naming the file when a manifest is missing or damaged."""
        root = Path(root)
        about_file, manifest = root / "corpus.json", root / "manifest.jsonl"
        for file in (about_file, manifest):
            if not file.is_file():
                raise CorpusError(f"{file}: no such file; build the corpus again.")
        try:
            about = json.loads(about_file.read_text(encoding="utf-8"))
            name, digest, count = about["name"], about["hash"], about["utterances"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise CorpusError(f"{about_file}: damaged; delete it and build the corpus again.") from None
        utterances = []
        with manifest.open("rb") as file:  # bytes, since text may hold what Python also takes for the end of a line
            for number, line in enumerate(file, 1):
                try:
                    utterances.append(from_record(json.loads(line)))
                except (ValueError, TypeError, RecursionError) as error:
                    raise CorpusError(
                        f"{manifest}, line {number}: damaged ({error}); delete it and build the corpus again."
                    ) from None
        if len(utterances) != count:
            raise CorpusError(f"{manifest}: {len(utterances)} of {count} utterances; build the corpus again.")
        return cls(root, name, digest, utterances, about.get("set_aside", []))


def from_record(record: dict) -> Utterance:
    """An `Utterance` from its JSON object; unknown or missing keys raise TypeError."""
    names = {item.name for item in fields(Utterance)}
    if not isinstance(record, dict) or set(record) != names:
        raise TypeError("its keys are not an utterance's")
    numbers = [record["seconds"], *record["durations"]]
    if not all(type(value) in (int, float) and abs(value) < LONGEST for value in numbers):
        raise TypeError("its seconds and durations are not all numbers")
    if not isinstance(record["recipe"], dict) or not all(isinstance(record[name], str) for name in WRITTEN):
        raise TypeError("a value is not of the kind that its key names")
    return Utterance(**{**record, "durations": tuple(record["durations"])})


def write_text(path: Path, content: str) -> None:
    """Write a UTF-8 file that appears whole or not at all."""
    with replace_file(path) as temporary:
        temporary.write_text(content, encoding="utf-8")


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """Tell a full disk in one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise CorpusError(f"{path}: the disk is full; free some space and run again, nothing is lost.") from None
        raise
