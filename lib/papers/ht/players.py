"""Listening to HyperTTS: what scoring kept."""

import numpy as np

from lib.papers.ht.style import label
from lib.papers.ht.systems import Systems
from lib.study import listen


def kept(
    study: Systems, systems: tuple[str, ...], also: tuple[str, int] | None = None
) -> dict[str, dict[str, np.ndarray]]:
    """The waves that were kept for listening: utterance id to system to wave. also: one more system, with its seed."""
    runs = dict.fromkeys(systems, study.settings["seeds"][0])
    if also:
        runs.setdefault(*also)
    found = {u.utterance: listen.kept(study, u.utterance, runs) for u in study.corpus.select(split="test")}
    return {name: waves for name, waves in found.items() if waves}


def systems(study: Systems, names: tuple[str, ...], also: tuple[str, int] | None = None) -> listen.Grid:
    """The same sentence by the recording's speaker and by several systems (`kept`), a row per kept utterance."""
    heard, rows = kept(study, names, also), {}
    for u in study.corpus.utterances:
        if u.utterance in heard:
            title = f"{u.speaker} ({u.role.replace('_', '-')}): {u.text}"
            rows[title] = {label(system): wave for system, wave in heard[u.utterance].items()}
    return listen.Grid(rows)
