"""Listening in a notebook: what scoring kept, and grids of players that need no other file than the page."""

import base64
import io
from dataclasses import dataclass, field
from html import escape

import numpy as np
import soundfile

from lib import audio, tts
from lib.corpus import Utterance
from lib.drawing import ROLES, label
from lib.tts import Bench


@dataclass
class Grid:
    """Players that a notebook shows: `rows` maps a heading to named waves, side by side if there is room."""

    rows: dict[str, dict[str, np.ndarray]] = field(repr=False)

    def _repr_html_(self) -> str:
        return "".join(self._row(heading, waves) for heading, waves in self.rows.items())

    def _row(self, heading: str, waves: dict[str, np.ndarray]) -> str:
        cells = (f"<div>{escape(n)}<br>{player(wave, f'{n}: {heading}')}</div>" for n, wave in waves.items())
        flow = f'<div style="display:flex;flex-wrap:wrap;gap:.6em 1.2em">{"".join(cells)}</div>'
        return f'<p style="margin:1em 0 .3em"><b>{escape(heading)}</b></p>{flow}'


def player(wave: np.ndarray, name: str) -> str:
    """An HTML audio element with the 16 kHz wave inside, as FLAC."""
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, audio.RATE, format="FLAC", subtype="PCM_16")
    data = base64.b64encode(buffer.getvalue()).decode()
    look = 'controls preload="none" style="width:14em"'
    return f'<audio {look} aria-label="{escape(name)}" src="data:audio/flac;base64,{data}"></audio>'


def kept(bench: Bench, systems: tuple[str, ...], seed: int = 0) -> dict[str, dict[str, np.ndarray]]:
    """The waves that scoring kept for listening: utterance id to system to wave."""
    folders = {system: bench.root / "audio" / tts.run_id(system, seed) for system in systems}
    known = [u.utterance for u in bench.corpus.select(split="test")]
    files = {name: {s: folder / f"{name}.wav" for s, folder in folders.items()} for name in known}
    found = {name: {s: audio.read(p) for s, p in paths.items() if p.exists()} for name, paths in files.items()}
    return {name: waves for name, waves in found.items() if waves}


def recordings(bench: Bench) -> Grid:
    """One recording of every speaker, by role."""
    rows: dict[str, dict[str, np.ndarray]] = {}
    for speaker in bench.corpus.speakers():
        first = bench.corpus.select(speaker=speaker)[0]
        rows.setdefault(ROLES[first.role][0], {})[speaker] = bench.corpus.wave(first)
    return Grid(rows)


def systems(bench: Bench, names: tuple[str, ...], seed: int = 0) -> Grid:
    """The same sentence by the recording's speaker and by several systems, a row per kept utterance."""
    by_id = {u.utterance: u for u in bench.corpus.utterances}
    rows = {}
    for utterance, waves in kept(bench, names, seed).items():
        rows[_title(by_id[utterance])] = {label(system): wave for system, wave in waves.items()}
    return Grid(rows)


def _title(utterance: Utterance) -> str:
    return f"{utterance.speaker} ({utterance.role.replace('_', '-')}): {utterance.text}"
