"""Listening to the zero-shot systems: the reference, the recording of the sentence and what each system made."""

import numpy as np

from lib import audio
from lib.papers.sp.figure_parts import label
from lib.papers.sp.study import chosen_for_players
from lib.papers.sp.systems import ZeroShotBench, run_id
from lib.study.listen import Grid


def kept(bench: ZeroShotBench) -> Grid:
    """A row for each sentence whose audio was kept: first the reference that the systems heard."""
    by_id = {u.utterance: u for u in bench.corpus.utterances}
    settings, rows = bench.settings, {}
    for name, said in chosen_for_players(bench).items():
        spoken = by_id[name]
        reference = bench.corpus.select(split="train", speaker=spoken.speaker)[0]
        waves = {"Reference (heard)": bench.corpus.wave(reference), "Recording": bench.corpus.wave(spoken)}
        rows[f"{spoken.speaker}: {said}"] = waves | _spoken(bench, name, settings["players"]["systems"])
    return Grid(rows)


def _spoken(bench: ZeroShotBench, utterance: str, systems: list[str]) -> dict[str, np.ndarray]:
    seed = bench.settings["seeds"][0]
    paths = {s: bench.root / "audio" / run_id(s, seed) / f"{utterance}.wav" for s in systems}
    return {label(system): audio.read(path) for system, path in paths.items() if path.exists()}
