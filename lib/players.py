"""Listening in a notebook: what scoring kept, and grids of players that need no other file than the page."""

import base64
import io
from dataclasses import dataclass
from html import escape

import numpy as np
import soundfile

from lib import audio, tts
from lib.corpus import Utterance
from lib.tts import Bench


@dataclass
class Grid:
    """A table of players that a notebook shows: `rows` maps a row's name to its columns' waves."""

    columns: list[str]
    rows: dict[str, dict[str, np.ndarray]]

    def _repr_html_(self) -> str:
        head = "".join(
            f'<th scope="col" style="text-align:left">{escape(name)}</th>' for name in ["", *self.columns]
        )
        body = "".join(self._row(name, waves) for name, waves in self.rows.items())
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        return f'<div style="overflow-x:auto">{table}</div>'

    def _row(self, name: str, waves: dict[str, np.ndarray]) -> str:
        cells = (f"<td>{player(waves[c], f'{c}, {name}') if c in waves else '–'}</td>" for c in self.columns)
        return f'<tr><th scope="row" style="text-align:left">{escape(name)}</th>{"".join(cells)}</tr>'


def player(wave: np.ndarray, name: str) -> str:
    """An HTML audio element with the 16 kHz wave inside, as FLAC."""
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, audio.RATE, format="FLAC", subtype="PCM_16")
    data = base64.b64encode(buffer.getvalue()).decode()
    look = 'controls preload="none" style="width:13em"'
    return f'<audio {look} aria-label="{escape(name)}" src="data:audio/flac;base64,{data}"></audio>'


def kept(bench: Bench, systems: tuple[str, ...], seed: int = 0) -> dict[str, dict[str, np.ndarray]]:
    """The waves that scoring kept for listening: utterance id to system to wave."""
    folders = {system: bench.root / "audio" / tts.run_id(system, seed) for system in systems}
    known = [u.utterance for u in bench.corpus.select(split="test")]
    files = {name: {s: folder / f"{name}.wav" for s, folder in folders.items()} for name in known}
    found = {
        name: {s: audio.read(p) for s, p in paths.items() if p.exists()} for name, paths in files.items()
    }
    return {name: waves for name, waves in found.items() if waves}


def recordings(bench: Bench) -> Grid:
    """One recording of every speaker with its text."""
    firsts = [bench.corpus.select(speaker=speaker)[0] for speaker in bench.corpus.speakers()]
    return Grid(["Recording"], {_title(first): {"Recording": bench.corpus.wave(first)} for first in firsts})


def systems(bench: Bench, names: tuple[str, ...], labels: dict[str, str], seed: int = 0) -> Grid:
    """The same sentence by the recording's speaker and by several systems, a row per kept utterance."""
    by_id = {u.utterance: u for u in bench.corpus.utterances}
    rows = {}
    for utterance, waves in kept(bench, names, seed).items():
        rows[_title(by_id[utterance])] = {labels.get(system, system): wave for system, wave in waves.items()}
    return Grid([labels.get(name, name) for name in names], rows)


def _title(utterance: Utterance) -> str:
    return f"{utterance.speaker} ({utterance.role.replace('_', '-')}): {utterance.text}"
