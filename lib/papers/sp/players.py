"""Listening to the zero-shot systems: the reference, the recording of the sentence and what each system made."""

import numpy as np

from lib import audio
from lib.papers.sp.style import label
from lib.papers.sp.systems import Systems
from lib.study.listen import Grid


def kept(study: Systems, shown: str | None = None, seed: int | None = None) -> Grid:
    """A row for each sentence whose audio was kept: first the reference that the systems heard.

    shown: a system beside the profile's, with its seed.
    """
    by_id = {u.utterance: u for u in study.corpus.utterances}
    rows = {}
    for name, said in study.players().items():
        spoken = by_id[name]
        reference = study.corpus.select(split="train", speaker=spoken.speaker)[0]
        waves = {"Reference (heard)": study.corpus.wave(reference), "Recording": study.corpus.wave(spoken)}
        rows[f"{spoken.speaker}: {said}"] = waves | _spoken(study, name, shown, seed)
    return Grid(rows)


def _spoken(study: Systems, utterance: str, shown: str | None, seed: int | None) -> dict[str, np.ndarray]:
    first = study.settings["seeds"][0]
    runs = {name: first for name in study.settings["players"]["systems"]} | ({shown: seed} if shown else {})
    paths = {name: study.root / "audio" / study.run_id(name, of) / f"{utterance}.wav" for name, of in runs.items()}
    return {label(system): audio.read(path) for system, path in paths.items() if path.exists()}
