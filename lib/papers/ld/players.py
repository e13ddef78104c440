"""Listening in the chapters on latent diffusion: what the runs kept, beside each other."""

from matplotlib.figure import Figure

from lib import audio
from lib.papers.ld.measure import guidances, player
from lib.papers.ld.style import label
from lib.papers.ld.systems import Systems
from lib.study import pictures
from lib.study.listen import Grid


def systems(study: Systems, runs: dict[str, int], guidance: float | None = None) -> Grid:
    """The kept test sentences by several systems, a row per sentence and style.

    runs: the seed of each system; one that the profile lacks is left out. guidance: the scale, by default the nominal
    one; of a system without it, its last.
    """
    settings, rows = study.settings["evaluate"], {}
    runs = {name: seed for name, seed in runs.items() if name in study.settings["systems"]}
    for sentence in study.tested[: settings["players"]]:
        for style in settings["styles"]:
            waves = {}
            for name, seed in runs.items():
                scale = settings["nominal"] if guidance is None else guidance
                scale = scale if scale in guidances(study, name) else guidances(study, name)[-1]
                folder = study.root / "audio" / study.run_id(name, seed)
                files = [folder / f"{player(sentence, style, x)}.wav" for x in (None, scale)]
                waves |= {label(name): audio.read(file) for file in files if file.is_file()}
            rows[f"{style.replace('_', ' ')}: {sentence.text}"] = waves
    return Grid(rows)


def sentence(study: Systems, runs: dict[str, int], guidance: float | None = None) -> Figure:
    """Log-mels and F0 of the first row of `systems`."""
    heading, waves = next(iter(systems(study, runs, guidance).rows.items()))
    style, _, said = heading.partition(": ")
    return pictures.sentence(waves, study.mel, said, style)


def styles(study: Systems) -> Grid:
    """One test sentence in every style and other speaker's voice: the recordings that z_audio is made of."""
    sentence = study.tested[0]
    names = ["recorded", *study.corpus.styles, *study.corpus.voices]
    return Grid({sentence.text: {name.replace("_", " "): study.heard(sentence, name) for name in names}})
