"""Speech to listen to: what scoring kept, packed for a page, and grids of players that need no other file than it."""

import base64
import io
from dataclasses import dataclass, field
from html import escape

import numpy as np
import soundfile
import torch

from lib import audio
from lib.corpora.corpus import Corpus
from lib.models import vocoder
from lib.models.mel import log_mel
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


def keep_recordings(study: Study) -> None:
    """Write the recordings of the sentences that players play, and these through the vocoder, beside the systems'
    speech, for a paper whose systems are not measured beside recordings (SP); what is there stays.
    """
    if "reference" in study.settings["systems"]:
        return
    wanted = study.players()
    for each in (u for u in study.corpus.utterances if u.utterance in wanted):
        plain, vocoded = (
            study.root / "audio" / study.run_id(name, study.settings["seeds"][0]) / f"{each.utterance}.wav"
            for name in ("reference", "reference_vocoded")
        )
        if not vocoded.exists():
            wave = study.corpus.wave(each)
            mel = log_mel(torch.from_numpy(wave)[None], study.mel).to(study.device)
            speak = vocoder.load(study.profile["vocoder"], study.mel, study.device)
            audio.write(plain, wave)
            audio.write(vocoded, speak(mel, torch.tensor([mel.shape[1]], device=study.device))[0])


def player(wave: np.ndarray, name: str) -> str:
    """An HTML audio element with the 16 kHz wave inside, as MP3."""
    look, source = 'controls preload="none" style="width:14em"', mp3_data(wave)
    return f'<audio {look} aria-label="{escape(name)}" src="{source}"></audio>'


def mp3_data(wave: np.ndarray, rate: int = audio.RATE) -> str:
    """Speech as the address of an MP3 that holds it, a sixth of the wave's size, which every browser plays."""
    return f"data:audio/mpeg;base64,{base64.b64encode(packed(wave, rate, 'MP3', 'MPEG_LAYER_III')).decode()}"


def packed(wave: np.ndarray, rate: int, kind: str = "OGG", codec: str = "OPUS") -> bytes:
    """Speech in one of libsndfile's formats, by default Opus, which is about 30 kbit/s for speech at 16 kHz."""
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format=kind, subtype=codec)
    return buffer.getvalue()
