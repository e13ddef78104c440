"""Listening to HyperTTS: what scoring kept."""

import numpy as np

from lib import audio
from lib.corpora.corpus import Utterance
from lib.papers.ht import study as tts
from lib.papers.ht.study import Bench
from lib.papers.ht.style import label
from lib.study.listen import Grid


def kept(bench: Bench, systems: tuple[str, ...], seed: int = 0) -> dict[str, dict[str, np.ndarray]]:
    """The waves that scoring kept for listening: utterance id to system to wave."""
    folders = {system: bench.root / "audio" / tts.run_id(system, seed) for system in systems}
    known = [u.utterance for u in bench.corpus.select(split="test")]
    files = {name: {s: folder / f"{name}.wav" for s, folder in folders.items()} for name in known}
    found = {name: {s: audio.read(p) for s, p in paths.items() if p.exists()} for name, paths in files.items()}
    return {name: waves for name, waves in found.items() if waves}


def systems(bench: Bench, names: tuple[str, ...], seed: int = 0) -> Grid:
    """The same sentence by the recording's speaker and by several systems, a row per kept utterance."""
    by_id = {u.utterance: u for u in bench.corpus.utterances}
    rows = {}
    for utterance, waves in kept(bench, names, seed).items():
        rows[_title(by_id[utterance])] = {label(system): wave for system, wave in waves.items()}
    return Grid(rows)


def _title(utterance: Utterance) -> str:
    return f"{utterance.speaker} ({utterance.role.replace('_', '-')}): {utterance.text}"
