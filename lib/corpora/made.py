"""Utterances that were made here, each a file, so that a build that was stopped goes on where it was.

Beside `audio/<speaker>/<id>.flac` stands `<id>.json` with the manifest entry and the recording's SHA-256, or with the
reason why the utterance was set aside.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from lib import audio
from lib.corpora.corpus import Corpus, CorpusError, Utterance, from_record, write_text
from lib.files import file_hash


def keep(folder: Path, wave: np.ndarray, utterance: Utterance) -> None:
    """Write a recording (samples,) at 16 kHz and its manifest entry."""
    path = folder / utterance.path
    audio.write(path, wave)
    record = {"sha256": file_hash(path), "utterance": asdict(utterance)}
    write_text(path.with_suffix(".json"), json.dumps(record, ensure_ascii=False))


def set_aside(folder: Path, name: str, speaker: str, sentence: str, **why: object) -> None:
    """Write down that an utterance is left out; `why` holds the reason and what else is known."""
    record = {"set_aside": {"utterance": name, "speaker": speaker, "text": sentence, **why}}
    write_text(folder / "audio" / speaker / f"{name}.json", json.dumps(record, ensure_ascii=False))


def finished(folder: Path, speaker: str, name: str) -> Utterance | dict | None:
    """The manifest entry of an utterance, the dict of one set aside, or None where it must be (re)made."""
    path = folder / "audio" / speaker / f"{name}.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if "set_aside" in record:
            return record["set_aside"]
        utterance = from_record(record["utterance"])
        return utterance if file_hash(folder / utterance.path) == record["sha256"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def collect(folder: Path, names: Iterable[tuple[str, str]]) -> tuple[list[Utterance], list[dict]]:
    """The finished ones of some utterances (speaker, id), and those set aside with their reasons."""
    entries = [finished(folder, speaker, name) for speaker, name in names]
    utterances = [entry for entry in entries if isinstance(entry, Utterance)]
    return utterances, [entry for entry in entries if isinstance(entry, dict)]


def complete(folder: Path, identity: str) -> Corpus | None:
    """The finished corpus of a folder, or None where anything of it is missing."""
    try:
        corpus = Corpus.load(folder)
    except CorpusError:
        return None
    whole = corpus.hash == identity and all((folder / item.path).is_file() for item in corpus.utterances)
    return corpus if whole else None
