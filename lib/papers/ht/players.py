"""Listening to HyperTTS: what scoring kept."""

import numpy as np

from lib import audio
from lib.corpora.corpus import Utterance
from lib.papers.ht.style import label
from lib.papers.ht.systems import Systems
from lib.study.listen import Grid


def kept(
    study: Systems, systems: tuple[str, ...], also: tuple[str, int] | None = None
) -> dict[str, dict[str, np.ndarray]]:
    """The waves that were kept for listening: utterance id to system to wave. also: one more system, with its seed."""
    seeds = dict.fromkeys(systems, study.settings["seeds"][0])
    if also:
        seeds.setdefault(*also)
    folders = {system: study.root / "audio" / study.run_id(system, seed) for system, seed in seeds.items()}
    known = [u.utterance for u in study.corpus.select(split="test")]
    files = {name: {s: folder / f"{name}.wav" for s, folder in folders.items()} for name in known}
    found = {name: {s: audio.read(p) for s, p in paths.items() if p.exists()} for name, paths in files.items()}
    return {name: waves for name, waves in found.items() if waves}


def systems(study: Systems, names: tuple[str, ...], also: tuple[str, int] | None = None) -> Grid:
    """The same sentence by the recording's speaker and by several systems (`kept`), a row per kept utterance."""
    by_id = {u.utterance: u for u in study.corpus.utterances}
    rows = {}
    for utterance, waves in kept(study, names, also).items():
        rows[_title(by_id[utterance])] = {label(system): wave for system, wave in waves.items()}
    return Grid(rows)


def _title(utterance: Utterance) -> str:
    return f"{utterance.speaker} ({utterance.role.replace('_', '-')}): {utterance.text}"
