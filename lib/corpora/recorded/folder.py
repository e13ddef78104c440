"""A folder of one's own recordings as a corpus, in one line: `folder.read("my_recordings")`.

Either recordings (wav or flac) with transcripts of the same name beside them, speakers in subfolders,

    my_recordings/anna/hello.wav      my_recordings/anna/hello.txt

or one CSV in the folder (or named itself), with the columns path and text, and optionally speaker, condition and
split; any further column, e.g. severity, is kept in the recipe. Paths are relative to the CSV. UTF-8; the
separator is a comma, semicolon or tab.

The speaker is the column's, else the first subfolder, else the folder's name. Sentences without a split get one by
hash (10 % test, 10 % validation of the distinct sentences, case and punctuation aside), so that no sentence that is
tested is trained on, whoever says it. Where the column splits by speaker, those of the test split are never seen.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from lib.corpora.corpus import CONDITIONS, ROLES, SPLITS, Corpus, CorpusError
from lib.corpora.recorded import read as recorded
from lib.corpora.recorded.clip import Clip, normalise, safe_name
from lib.corpora.recorded.layout import About, transcript
from lib.corpora.recorded.read import BUILT

ABOUT = About("folder", "A folder of one's own", "its owner's", "any", "Nothing to fetch: record or collect it.")
SUFFIXES = (".wav", ".flac")
COLUMNS = ("path", "text", "speaker", "condition", "split")


def read(
    folder: str | Path,
    *,
    role: str = "adaptation",
    condition: str = "typical",
    never_seen: Sequence[str] = (),
    root: str | Path = BUILT,
    cores: int | None = None,
) -> Corpus:
    """Prepare a folder, or a CSV, as a corpus; where nothing changed since, it only loads.

    role, condition: of utterances the CSV says nothing else about; never_seen: speakers kept out of all training, whose
    role becomes never_seen; cores: worker processes. Unusable utterances are set aside with the reason. Raises
    `CorpusError` naming the file and the fix where the folder cannot be a corpus.
    """
    found = with_roles(clips(folder, condition), role, never_seen, Path(folder))
    return recorded.prepare(found, safe_name(_name(Path(folder))), root, cores)


def with_roles(found: Sequence[Clip], role: str, never_seen: Sequence[str], folder: Path) -> list[Clip]:
    """Clips with the role given; those of the speakers `never_seen`, and of a CSV's test speakers, with that one."""
    if role not in ROLES:
        raise CorpusError(f"{folder}: the role {role!r} is not one of {', '.join(ROLES)}.")
    speakers = sorted({clip.speaker for clip in found})
    for speaker in never_seen:
        if speaker not in speakers:
            raise CorpusError(f"{folder}: there is no speaker {speaker!r}; its speakers are {', '.join(speakers)}.")
    held = {clip.speaker for clip in found if clip.role == "never_seen"} | set(never_seen)
    return [replace(clip, role="never_seen" if clip.speaker in held else role) for clip in found]


def clips(folder: str | Path, condition: str = "typical") -> list[Clip]:
    """What a folder or CSV holds. Raises `CorpusError` naming the file and the fix for a wrong layout."""
    folder = Path(folder)
    if condition not in CONDITIONS:
        raise CorpusError(f"{folder}: the condition {condition!r} is not one of {', '.join(CONDITIONS)}.")
    if folder.is_file():
        return _by_speaker(list(_from_csv(folder, condition)))
    if not folder.is_dir():
        raise CorpusError(f"{folder}: no such folder; give the folder of your recordings, or a CSV.")
    tables = sorted(folder.glob("*.csv"))
    if len(tables) > 1:
        raise CorpusError(f"{folder}: holds {len(tables)} CSV files; name the one to use instead of the folder.")
    found = _by_speaker(list(_from_csv(tables[0], condition))) if tables else list(_from_folder(folder, condition))
    if not found:
        raise CorpusError(f"{folder}: no wav or flac files; put recordings there, each with a .txt of the same name.")
    return found


def _by_speaker(found: list[Clip]) -> list[Clip]:
    """Clips whose splits divide the speakers, those of the test speakers never seen; a sentence that others say, too,
    is in the others' split. Other clips stay as they are."""
    splits = {(clip.speaker, clip.split) for clip in found}
    divided = len(splits) == len({speaker for speaker, _ in splits})
    if not divided or not {"train", "test"} <= {split for _, split in splits}:
        return found
    said = {normalise(clip.text): clip.split for clip in found if clip.split != "test"}
    return [
        replace(clip, role="never_seen", split=said.get(normalise(clip.text), "test")) if clip.split == "test" else clip
        for clip in found
    ]


def _name(folder: Path) -> str:
    folder = folder.resolve()
    return folder.stem if folder.is_file() else folder.name


def _id(path: PurePosixPath) -> str:
    return safe_name("_".join(path.with_suffix("").parts))


def _speaker(path: PurePosixPath, folder: Path) -> str:
    return path.parts[0] if len(path.parts) > 1 else safe_name(folder.resolve().name)


def _from_folder(folder: Path, condition: str) -> Iterator[Clip]:
    found = (file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    for file in sorted(found):
        path = PurePosixPath(file.relative_to(folder).as_posix())
        if any(part.startswith(".") for part in path.parts):
            continue
        sentence, problem = transcript(file.with_suffix(".txt"))
        yield Clip(_id(path), _speaker(path, folder), sentence, file, condition=condition, problem=problem)


def rows(table: Path, columns: Sequence[str] = ("path", "text")) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, row) of a CSV whose header has `columns`; empty lines are left out, values are stripped.

    The separator is the comma, semicolon or tab that gives those columns. Raises `CorpusError` naming file and line.
    """
    if not table.is_file():
        raise CorpusError(f"{table}: no such file; it should have the columns {', '.join(columns)}.")
    try:
        content = table.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CorpusError(f"{table}: not UTF-8 text; save it as UTF-8.") from None
    reader, header = _reader(table, content, columns)
    while True:
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise CorpusError(f"{table}, line {reader.line_num}: not readable as CSV ({error}).") from None
        if not any(value.strip() for value in values):
            continue
        if len(values) != len(header):
            raise CorpusError(
                f"{table}, line {reader.line_num}: {len(values)} values for {len(header)} columns; "
                "put a text that holds the separator between double quotes."
            )
        yield reader.line_num, {name: value.strip() for name, value in zip(header, values, strict=True)}


def _reader(table: Path, content: str, columns: Sequence[str]):
    for separator in ",;\t":
        reader = csv.reader(io.StringIO(content, newline=""), delimiter=separator, strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
        except csv.Error as error:
            raise CorpusError(f"{table}, line 1: not readable as CSV ({error}).") from None
        if set(columns) <= set(header):
            if len(set(header)) < len(header):
                raise CorpusError(f"{table}, line 1: a column name occurs twice; rename one of them.")
            return reader, header
    raise CorpusError(f"{table}, line 1: the header lacks one of the columns {', '.join(columns)}; add it.")


def _from_csv(table: Path, condition: str) -> Iterator[Clip]:
    folder, empty = table.parent, True
    for number, row in rows(table):
        where, empty = f"{table}, line {number}", False
        path = PurePosixPath(row["path"].replace("\\", "/"))
        if not path.parts or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            raise CorpusError(f"{where}: the path {row['path']!r} is not one below the CSV's folder; make it relative.")
        entry = {"condition": row.get("condition") or condition, "split": row.get("split", "")}
        for name, allowed in (("condition", CONDITIONS), ("split", ("", *SPLITS))):
            if entry[name] not in allowed:
                names = ", ".join(filter(None, allowed))
                raise CorpusError(f"{where}: the {name} {entry[name]!r} is not one of {names}.")
        yield Clip(
            _id(path),
            row.get("speaker") or _speaker(path, folder),
            " ".join(row["text"].split()),
            folder / path,
            **entry,
            recipe={name: " ".join(value.split()) for name, value in row.items() if name not in COLUMNS and value},
        )
    if empty:
        raise CorpusError(f"{table}: no rows; add one per recording.")
