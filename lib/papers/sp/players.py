"""Listening to the zero-shot systems: the reference, the recording of the sentence and what each system made."""

from matplotlib.figure import Figure

from lib.papers.sp.style import label
from lib.papers.sp.systems import Systems
from lib.study import listen, pictures

SHOWN = 3
HEARD = "Reference (heard)"


def kept(study: Systems, shown: str | None = None, seed: int | None = None) -> listen.Grid:
    """A row for each of the first `SHOWN` sentences whose audio was kept: first the reference that the systems heard.

    shown: a system beside the profile's, with its seed.
    """
    by_id = {u.utterance: u for u in study.corpus.utterances}
    runs = dict.fromkeys(("reference_vocoded", *study.settings["players"]["systems"]), study.settings["seeds"][0])
    runs |= {shown: seed} if shown else {}
    rows = {}
    for name, said in list(study.players().items())[:SHOWN]:
        spoken = by_id[name]
        reference = study.corpus.select(split="train", speaker=spoken.speaker)[0]
        waves = {HEARD: study.corpus.wave(reference), "Recording": study.corpus.wave(spoken)}
        made = {label(system): wave for system, wave in listen.kept(study, name, runs).items()}
        rows[f"{spoken.speaker}: {said}"] = waves | made
    return listen.Grid(rows)


def sentence(study: Systems, shown: str | None = None, seed: int | None = None) -> Figure:
    """Log-mels and F0 of the first sentence of `kept`: its recording, plain and vocoded, and what each system made."""
    heading, waves = next(iter(kept(study, shown, seed).rows.items()))
    speaker, _, said = heading.partition(": ")
    return pictures.sentence({name: w for name, w in waves.items() if name != HEARD}, study.mel, said, speaker)
