"""What the loaders of published corpora share: where things are, what tables and transcripts say, who is held out."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from lib import audio
from lib.corpora.corpus import CorpusError
from lib.corpora.recorded.clip import Clip
from lib.files import name_key, named


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


def recordings(folder: Path, pattern: str = "**/*") -> list[Path]:
    """The recordings below a folder whose path in it fits a pattern, in any case (`lib.audio.recordings`)."""
    if not folder.is_dir():
        return []
    paths = [(file, file.relative_to(folder).as_posix().lower()) for file in audio.recordings(folder)]
    return [
        file
        for file, path in paths
        if pattern == "**/*" or (path.count("/") == pattern.count("/") and fnmatchcase(path, pattern.lower()))
    ]


def some(clips: list[Clip], source: Path, about: About, expected: str) -> list[Clip]:
    """The clips, or a `CorpusError` that says which files were expected when there are none."""
    if not clips:
        raise CorpusError(f"{source}: holds no {expected}, so it is not {about.title} as released. {about.access}")
    return clips


def read_text(file: Path) -> str:
    """A text file in UTF-8, UTF-16, or, as older corpora and spreadsheets have it, Windows Latin-1."""
    content = file.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace")
    if b"\0" in content[:2]:
        return content.decode("utf-16-le" if content[1:2] == b"\0" else "utf-16-be", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def transcript(file: Path) -> tuple[str, str]:
    """The sentence of a transcript file on one line and "", or "" and why there is none; its name in any spelling."""
    file = named(file)
    if file.is_symlink() and not file.exists():
        return "", f"{file.name}: a link to a file that is not there; put the transcript itself in its place."
    if not file.is_file():
        return "", f"{file.name}: no such transcript; write it beside the recording."
    sentence = " ".join(read_text(file).split())
    return (sentence, "") if sentence else ("", f"{file.name}: the transcript is empty; write down what is said.")


def said(sentences: dict[str, str], name: str, listing: str) -> dict[str, str]:
    """The text of a clip by its name in a corpus's listing, in any spelling, and the problem where there is none."""
    sentence = sentences.get(name, "")
    if name not in sentences:
        wanted = name_key(name)
        sentence = next((text for each, text in sentences.items() if name_key(each) == wanted), "")
    return {"text": sentence, "problem": "" if sentence else f"{listing}: no transcript of {name}; fetch it again."}


def table(file: Path, separator: str, columns: int) -> Iterator[list[str]]:
    """Rows of a headerless table with at least `columns` values. Raises `CorpusError` naming a shorter line."""
    file = named(file)
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
