"""A folder of one's own recordings as a corpus, in one line: `folder.read("my_recordings")`.

Either recordings (`lib.audio.SUFFIXES`: wav, flac, mp3 ...) with transcripts of the same name beside them, speakers
in subfolders,

    my_recordings/anna/hello.wav      my_recordings/anna/hello.txt

or one CSV in the folder (or named itself), with the columns path and text, and optionally speaker, condition and
split; any further column, e.g. severity, is kept in the recipe. Paths are relative to the CSV. The separator is a
comma, semicolon or tab, as spreadsheets write it; UTF-8, UTF-16 or Windows Latin-1, as transcripts. The case of names
and the form of their accents do not matter.

The speaker is the column's, else the first subfolder, else the folder's name. Sentences without a split get one by
hash (10 % test, 10 % validation of the distinct sentences, case and punctuation aside), so that no sentence that is
tested is trained on, whoever says it. Where the column splits by speaker, those of the test split are never seen.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from lib import audio
from lib.corpora.corpus import CONDITIONS, ROLES, SPLITS, Corpus, CorpusError
from lib.corpora.recorded import read as recorded
from lib.corpora.recorded.clip import Clip, normalise, safe_name
from lib.corpora.recorded.layout import About, read_text, transcript
from lib.corpora.recorded.read import BUILT
from lib.files import name_key, named, walk

ABOUT = About("folder", "A folder of one's own", "its owner's", "any", "Nothing to fetch: record or collect it.")
TABLES = (".csv", ".tsv")
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
    speakers = {name_key(clip.speaker): clip.speaker for clip in found}
    for speaker in never_seen:
        if name_key(speaker) not in speakers:
            names = ", ".join(sorted(speakers.values()))
            raise CorpusError(f"{folder}: there is no speaker {speaker!r}; its speakers are {names}.")
    held = {name_key(name) for name in (*never_seen, *(clip.speaker for clip in found if clip.role == "never_seen"))}
    return [replace(clip, role="never_seen" if name_key(clip.speaker) in held else role) for clip in found]


def clips(folder: str | Path, condition: str = "typical") -> list[Clip]:
    """What a folder or CSV holds. Raises `CorpusError` naming the file and the fix for a wrong layout."""
    folder = Path(folder)
    if condition not in CONDITIONS:
        raise CorpusError(f"{folder}: the condition {condition!r} is not one of {', '.join(CONDITIONS)}.")
    if folder.is_file():
        return _by_speaker(list(_from_csv(folder, condition)))
    if not folder.is_dir():
        raise CorpusError(f"{folder}: no such folder; give the folder of your recordings, or a CSV.")
    tables = [file for file in sorted(folder.iterdir()) if file.suffix.lower() in TABLES and file.name[0] != "."]
    if len(tables) > 1:
        raise CorpusError(f"{folder}: holds {len(tables)} CSV files; name the one to use instead of the folder.")
    found = _by_speaker(list(_from_csv(tables[0], condition))) if tables else list(_from_folder(folder, condition))
    if not found:
        raise CorpusError(
            f"{folder}: no recordings (wav, flac, mp3 ...); put them there, each with a .txt of the same name."
        )
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
    """A clip for each recording, and one without for each transcript that has none."""
    files = audio.recordings(folder)
    there = {name_key(file.with_suffix("")) for file in files}
    notes = (file for file in walk(folder) if file.suffix.lower() == ".txt")
    alone = {file for file in notes if name_key(file.with_suffix("")) not in there}
    for file in sorted({*files, *alone} if files else ()):
        path = PurePosixPath(file.relative_to(folder).as_posix())
        sentence, problem = transcript(file.with_suffix(".txt"))
        if file in alone:
            sentence, problem = "", f"{file.name}: there is no recording of that name; put it beside the text."
        yield Clip(_id(path), _speaker(path, folder), sentence, file, condition=condition, problem=problem)


def rows(table: Path, *choices: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, row) of a CSV; empty lines and columns without a name are left out, values are stripped.

    choices: columns that its header has to have, in any case and order; of several the first that it has. The separator
    is the comma, semicolon or tab that gives those columns, or that of a first line `sep=;`. Raises `CorpusError`
    naming file and line.
    """
    if not table.is_file():
        raise CorpusError(f"{table}: no such file; it should have the columns {', '.join(choices[0])}.")
    reader, header, skipped = _reader(table, read_text(table), choices)
    last = max(place for place, name in enumerate(header) if any(name in columns for columns in choices))
    for values in _lines(reader, table, skipped):
        where = f"{table}, line {reader.line_num + skipped}"
        named_values = dict(zip(header, values, strict=False))
        lost = [value for place, value in enumerate(values) if value and (place >= len(header) or not header[place])]
        if lost or len(values) <= last:
            raise CorpusError(
                f"{where}: {len(values)} values for {len([*filter(None, header)])} columns; "
                "put a text that holds the separator between double quotes."
            )
        yield reader.line_num + skipped, {name: named_values.get(name, "") for name in header if name}


def _lines(reader, table: Path, skipped: int) -> Iterator[list[str]]:
    """The lines of a CSV that hold something, values stripped."""
    while True:
        try:
            values = [value.strip() for value in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            raise CorpusError(f"{table}, line {reader.line_num + skipped}: not readable as CSV ({error}).") from None
        if any(values):
            yield values


def _reader(table: Path, content: str, choices: Sequence[Sequence[str]]):
    """A CSV reader behind the header, the header, and how many lines before it the reader does not count."""
    told = re.match(r'"?sep=(.)"?[,;\t]*\r?\n', content, re.IGNORECASE)
    content = content[told.end() :] if told else content
    for separator in told[1] if told else ",;\t":
        reader = csv.reader(io.StringIO(content, newline=""), delimiter=separator, strict=True)
        header = next(_lines(reader, table, bool(told)), [])
        for columns in choices:
            known = {name.casefold(): name for name in columns}
            names = [known.get(name.casefold(), name) for name in header]
            if set(columns) <= set(names):
                given = [name.casefold() for name in names if name]
                if len(set(given)) < len(given):
                    raise CorpusError(f"{table}, line 1: a column name occurs twice; rename one of them.")
                return reader, names, bool(told)
    raise CorpusError(f"{table}, line 1: the header lacks one of the columns {', '.join(choices[0])}; add it.")


def listed_once(found: Iterator[tuple[int, dict[str, str]]], table: Path, key: Callable) -> Iterator[tuple[int, dict]]:
    """Rows as they come. Raises `CorpusError` with both lines where two have the same key."""
    first: dict[object, int] = {}
    for number, row in found:
        if (other := first.setdefault(key(row), number)) != number:
            raise CorpusError(f"{table}, lines {other} and {number}: both list {_listed(row)}; remove one.")
        yield number, row


def _listed(row: dict[str, str]) -> str:
    return row.get("path") or row["name"]


def _from_csv(table: Path, condition: str) -> Iterator[Clip]:
    folder, empty = table.parent, True
    for number, row in listed_once(rows(table, ("path", "text")), table, lambda row: named(folder / _path(row))):
        where, empty = f"{table}, line {number}", False
        row, path = {name.casefold(): value for name, value in row.items()}, _path(row)
        if not path.parts or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            raise CorpusError(f"{where}: the path {row['path']!r} is not one below the CSV's folder; make it relative.")
        entry = {"condition": row.get("condition", "").lower() or condition, "split": row.get("split", "").lower()}
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


def _path(row: dict[str, str]) -> PurePosixPath:
    return PurePosixPath(row["path"].replace("\\", "/"))
