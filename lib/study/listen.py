"""Listening in a notebook: what scoring kept, and grids of players that need no other file than the page."""

import base64
import io
from dataclasses import dataclass, field
from html import escape

import numpy as np
import soundfile

from lib import audio
from lib.corpora.corpus import Corpus
from lib.study.palette import ROLES
from lib.study.protocol import Study


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


def recordings(corpus: Corpus) -> Grid:
    """One recording of every speaker, by role."""
    rows: dict[str, dict[str, np.ndarray]] = {}
    for speaker in corpus.speakers():
        first = corpus.select(speaker=speaker)[0]
        rows.setdefault(ROLES[first.role][0], {})[speaker] = corpus.wave(first)
    return Grid(rows)


def kept(study: Study, utterance: str, runs: dict[str, int]) -> dict[str, np.ndarray]:
    """The waves of an utterance that runs (the seed of each system) kept for listening, by system."""
    files = {name: study.root / "audio" / study.run_id(name, seed) / f"{utterance}.wav" for name, seed in runs.items()}
    return {name: audio.read(file) for name, file in files.items() if file.exists()}


def player(wave: np.ndarray, name: str) -> str:
    """An HTML audio element with the 16 kHz wave inside, as FLAC."""
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, audio.RATE, format="FLAC", subtype="PCM_16")
    data = base64.b64encode(buffer.getvalue()).decode()
    look = 'controls preload="none" style="width:14em"'
    return f'<audio {look} aria-label="{escape(name)}" src="data:audio/flac;base64,{data}"></audio>'
