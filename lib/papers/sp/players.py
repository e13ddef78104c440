"""Listening to the zero-shot systems: the reference, the recording of the sentence and what each system made."""

import numpy as np

from lib import audio
from lib.papers.sp.figure_parts import label
from lib.papers.sp.systems import Systems
from lib.study.listen import Grid


def kept(study: Systems) -> Grid:
    """A row for each sentence whose audio was kept: first the reference that the systems heard."""
    by_id = {u.utterance: u for u in study.corpus.utterances}
    settings, rows = study.settings, {}
    for name, said in study.players().items():
        spoken = by_id[name]
        reference = study.corpus.select(split="train", speaker=spoken.speaker)[0]
        waves = {"Reference (heard)": study.corpus.wave(reference), "Recording": study.corpus.wave(spoken)}
        rows[f"{spoken.speaker}: {said}"] = waves | _spoken(study, name, settings["players"]["systems"])
    return Grid(rows)


def _spoken(study: Systems, utterance: str, systems: list[str]) -> dict[str, np.ndarray]:
    seed = study.settings["seeds"][0]
    paths = {s: study.root / "audio" / study.run_id(s, seed) / f"{utterance}.wav" for s in systems}
    return {label(system): audio.read(path) for system, path in paths.items() if path.exists()}
