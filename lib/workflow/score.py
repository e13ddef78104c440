"""Two folders of speech compared by every metric of the study.

    python -m lib score speech/ reference/ --texts texts.csv

A file of one folder belongs to the file of the same name in the other, whatever its ending and case. What cannot be
scored is left out and told with its reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

import numpy as np
import pandas as pd
from tqdm import tqdm

from lib import audio, text
from lib.corpora.recorded.folder import listed_once, rows
from lib.files import name_key
from lib.metrics import MetricError, check_waves, cos, ffe, filterbank_mcd, mcd, mos, per, secs, wer
from lib.study.units import METRICS

SHORTEST = 1600  # samples that every metric can judge
PORTION = 16  # files scored together


class ScoreError(ValueError):
    """Folders or texts that cannot be scored; the sentence says what to change."""


@dataclass
class Scored:
    """table: a row for each file, a column for each metric. left_out: name and reason of the others."""

    table: pd.DataFrame
    left_out: list[dict[str, str]]


def score(
    speech: Path,
    reference: Path | None = None,
    texts: Path | None = None,
    device: str = "cpu",
    recognise: Callable = wer.score,
) -> Scored:
    """Metrics of the files of a folder: against `reference` where it is given, against `texts` where they are.

    texts: a CSV with the columns path (or name) and text. Raises ScoreError where nothing can be scored.
    """
    heard, left_out = _files(speech), []
    others = _files(reference) if reference else {}
    said = read_texts(texts) if texts else {}
    found: list[dict] = []
    names = sorted(heard)
    for start in tqdm(range(0, len(names), PORTION), desc="scoring", mininterval=2):
        usable: dict[str, tuple] = {}
        for name in names[start : start + PORTION]:
            try:
                usable[name] = _read(name, heard[name], others if reference else None, said if texts else None)
            except (audio.AudioError, MetricError, ScoreError, text.TextError) as error:
                left_out.append({"file": heard[name].name, "why": str(error)})
        if usable:
            found += _scored(usable, device, recognise)
    if not found:
        reason = f" ({left_out[0]['why']})" if left_out else ""
        raise ScoreError(f"{speech}: no file can be scored{reason}")
    left_out += [
        {"file": others[name].name, "why": f"{speech} has no such file"} for name in sorted(set(others) - set(heard))
    ]
    return Scored(pd.DataFrame(found), left_out)


def summary(table: pd.DataFrame) -> list[dict]:
    """A line for each metric: its name, which way is better, mean, standard deviation over files, their number."""
    lines = []
    for metric in table.columns.drop("file"):
        values, known = table[metric].dropna(), METRICS[metric]
        name = f"{known.name or metric} ({known.shown})" if known.shown else known.name or metric
        lines.append(
            {"metric": name, "better": known.better, "mean": values.mean(), "sd": values.std(), "files": len(values)}
        )
    return lines


def read_texts(path: Path) -> dict[str, str]:
    """Texts by the name of their file, from a CSV with the columns path (or name) and text."""
    try:
        found = list(listed_once(rows(path, ("path", "text"), ("name", "text")), path, _name))
    except OSError as error:
        raise ScoreError(f"{path}: cannot be read ({error})") from None
    spelt = text.sentences([row["text"] for _, row in found])
    return {_name(row): words for (_, row), words in zip(found, spelt, strict=True)}


def _name(row: dict[str, str]) -> str:
    return _key(PurePosixPath((row.get("path") or row.get("name", "")).replace("\\", "/")))


def _files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise ScoreError(f"{folder}: there is no such folder")
    files = audio.recordings(folder)
    found = {_key(path.relative_to(folder)): path for path in files}
    if not found:
        raise ScoreError(f"{folder}: there are no recordings ({', '.join(audio.SUFFIXES)})")
    if len(found) < len(files):
        twice = next(path for path in files if found[_key(path.relative_to(folder))] != path)
        raise ScoreError(f"{folder}: two files are called {twice.stem}; keep one")
    return found


def _key(path: PurePath) -> str:
    """A file's name as names are compared, without the ending."""
    return name_key((path.with_suffix("") if path.suffix.lower() in audio.SUFFIXES + audio.UNREAD else path).as_posix())


def _read(name: str, file: Path, others: dict[str, Path] | None, said: dict[str, str] | None) -> tuple:
    """A file's wave, its reference's or None, its text or None."""
    wave = audio.read(file)
    check_waves([wave], file.name, SHORTEST)
    if others is not None and name not in others:
        raise ScoreError("the reference folder has no such file")
    reference = None if others is None else audio.read(others[name])
    if reference is not None:
        check_waves([reference], f"the reference {others[name].name}", SHORTEST)
    if said is not None:
        if not said.get(name):
            raise ScoreError("the texts have no line for it")
        per.phonemes_of(said[name])
    return file, wave, reference, None if said is None else said[name]


def _scored(usable: dict[str, tuple], device: str, recognise: Callable) -> list[dict]:
    files, waves, references, texts = map(list, zip(*usable.values(), strict=True))
    values: dict[str, np.ndarray] = {}
    if references[0] is not None:
        values |= cos.score(waves, references, device=device) | secs.score(waves, references, device=device)
        values |= mcd.score(waves, references, device=device)
        alignment = filterbank_mcd.align(waves, references, device=device)
        values |= ffe.score(waves, references, device=device, alignment=alignment)
    if texts[0] is not None:
        heard = recognise(waves, texts, device=device)
        values |= {name: heard[name] for name in ("wer", "cer", "wer_hallucinated")} | per.score(waves, texts)
    values |= mos.score(waves, None, device=device)
    table = pd.DataFrame({name: each for name, each in values.items() if name in METRICS})
    return [{"file": str(file), **row} for file, row in zip(files, table.to_dict("records"), strict=True)]
