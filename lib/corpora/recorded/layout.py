"""What the loaders of published corpora share: where things are, what tables and transcripts say, who is held out."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lib.corpora.corpus import CorpusError
from lib.corpora.recorded.clip import Clip

AUDIO = (".wav", ".flac", ".mp3", ".opus")


@dataclass(frozen=True)
class About:
    """What a corpus is: its name here, title, licence, size, and in one sentence how to get it.

    trim: whether the silence at either end of its recordings is cut.
    """

    name: str
    title: str
    licence: str
    size: str
    access: str
    trim: bool = True


def find(source: str | Path, marker: str, about: About) -> Path:
    """The folder that holds `marker` (a glob pattern): `source`, or one at most two levels below it.

    Raises `CorpusError` naming the folder, what is missing and how to get the corpus.
    """
    source = Path(source)
    if not source.is_dir():
        raise CorpusError(f"{source}: no such folder; give the one {about.title} was unpacked to.")
    for pattern in (marker, f"*/{marker}", f"*/*/{marker}"):
        found = (path for path in source.glob(pattern) if not hidden(path, source))
        if (first := min(found, default=None)) is not None:
            return first.parents[marker.count("/")]
    raise CorpusError(f"{source}: holds no {marker}, so it is not {about.title} as released. {about.access}")


def hidden(path: Path, root: Path) -> bool:
    """Whether a path below `root` or a folder it is in starts with a dot (archives from a Mac bring `._` files)."""
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def recordings(folder: Path, pattern: str = "**/*", suffixes: Sequence[str] = AUDIO) -> list[Path]:
    """The audio files below a folder, in order, without hidden ones."""
    found = (file for file in folder.glob(pattern) if file.suffix.lower() in suffixes and file.is_file())
    return sorted(file for file in found if not hidden(file, folder))


def some(clips: list[Clip], source: Path, about: About, expected: str) -> list[Clip]:
    """The clips, or a `CorpusError` that says which files were expected when there are none."""
    if not clips:
        raise CorpusError(f"{source}: holds no {expected}, so it is not {about.title} as released. {about.access}")
    return clips


def read_text(file: Path) -> str:
    """A text file in UTF-8, UTF-16 with its mark, or, as older corpora have it, Windows Latin-1."""
    content = file.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def transcript(file: Path) -> tuple[str, str]:
    """The sentence of a transcript file on one line and "", or "" and why there is none."""
    if not file.is_file():
        return "", f"{file.name}: no such transcript; write it beside the recording."
    sentence = " ".join(read_text(file).split())
    return (sentence, "") if sentence else ("", f"{file.name}: the transcript is empty; write down what is said.")


def said(sentences: dict[str, str], name: str, listing: str) -> dict[str, str]:
    """The text of a clip by its name in a corpus's listing, and the problem where there is none."""
    sentence = sentences.get(name, "")
    return {"text": sentence, "problem": "" if sentence else f"{listing}: no transcript of {name}; fetch it again."}


def table(file: Path, separator: str, columns: int) -> Iterator[list[str]]:
    """Rows of a headerless table with at least `columns` values. Raises `CorpusError` naming a shorter line."""
    if not file.is_file():
        raise CorpusError(f"{file}: no such file; unpack the corpus again.")
    for number, line in enumerate(read_text(file).split("\n"), 1):
        if not line.strip():
            continue
        values = [value.strip() for value in line.split(separator)]
        if len(values) < columns:
            raise CorpusError(f"{file}, line {number}: {len(values)} of {columns} values; unpack the corpus again.")
        yield values


def hold_out(clips: Sequence[Clip], never_seen: Collection[str]) -> list[Clip]:
    """Clips whose speakers are of `never_seen` get that role; the others keep theirs."""
    return [replace(clip, role="never_seen") if clip.speaker in never_seen else clip for clip in clips]


def hold_out_last(clips: Sequence[Clip], count: int) -> list[Clip]:
    """The last `count` speakers of each condition, in alphabetical order, are never seen; one at least is not."""
    held: set[str] = set()
    for condition in {clip.condition for clip in clips}:
        speakers = sorted({clip.speaker for clip in clips if clip.condition == condition})
        held |= set(speakers[max(1, len(speakers) - count) :])
    return hold_out(clips, held)
